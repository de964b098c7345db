"""Regret preferences: a reward learned from choices between pieces of behaviour, judged by how well each was done."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from gymnasium.spaces import Discrete
from torch import Tensor

from guerdon.parts.pair_loss import pair_loss
from guerdon.parts.segment_regret import deterministic_regret, general_regret, soft_maximum
from guerdon.parts.segments import Segments, read_numbers, read_segments
from guerdon.types import SECOND, TIE, About, Experience, Labels, Pairs, Reward, Rollout, Spec

Kind = Literal["partial", "regret", "expanded"]


class RegretPreference(Reward):
    """A linear reward r = w . f(s, a, s'), fitted to comparisons of segments by what a judge saw in them.

    The second segment is preferred with probability sigmoid(beta (u_2 - u_1)), where u [B] is, by `kind`,

    - "partial": the partial return, sum of r over the segment's steps;
    - "regret": minus the segment's regret, its deviation from optimal play. V* and Q* of r come from successor features
      psi of a set of policies (`successor_set`): V~(s) = sum_k p_k w . psi_k(s), p = softmax(w . psi / T), for a psi of
      states, and the regret is sum of V~(s_t) - r_t - gamma V~(s_t+1); a psi of states and actions gives Q~ alike, V~
      as its maximum over actions, and the regret without luck, sum of V~(s_t) - Q~(s_t, a_t);
    - "expanded": c . (partial return, V~(s_k), V~(s_0)) for known `weights`; the three numbers c are what is learned.
      (1, 1, -1) is the regret model at gamma = 1, (1, 0, 0) the partial return.

    A score is r of each step, float32 [T, B], in no particular range. f(s_t, a_t, s_t+1) is ``obs[features][t + 1]``,
    so that the key shows what the last step was paid in, or an indicator of state and action (`features` None). V* is 0
    after a termination; a segment that terminated goes on there by transitions of feature and value 0, which is what
    `valid` False stands for behind it, and makes it as long as its partner. A segment lies within one episode.

    `update` fits w to Pairs of segments [T, B] by Adam on all of them, in float64 from where it stands, T falling from
    first to last of `temperature`; the weights of the lowest loss are kept. That each pair counts in both orders, as in
    the paper's code, changes nothing here: the loss is symmetric. To act, plan with r (`parts.tabular_mdp`).

    A psi set without near-optimal policies makes V~ too low and regrets negative: add policies, of the weights found,
    too. An estimate of A* (one-hot features, partial return, labels by regret) is for greedy choice: as a reward it
    pays loops, unless its maximum over actions is 0 in each state.

    Knox et al., "Models of human preference for learning reward functions", 2022. Discount: the paper's undiscounted
    V(s_0) - sum r - V(s_k) is ours at gamma = 1; below, optimal segments would not have regret 0. The annealing and the
    L2 penalty are ours. Raises ValueError for segments that leave open what they are worth, naming what is missing.

    Args:
        kind: of preference, see above.
        successors: psi [K, S, m] or [K, S, A, m], or the file of one (torch.save); needed by all kinds but "partial".
        features: key of the observation that holds f; None for indicators of state and action (m = S A).
        state: key of the observation that holds the state's number (needed with `successors` or without `features`).
        weights: w, known beforehand; nothing but "expanded" learns then, but likelihoods can be compared.
        gamma: of psi (code: 0.999).
        beta: how sharply judges tell (code: 1). c times the reward is the same as c times beta.
        lr, iterations: of Adam (code: 0.5, 5000).
        temperature: T, first and last (code: 0.001 throughout, where softmax has no gradient).
        l2: weight of the sum of squares of what is learned.
        ties: False drops pairs without a winner.
    """

    about: ClassVar[About] = About(
        rewards="what comparisons of behaviour say of its features, by regret or by partial return",
        paper="Models of human preference for learning reward functions (Knox et al., 2022)",
        link="https://arxiv.org/abs/2206.02231",
        claim="regret_preference",
        example="RegretPreference(kind='partial', features='obs', iterations=20)",
    )

    psi: Tensor | None
    w: Tensor  # [m] float64
    c: Tensor  # [3] float64, of the expanded kind

    def __init__(
        self, *, kind: Kind = "regret", successors: str | Tensor | None = None, features: str | None = "features",
        state: str = "state", weights: tuple[float, ...] | None = None, gamma: float = 0.999, beta: float = 1.0,
        lr: float = 0.5, iterations: int = 5000, temperature: tuple[float, float] = (0.1, 0.001), l2: float = 1e-4,
        ties: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if kind not in ("partial", "regret", "expanded"):
            raise ValueError(f"RegretPreference's kind is 'partial', 'regret' or 'expanded', not {kind!r}")
        if kind != "partial" and successors is None:
            raise ValueError(f"RegretPreference(kind={kind!r}) needs successors: parts.segment_regret.successor_set")
        if kind == "expanded" and weights is None:
            raise ValueError("RegretPreference(kind='expanded') needs weights: it predicts choices for a known reward")
        if not (0 <= gamma <= 1 and min(beta, lr, *temperature) > 0 and iterations >= 1 and l2 >= 0):
            raise ValueError("RegretPreference needs 0 <= gamma <= 1, l2 >= 0, iterations >= 1 and the rest above 0")
        self.kind, self.successors, self.features, self.state, self.weights = kind, successors, features, state, weights
        self.gamma, self.beta, self.lr, self.iterations = gamma, beta, lr, iterations
        self.temperature, self.l2, self.ties = temperature, l2, ties

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        space = spec.observation_space.spaces if isinstance(spec.observation_space, spaces.Dict) else {}
        key = self.features or self.state
        if key not in space:
            raise ValueError(f"RegretPreference reads obs[{key!r}], but observations have {', '.join(space) or 'none'}")
        if self.features is not None:
            if (shape := space[key].shape) is None:
                raise TypeError(f"RegretPreference reads vectors of numbers, and obs[{key!r}] is {space[key]}")
            width = int(np.prod(shape))
        elif isinstance(states := space[key], Discrete) and isinstance(actions := spec.action_space, Discrete):
            width, self.actions = int(states.n * actions.n), int(actions.n)
        else:
            raise TypeError("RegretPreference(features=None) needs states and actions that are spaces.Discrete")
        psi = self.successors
        if isinstance(psi, str):
            psi = torch.load(psi, map_location=device, weights_only=True)
        if psi is not None and (psi.ndim not in (3, 4) or psi.shape[-1] != width or not bool(psi.isfinite().all())):
            raise ValueError(f"RegretPreference's successors are finite, [K, S, {width}] or [K, S, A, {width}], one "
                             f"entry a feature; got {list(psi.shape)}")  # fmt: skip
        w = torch.zeros(width) if self.weights is None else torch.tensor(self.weights)
        if w.shape != (width,):
            raise ValueError(f"RegretPreference has {width} features, but {len(w)} weights")
        self.register_buffer("psi", None if psi is None else psi.double())
        self.register_buffer("w", w.double())
        self.register_buffer("c", torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
        self.to(device)

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        assert isinstance(experience, Rollout)
        return (self._features(experience) @ self.w).float()

    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Pairs of segments are fitted; nothing else teaches it anything."""
        if isinstance(experience, Pairs) and isinstance(experience.first, Rollout):
            return self.fit(experience)
        return {}

    def fit(self, pairs: Pairs) -> dict[str, float]:
        """Fits w (or c) to comparisons of segments; returns loss, accuracy (without ties) and the number of pairs."""
        both, label = self._both(pairs), pairs.label
        weight = torch.ones_like(label, dtype=self.w.dtype) if pairs.weight is None else pairs.weight.to(self.w)
        weight = weight if self.ties else weight * (label != TIE)
        if not bool(weight.sum() > 0):
            raise ValueError(f"{self.name}: of {len(label)} pairs none tells anything; ties=True keeps ties")
        weight = weight / weight.sum()
        if self.kind == "expanded" or self.weights is None:
            self._descend(both, label, weight)
        lead, sided = self._lead(both, self._learned, self.temperature[1]), (label != TIE) & (weight > 0)
        logs = {"loss": float((weight * self._loss(lead, label)).sum()), "pairs": float((weight > 0).sum())}
        if bool(sided.any()):
            logs["accuracy"] = float(((lead > 0) == (label == SECOND))[sided].double().mean())
        return {f"{self.name}/{key}": value for key, value in logs.items()}

    def likelihood(self, pairs: Pairs) -> Tensor:
        """[N] log-probability of each label: which kind of preference explains a set of labels best?"""
        return -self._loss(self._lead(self._both(pairs), self._learned, self.temperature[1]), pairs.label)

    def regret(self, segments: Rollout) -> Tensor:
        """[B] regret of each segment under w, float64. Needs successors."""
        return self._regret(self._segments(segments), self.w, self.temperature[1])

    @property
    def _learned(self) -> Tensor:
        return self.c if self.kind == "expanded" else self.w

    def _descend(self, both: Segments, label: Tensor, weight: Tensor) -> None:
        leaf = self._learned.clone().requires_grad_()
        optimiser = torch.optim.Adam([leaf], lr=self.lr)
        best, kept = math.inf, self._learned.clone()
        (first, last), end = self.temperature, max(1, self.iterations - 1)
        for step in range(self.iterations):
            lead = self._lead(both, leaf, first ** (1 - step / end) * last ** (step / end))
            loss = (weight * self._loss(lead, label)).sum() + self.l2 * leaf.square().sum()
            if float(loss.detach()) < best:
                best, kept = float(loss.detach()), leaf.detach().clone()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        self._learned.copy_(kept)

    def _loss(self, lead: Tensor, label: Tensor) -> Tensor:
        return pair_loss(torch.zeros_like(lead), self.beta * lead, label)

    def _lead(self, both: Segments, learned: Tensor, temperature: float) -> Tensor:
        """u_2 - u_1 [N] of first segments and, behind them, second ones."""
        if self.kind == "partial":
            worth = both.features @ learned
        elif self.kind == "regret":
            worth = -self._regret(both, learned, temperature)
        else:
            value = self._value(both, self._worths(self.w), temperature)
            end = value.gather(0, both.length[None])[0]
            worth = torch.stack([both.features @ self.w, end, value[0]], -1) @ learned
        first, second = worth.chunk(2)
        return second - first

    def _regret(self, segments: Segments, w: Tensor, temperature: float) -> Tensor:
        worths = self._worths(w)
        value = self._value(segments, worths, temperature)
        if self.psi is None or self.psi.ndim == 3:
            return deterministic_regret(segments.features @ w, value, segments.valid, self.gamma)
        assert segments.state is not None
        q = soft_maximum(worths.unflatten(-1, (self.psi.shape[2], -1)), temperature)
        return general_regret(value, q[segments.state[:-1], segments.action], segments.valid)

    def _value(self, segments: Segments, worths: Tensor, temperature: float) -> Tensor:
        assert segments.state is not None
        return soft_maximum(worths, temperature)[segments.state] * segments.alive

    def _worths(self, w: Tensor) -> Tensor:
        """W . psi, [S, K] or [S, A * K]: of all that is known to be possible in each state."""
        if self.psi is None:
            raise ValueError(f"{self.name}: regret needs successors; see parts.segment_regret.successor_set")
        return (self.psi @ w).movedim(0, -1).flatten(1)

    def _both(self, pairs: Pairs) -> Segments:
        """First segments, then second ones. Raises ValueError if their lengths leave open what they are worth."""
        first, second = (self._segments(side) for side in (pairs.first, pairs.second))
        n, lengths = len(pairs.label), (first.length, second.length)
        if not n == len(lengths[0]) == len(lengths[1]):
            raise ValueError(f"{self.name}: {n} labels need as many segments [T, B] on either side, got "
                             f"{len(lengths[0])} and {len(lengths[1])}")  # fmt: skip
        over = torch.where(lengths[0] < lengths[1], first.alive[-1], second.alive[-1]) == 0
        unequal = (lengths[0] != lengths[1]) & ~over
        if self.kind == "partial" and bool(unequal.any()):
            raise ValueError(f"{self.name}: the segments of {int(unequal.sum())} pairs are of unequal lengths, which "
                             "partial returns cannot compare unless the shorter one terminated: cut them")  # fmt: skip
        return first.beside(second)

    def _segments(self, rollout: Rollout) -> Segments:
        found = read_segments(rollout, self._features(rollout), self.name)
        return found if self.psi is None else found.numbered(rollout, self.state, self.psi.shape[1], self.name)

    def _features(self, rollout: Rollout) -> Tensor:
        """f(s_t, a_t, s_t+1) [T, B, m] in float64."""
        m = len(self.w)
        if self.features is None:
            state, action = read_numbers(rollout, self.state, m // self.actions, self.name)
            return F.one_hot(state[:-1] * self.actions + action, m).double()
        found = rollout.obs.get(self.features)
        if found is None or int(np.prod(found.shape[2:])) != m:
            raise ValueError(f"{self.name} reads {m} features in obs[{self.features!r}], but observations have "
                             f"{ {k: list(v.shape[2:]) for k, v in rollout.obs.items()} }")  # fmt: skip
        found = found[1:].reshape(*rollout.shape, m).double()
        if not bool(found[rollout.valid.bool()].isfinite().all()):
            raise ValueError(f"{self.name}: obs[{self.features!r}] holds NaN or infinity; clean it in the environment")
        return found
