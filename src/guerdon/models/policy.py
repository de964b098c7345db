"""An actor with one critic head a reward stream, recurrent or not, over mixed observation dictionaries."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from guerdon.models.encoders import ACTION_MASK, DictEncoder, orthogonal


class Output(NamedTuple):
    """What the network says of n observations (or of [T, b] of them, flattened to n)."""

    logits: Tensor  # [n, A] for discrete actions, [n, 2A] (mean, log std) for continuous ones
    value: Tensor  # [n, S]
    state: Tensor | None  # [b, H], after the last step


class ActorCritic(nn.Module):
    """Encoder, optional GRU, policy head and S value heads.

    Args:
        observation_space: Dict of what one environment shows.
        action_space: Discrete or Box.
        streams: number of value heads.
        width: of each key's encoder.
        hidden: of the core.
        recurrent: a GRU core in place of a dense one.
        keys: which observation keys to see; None means all.
        separate: give the critic an encoder of its own (feed-forward only), as Stable-Baselines3 does for vectors.

    Raises:
        TypeError: an action space that is neither Discrete nor a flat Box.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space,
        *,
        streams: int = 1,
        width: int = 64,
        hidden: int = 128,
        recurrent: bool = False,
        keys: tuple[str, ...] | None = None,
        separate: bool = False,
    ) -> None:
        super().__init__()
        if separate and recurrent:
            raise ValueError("a critic of its own (separate=True) needs recurrent=False")
        self.continuous = isinstance(action_space, spaces.Box)
        if isinstance(action_space, spaces.Discrete):
            actions = int(action_space.n)
        elif isinstance(action_space, spaces.Box) and len(action_space.shape) == 1:
            actions = action_space.shape[0]
            self.log_std = nn.Parameter(torch.zeros(actions))
        else:
            raise TypeError(f"PPO here acts in Discrete or flat Box spaces, not {action_space}")
        self.hidden, self.recurrent = hidden, recurrent
        self.encoder = DictEncoder(observation_space, width, keys)
        self.core = nn.GRU(self.encoder.size, hidden) if recurrent else self._dense(hidden)
        self.critic_encoder = DictEncoder(observation_space, width, keys) if separate else None
        self.critic_core = self._dense(hidden) if separate else None
        self.actor = orthogonal(nn.Linear(hidden, actions), 0.01)
        self.critic = orthogonal(nn.Linear(hidden, streams), 1.0)

    def _dense(self, hidden: int) -> nn.Module:
        return nn.Sequential(orthogonal(nn.Linear(self.encoder.size, hidden)), nn.Tanh())

    def initial_state(self, batch: int) -> Tensor | None:
        """[b, H] zeros, or None without recurrence."""
        return torch.zeros(batch, self.hidden, device=self.actor.weight.device) if self.recurrent else None

    def forward(self, obs: dict[str, Tensor], state: Tensor | None = None, starts: Tensor | None = None) -> Output:
        """Flat observations [n, ...], or with `starts` [T, b] (True where an episode begins) sequences of them.

        Without recurrence order does not matter. With it, n = T * b in time-major order and `state` is [b, H].
        """
        features = self.encoder(obs)
        if not self.recurrent:
            hidden = self.core(features)
        else:
            steps = features.view(1 if starts is None else len(starts), -1, features.shape[-1])
            hidden, state = self._unroll(steps, state, starts)
        logits = self.actor(hidden)
        if self.continuous:
            logits = torch.cat([logits, self.log_std.expand_as(logits)], -1)
        elif ACTION_MASK in obs:
            logits = logits.masked_fill(~obs[ACTION_MASK].bool(), -1e9)
        if self.critic_encoder is not None and self.critic_core is not None:
            hidden = self.critic_core(self.critic_encoder(obs))
        return Output(logits, self.critic(hidden), state)

    def _unroll(self, x: Tensor, state: Tensor | None, starts: Tensor | None) -> tuple[Tensor, Tensor]:
        """One GRU call between any two steps at which some episode begins."""
        h = (self.initial_state(x.shape[1]) if state is None else state).unsqueeze(0)  # type: ignore[union-attr]
        if starts is None:
            out, h = self.core(x, h)
            return out.flatten(0, 1), h[0]
        cuts = [0, *(starts[1:].any(1).nonzero().flatten() + 1).tolist(), len(x)]
        outs = []
        for a, b in itertools.pairwise(cuts):
            h = torch.where(starts[a][None, :, None], 0.0, h)
            out, h = self.core(x[a:b], h)
            outs.append(out)
        return torch.cat(outs).flatten(0, 1), h[0]

    def sample(self, logits: Tensor, generator: torch.Generator | None, greedy: bool = False) -> tuple[Tensor, Tensor]:
        """(action, log-probability) drawn from `logits`, or the likeliest action."""
        if self.continuous:
            mean, log_std = logits.chunk(2, -1)
            noise = (
                torch.zeros_like(mean) if greedy else torch.randn(mean.shape, generator=generator, device=mean.device)
            )
            action = mean + log_std.exp() * noise
        elif greedy:
            action = logits.argmax(-1)
        else:  # Gumbel's trick: cheaper than building a distribution
            noise = torch.empty_like(logits).exponential_(generator=generator)
            action = (logits.softmax(-1) / noise).argmax(-1)
        return action, self.log_prob(logits, action)

    def log_prob(self, logits: Tensor, action: Tensor) -> Tensor:
        """[n]."""
        if self.continuous:
            mean, log_std = logits.chunk(2, -1)
            z = (action - mean) / log_std.exp()
            return (-0.5 * z * z - log_std - 0.5 * np.log(2 * np.pi)).sum(-1)
        return logits.log_softmax(-1).gather(-1, action.long()[:, None])[:, 0]

    def entropy(self, logits: Tensor) -> Tensor:
        """[n]."""
        if self.continuous:
            return (logits.chunk(2, -1)[1] + 0.5 * np.log(2 * np.pi * np.e)).sum(-1)
        log_p = logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)


def parameter_count(module: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in module.parameters())


def as_tensors(obs: dict[str, Any], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """NumPy views as tensors on `device` (on the CPU without a copy)."""
    return {k: torch.from_numpy(v).to(device) for k, v in obs.items()}
