"""Canonical forms of rewards: what is left when everything is removed that never changes which policy is better.

Two changes of a reward leave the order of all policies as it is: potential shaping, R + gamma Phi(s') - Phi(s), and
s'-redistribution, which keeps E[R(s, a, S')]. A canonicalisation c is linear and maps rewards that differ by such
changes to one form. Divided by its norm, it also forgets the scale. Tabular, exact, float64, any number of rewards at
once: [..., S, A, S] or [..., S, A, 1] in, [..., S, A, S] out, or [..., S, A, 1] where the form is the same for every
next state.

- `VAL`, `Minimal`: remove shaping and redistribution (Skalse et al., 2023, https://arxiv.org/abs/2309.15257).
- `VALPotential`, `MinimalPotential`: remove shaping.
- `EPIC` (Gleave et al., 2021, https://arxiv.org/abs/2006.13900), `DARD` (Wulfe et al., 2022,
  https://arxiv.org/abs/2201.10081): remove shaping.
- `Identity`: removes nothing.

All raise ValueError for rewards of other shapes and for NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from guerdon.parts.tabular_mdp import TabularMDP, action_value, expected_reward, policy_value, uniform

_ZERO = 1e-12  # of R's size / (1 - gamma), the size of the values that cancel: a form below it is rounding


class Canonicalisation(Protocol):
    """Maps rewards to their canonical form. `mean` is E[R(s, a, S')] [..., S, A], where it is known already."""

    redistribution: ClassVar[bool]
    """Whether the form also forgets s'-redistribution."""

    def __call__(self, mdp: TabularMDP, reward: Tensor, mean: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class VAL:
    """Value-adjusted levelling: c(s, a) = E[R(s, a, S') + gamma V(S') - V(s)], the advantage of a policy's actions.

    V is the value of `policy` [S, A], by default the even one. For every s, the sum over a of pi(a | s) c(s, a) is 0.
    """

    policy: Tensor | None = None
    redistribution: ClassVar[bool] = True

    def __call__(self, mdp: TabularMDP, reward: Tensor, mean: Tensor | None = None) -> Tensor:
        mean = expected_reward(mdp, reward) if mean is None else mean
        value = policy_value(mdp, mean, uniform(mdp) if self.policy is None else self.policy)
        return (action_value(mdp, mean, value) - value[..., None])[..., None]


@dataclass(frozen=True)
class VALPotential:
    """R(s, a, s') + gamma V(s') - V(s) with the V of `VAL`, and no expectation over S'."""

    policy: Tensor | None = None
    redistribution: ClassVar[bool] = False

    def __call__(self, mdp: TabularMDP, reward: Tensor, mean: Tensor | None = None) -> Tensor:
        mean = expected_reward(mdp, reward) if mean is None else mean
        value = policy_value(mdp, mean, uniform(mdp) if self.policy is None else self.policy)
        return shaped(mdp, reward, value)


@dataclass(frozen=True)
class MinimalPotential:
    """The shaping of R that is least in the 2-norm, plain or `weighted` by tau: a least-squares projection.

    The matrix of the normal equations is the same for all rewards, S x S, and factorised once.
    """

    weighted: bool = False
    redistribution: ClassVar[bool] = False

    def __call__(self, mdp: TabularMDP, reward: Tensor, mean: Tensor | None = None) -> Tensor:
        if mean is None:
            expected_reward(mdp, reward)  # checks
        weights = mdp.transition if self.weighted else torch.ones_like(mdp.transition)
        paid = reward.double() * weights
        right = mdp.gamma * paid.sum((-3, -2)) - paid.sum((-2, -1))  # M' W R, of M Phi = gamma Phi(s') - Phi(s)
        factor = mdp.kept(("potential", self.weighted), lambda: torch.linalg.cholesky(self._normal(mdp, weights)))
        return shaped(mdp, reward, -_solve(factor, right))

    @staticmethod
    def _normal(mdp: TabularMDP, weights: Tensor) -> Tensor:
        pair, gamma = weights.sum(1), mdp.gamma
        return torch.diag(gamma**2 * pair.sum(0) + pair.sum(1)) - gamma * (pair + pair.T)


@dataclass(frozen=True)
class Minimal:
    """The least reward, in the 2-norm, of all that differ from R by shaping and redistribution.

    Closed form (ours): the least reward with mean b(s, a) is tau(s' | s, a) b(s, a) / |tau(. | s, a)|^2, so Phi is the
    least-squares solution for b = E[R] + gamma E[Phi(S')] - Phi(s) with weights 1 / |tau(. | s, a)|^2.
    """

    redistribution: ClassVar[bool] = True

    def __call__(self, mdp: TabularMDP, reward: Tensor, mean: Tensor | None = None) -> Tensor:
        mean = expected_reward(mdp, reward) if mean is None else mean
        square = mdp.transition.square().sum(-1)
        states, actions = mdp.shape
        moves = mdp.gamma * mdp.transition - torch.eye(states, dtype=torch.float64)[:, None]

        def factorise() -> Tensor:
            scaled = (moves / square.sqrt()[..., None]).reshape(states * actions, states)
            return torch.linalg.cholesky(scaled.T @ scaled)

        right = torch.einsum("sak,...sa->...k", moves, mean / square)
        least = mean - torch.einsum("sak,...k->...sa", moves, _solve(mdp.kept("minimal", factorise), right))
        return (least / square)[..., None] * mdp.transition


@dataclass(frozen=True)
class EPIC:
    """R(s, a, s') + gamma m(s') - m(s) - gamma E[m(S)] with m(x) = E[R(x, A, S')]; S and S' from D_S, A from D_A.

    All three are independent: rewards of transitions that cannot happen count.

    Args:
        states: D_S [S], by default even.
        actions: D_A [A], by default even.
    """

    states: Tensor | None = None
    actions: Tensor | None = None
    redistribution: ClassVar[bool] = False

    def __call__(self, mdp: TabularMDP, reward: Tensor, mean: Tensor | None = None) -> Tensor:
        if mean is None:
            expected_reward(mdp, reward)  # checks
        here, act = even(self.states, mdp.shape[0]), even(self.actions, mdp.shape[1])
        there = here if reward.shape[-1] > 1 else here.new_ones(1)
        level = torch.einsum("...sat,a,t->...s", reward.double(), act, there)
        return shaped(mdp, reward, level) - mdp.gamma * (level @ here)[..., None, None, None]


@dataclass(frozen=True)
class DARD:
    """R(s, a, s') + E[gamma R(s', A, S'') - R(s, A, S') - gamma R(S', A, S'')], A from D_A, S' and S'' where A leads.

    S' comes from (s, A), S'' from (s', A) with the same A, and the two are independent given it: the last term can
    still pay for transitions that cannot happen.

    Args:
        actions: D_A [A], by default even.
    """

    actions: Tensor | None = None
    redistribution: ClassVar[bool] = False

    def __call__(self, mdp: TabularMDP, reward: Tensor, mean: Tensor | None = None) -> Tensor:
        act, tau = even(self.actions, mdp.shape[1]), mdp.transition
        level = (expected_reward(mdp, reward) if mean is None else mean) @ act
        led = torch.einsum("sak,...kal->...sal", tau, reward.double().expand(*reward.shape[:-1], mdp.shape[0]))
        cross = torch.einsum("...sal,tal,a->...st", led, tau, act)
        return shaped(mdp, reward, level) - mdp.gamma * cross.unsqueeze(-2)


@dataclass(frozen=True)
class Identity:
    """R as it is."""

    redistribution: ClassVar[bool] = False

    def __call__(self, mdp: TabularMDP, reward: Tensor, mean: Tensor | None = None) -> Tensor:
        if mean is None:
            expected_reward(mdp, reward)  # checks
        return reward.double()


@dataclass(frozen=True)
class Norm:
    """The p-norm of a table, [..., S, A, S] -> [...]: sums over all transitions, or `weighted` by tau.

    Weighted: (sum of tau |x|^p)^(1/p), and max tau |x| for p = inf. A table [..., S, A, 1] stands for one that is the
    same for every next state.
    """

    p: float = 2.0
    weighted: bool = False

    def __post_init__(self) -> None:
        if self.p not in (1, 2, math.inf):
            raise ValueError(f"a norm's p is 1, 2 or inf, got {self.p}")

    def __call__(self, mdp: TabularMDP, table: Tensor) -> Tensor:
        return torch.linalg.vector_norm(self.spread(mdp, table), self.p, -1)

    def spread(self, mdp: TabularMDP, table: Tensor) -> Tensor:
        """[..., K]: the table as vectors whose plain p-norms, and those of their differences, are this norm's."""
        level, tau = table.shape[-1] == 1, mdp.transition
        if not self.weighted:
            weight: Tensor | float = mdp.shape[0] ** (1 / self.p) if level else 1.0  # an infinite p gives 1
        elif self.p == math.inf:
            weight = tau.amax(-1, keepdim=True) if level else tau
        else:
            weight = 1.0 if level else tau ** (1 / self.p)
        return (table * weight).flatten(-3)

    def __str__(self) -> str:
        return f"{'tau-weighted ' * self.weighted}L{self.p:g}"


def standardise(mdp: TabularMDP, reward: Tensor, canonicalise: Canonicalisation, norm: Norm | None) -> Tensor:
    """c(R) / n(c(R)); 0 where c(R) is 0 up to rounding, that is where R orders no policies. `norm` None divides by 1.

    What is left of a form whose parts cancel counts as rounding where its largest entry is below
    1e-12 / (1 - gamma) times R's root mean square.
    """
    mean, size = _mean_and_size(mdp, reward)
    form = canonicalise(mdp, reward, mean)
    nothing = form.abs().amax((-3, -2, -1)) <= _ZERO * size / (1 - mdp.gamma)
    scale = torch.ones_like(size) if norm is None else norm(mdp, form)
    factor = torch.where(nothing, 0.0, 1 / torch.where(nothing, 1.0, scale))
    return form * factor[..., None, None, None]


def _mean_and_size(mdp: TabularMDP, reward: Tensor) -> tuple[Tensor, Tensor]:
    """E[R(s, a, S')] [..., S, A], and R's root mean square [...]; of several rewards estimated, in one pass over them.

    Each row R(s, a, .) is projected on a random direction; the square has the row's squared length as its mean. The
    directions are fixed, and those of the states are shifts of one another.
    """
    table = reward.shape[-3:]
    if reward.shape[-1] == 1 or reward.numel() == table.numel():
        size = torch.linalg.vector_norm(reward.double(), dim=(-3, -2, -1)) / table.numel() ** 0.5
        return expected_reward(mdp, reward), size

    def directions() -> Tensor:
        states, generator = mdp.shape[0], torch.Generator().manual_seed(0)
        drawn = torch.randn(2 * states - 1, generator=generator, dtype=torch.float64)
        return torch.stack([mdp.transition, drawn.unfold(0, states, 1)[:, None].expand_as(mdp.transition)])

    both = expected_reward(mdp, reward, mdp.kept("directions", directions))
    return both[0], both[1].square().mean((-2, -1)).div(mdp.shape[0]).sqrt()


def shaped(mdp: TabularMDP, reward: Tensor, potential: Tensor) -> Tensor:
    """R(s, a, s') + gamma Phi(s') - Phi(s), [..., S, A, S]; Phi [..., S]."""
    return reward.double() + mdp.gamma * potential[..., None, None, :] - potential[..., :, None, None]


def even(weights: Tensor | None, size: int) -> Tensor:
    """A coverage distribution [size]: `weights`, checked, or the even one."""
    if weights is None:
        return torch.full((size,), 1 / size, dtype=torch.float64)
    weights = weights.double()
    if list(weights.shape) != [size] or not bool((weights >= 0).all() and (weights.sum() - 1).abs() <= 1e-8):
        raise ValueError(f"a coverage distribution has {size} float64 that sum to 1, got {weights.tolist()}")
    return weights


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    """A^-1 `right` [..., S] from A's Cholesky factor."""
    columns = right.reshape(-1, right.shape[-1]).T
    return torch.cholesky_solve(columns, factor).T.reshape(right.shape)
