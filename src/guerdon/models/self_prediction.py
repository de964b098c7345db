"""Foreseeing one's own features several steps ahead: the world model of BYOL-Explore."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guerdon.models.actions import ActionCode
from guerdon.models.dynamics import encode
from guerdon.models.encoders import orthogonal
from guerdon.models.observation_net import ObservationInput, ObservationNet, next_obs
from guerdon.models.seeded import seeded
from guerdon.parts.ema_target import EMATarget
from guerdon.parts.episodes import RunningEpisodes
from guerdon.parts.open_loop import unbroken
from guerdon.types import Rollout, Spec


class Foreseen(NamedTuple):
    """What is to be foreseen i steps ahead, from each step t with T - t >= i: [T - i + 1, B, ...] each."""

    before: Tensor  # b_t,i-1
    action: Tensor  # the coded action of step t + i - 1
    after: Tensor  # b_t,i
    target: Tensor  # the target network's features of obs[t + i], of length 1, without gradient
    mask: Tensor  # whether these steps lie within one episode

    @property
    def context(self) -> Tensor:
        """What was known before the last step: belief and action."""
        return torch.cat([self.before, self.action], -1)


class OpenLoopPredictor(nn.Module):
    """b_i = GRU(b_i-1, a): beliefs that go on without observations; g(b_i, ...): the features that they foresee.

    Args:
        belief: size of beliefs.
        action_size: of the coded action.
        size: of the features.
        extra: size of what g is given beside a belief, such as inferred noise.
        hidden: units of g's hidden layer.
    """

    def __init__(self, belief: int, action_size: int, size: int, *, extra: int = 0, hidden: int = 128) -> None:
        super().__init__()
        self.cell = nn.GRUCell(action_size, belief)
        self.head = nn.Sequential(
            orthogonal(nn.Linear(belief + extra, hidden)), nn.ReLU(), orthogonal(nn.Linear(hidden, size), 1.0)
        )

    def step(self, belief: Tensor, action: Tensor) -> Tensor:
        """[*, belief], one action later."""
        return self.cell(action.flatten(0, -2), belief.flatten(0, -2)).view(belief.shape)

    def forward(self, belief: Tensor, *given: Tensor) -> Tensor:
        return self.head(torch.cat([belief, *given], -1))


class SelfPrediction(nn.Module):
    """Beliefs b_t = GRU(b_t-1, [a_t-1, f(obs[t])]) over a rollout, and what they foresee up to K steps ahead.

    f is an encoder, and a slow copy of it makes the targets. Beliefs start at 0 with each episode, without an action,
    and run on from rollout to rollout: `carry` takes them along, once a rollout.

    Args:
        spec: of the task.
        features: N, size of f.
        hidden: dense layers of f, after the convolutions if there are any.
        belief: size of beliefs.
        horizon: K.
        extra: as in `OpenLoopPredictor`.
        decay: of the slow copy.
        keys, standardise: as in `ObservationInput`.
        device, generator: as in `Reward.build`.
        reader: whose networks these are, for errors.
    """

    carried: Tensor
    origin: Tensor

    def __init__(
        self, spec: Spec, *, features: int, hidden: Sequence[int], belief: int, horizon: int, extra: int = 0,
        decay: float = 0.99, keys: Sequence[str] | None = None, standardise: bool = True,
        device: torch.device | str = "cpu", generator: torch.Generator | None = None, reader: str = "SelfPrediction",
    ) -> None:  # fmt: skip
        super().__init__()
        self.given = ObservationInput(spec.observation_space, keys=keys, standardise=standardise, reader=reader)
        self.code = ActionCode(spec.action_space, reader=reader)
        self.belief, self.horizon = belief, horizon
        with seeded(generator):
            self.net = ObservationNet(self.given, features, hidden=hidden)
            self.closed = nn.GRU(self.code.size + features, belief)
            self.open = OpenLoopPredictor(belief, self.code.size, features, extra=extra)
        self.target = EMATarget(self.net, decay=decay)
        self.episodes = RunningEpisodes(spec.num_envs, reader)
        size = belief + self.code.size  # the last belief and the coded action that followed it
        self.register_buffer("carried", torch.zeros(spec.num_envs, size))  # into the next rollout
        self.register_buffer("origin", torch.zeros(spec.num_envs, size))  # into the last one
        self.to(device)

    def learners(self) -> list[nn.Parameter]:
        """What gradients may move: all but the slow copy."""
        return [p for module in (self.net, self.closed, self.open) for p in module.parameters()]

    def starts(self, rollout: Rollout) -> Tensor:
        """Bool [T+1, B]: where obs[t] begins an episode. Raises ValueError for another number of environments."""
        episode = self.episodes.visits(rollout).episode
        return episode.diff(dim=0, prepend=torch.zeros_like(episode[:1])) > 0

    def beliefs(self, rollout: Rollout, starts: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """(b_0 ... b_T-1 [T, B, belief], coded actions [T, B, a]); `before` [B, belief + a] is what came before."""
        starts = starts[:-1]
        code = self.code(rollout.action.flatten(0, 1)).unflatten(0, rollout.shape)
        belief, action = before.split([self.belief, self.code.size], -1)
        last = torch.cat([action[None], code])[:-1].masked_fill(starts[..., None], 0.0)
        x = torch.cat([last, encode(self.net, self.given, {k: rollout.obs[k][:-1] for k in self.given.keys})], -1)
        return unroll(self.closed, x, belief, starts), code

    def foresee(self, rollout: Rollout, starts: Tensor, before: Tensor) -> list[Foreseen]:
        """One entry for each i = 1 ... min(K, T)."""
        belief, code = self.beliefs(rollout, starts, before)
        with torch.no_grad():
            after = {k: rollout.obs[k][1:] for k in self.given.keys}
            target = direction(encode(self.target.module, self.given, after))
        made, masks = [], unbroken(rollout, self.horizon)
        for i, mask in enumerate(masks):  # i + 1 steps ahead
            known, action = belief[: len(mask)], code[i:]
            belief = self.open.step(known, action)
            made.append(Foreseen(known, action, belief, target[i:], mask))
        return made

    @torch.no_grad()
    def carry(self, rollout: Rollout) -> None:
        """Takes what the valid steps led to into the moments, and beliefs to where the next rollout begins."""
        if len(rollout.valid):
            starts = self.starts(rollout)
            belief, code = self.beliefs(rollout, starts, self.carried)
            self.origin.copy_(self.carried)
            self.carried.copy_(torch.cat([belief[-1], code[-1]], -1).masked_fill(starts[-1, :, None], 0.0))
            self.episodes.advance(rollout)
        self.given.observe(next_obs(rollout.obs, self.given.keys), rollout.valid.bool().flatten())


def unroll(gru: nn.GRU, x: Tensor, state: Tensor, starts: Tensor) -> Tensor:
    """States [T, B, size] over x [T, B, ...], from `state` [B, size]; 0 before each step of `starts` [T, B].

    One call of the GRU between any two steps at which some sequence starts.
    """
    cuts = [0, *(starts[1:].any(1).nonzero().flatten() + 1).tolist(), len(x)]
    outs = []
    for a, b in itertools.pairwise(cuts):
        state = state.masked_fill(starts[a][:, None], 0.0)
        out, last = gru(x[a:b], state[None])
        outs.append(out)
        state = last[0]
    return torch.cat(outs)


def direction(x: Tensor) -> Tensor:
    """X / max(|x|, 1e-6), over the last dimension."""
    return F.normalize(x, dim=-1, eps=1e-6)


def angle(predicted: Tensor, target: Tensor) -> Tensor:
    """[*]: |p/|p| - y/|y||^2 = 2 - 2 cos, in [0, 4]: 0 where directions agree, 2 where they are orthogonal."""
    return (direction(predicted) - direction(target)).square().sum(-1)
