"""A Markov decision process that fits in a table, and what can be computed in it exactly: float64, linear solves.

Rewards come in any number at once, as leading dimensions. Functions take the expected reward of a state and an action,
[..., S, A]; `expected_reward` makes it of a table [..., S, A, S]. Policies are probabilities [S, A], one for all
rewards, or [..., S, A], one each. A terminal state is one that leads to itself and pays 0.

>>> mdp = TabularMDP(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([0.5, 0.5]), 0.9)
>>> policy_value(mdp, torch.tensor([[1.0], [2.0]]), uniform(mdp))
tensor([10.0000, 20.0000], dtype=torch.float64)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-8
"""By how much a row of probabilities may miss 1."""
_TIE = 1e-12  # of the largest value: a gain below this is rounding, and following it would never end
_KEPT = 8  # factorisations: S = 1000 makes 8 MB each
_AT_ONCE = 2**25  # numbers in a batch of systems that are solved together: 256 MB


class TabularMDP:
    """States, actions, where they lead, where episodes start, and the discount: all of an MDP but its reward.

    Keeps a copy of the tables, and the last few factorisations of I - gamma P_pi and of what else is asked for, so
    that any number of rewards share one. Do not change the tables in place.

    Args:
        transition: [S, A, S] probabilities tau(s' | s, a); float64 inside.
        start: [S] probabilities of the first state; by default all are equal.
        gamma: discount, 0 <= gamma < 1.

    Raises:
        ValueError: a shape is wrong, a row is no distribution (1e-8), something is NaN, or gamma is outside [0, 1).
    """

    def __init__(self, transition: Tensor, start: Tensor | None = None, gamma: float = 0.95) -> None:
        shape = list(transition.shape)
        if len(shape) != 3 or shape[0] != shape[2] or 0 in shape:
            raise ValueError(f"an MDP's transition must have shape [S, A, S], got {shape}")
        if not 0 <= gamma < 1:
            raise ValueError(f"an MDP's gamma must be at least 0 and below 1, got {gamma}: values have no bound at 1")
        if start is None:
            start = torch.full((shape[0],), 1 / shape[0], dtype=torch.float64)
        if list(start.shape) != shape[:1]:
            raise ValueError(f"an MDP's start must have shape [{shape[0]}], got {list(start.shape)}")
        self.transition = _distribution(transition, "transition (s, a)")
        self.start = _distribution(start, "start")
        self.gamma = float(gamma)
        self._kept: dict[Hashable, Any] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        return tuple(self.transition.shape[:2])  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"TabularMDP(S={self.shape[0]}, A={self.shape[1]}, gamma={self.gamma:g})"

    def moves(self, policy: Tensor) -> Tensor:
        """P_pi [..., S, S]: the chances of the next state under a policy."""
        return torch.einsum("...sa,sat->...st", policy, self.transition)

    def solve(self, policy: Tensor, right: Tensor, *, transposed: bool = False) -> Tensor:
        """(I - gamma P_pi)^-1 `right` [..., S] for each policy; one factorisation, kept, if there is one policy."""
        if policy.ndim == 2:
            factors = self.kept(policy.numpy().tobytes(), lambda: torch.linalg.lu_factor(self._system(policy))[:2])
            solved = torch.linalg.lu_solve(*factors, right.reshape(-1, self.shape[0]).T, adjoint=transposed)
            return solved.T.reshape(right.shape)
        right = right.expand(*torch.broadcast_shapes(right.shape[:-1], policy.shape[:-2]), right.shape[-1])
        rows = right.reshape(-1, self.shape[0])
        policies = policy.expand(*right.shape[:-1], *policy.shape[-2:]).reshape(-1, *policy.shape[-2:])
        step = max(1, _AT_ONCE // self.shape[0] ** 2)
        solved = []
        for at in range(0, len(rows), step):
            system = self._system(policies[at : at + step])
            solved.append(torch.linalg.solve(system.mT if transposed else system, rows[at : at + step]))
        return torch.cat(solved).reshape(right.shape) if solved else right

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returned for this key, made once; of the last 8 keys."""
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = make()
        return self._kept[key]

    def _system(self, policy: Tensor) -> Tensor:
        return torch.eye(self.shape[0], dtype=torch.float64) - self.gamma * self.moves(policy)


class Optimum(NamedTuple):
    """What the best policies reach."""

    value: Tensor  # V* [..., S]
    q: Tensor  # Q* [..., S, A]
    policy: Tensor  # greedy, deterministic, [..., S, A]


def uniform(mdp: TabularMDP) -> Tensor:
    """[S, A]: the policy to which all actions are equal."""
    return torch.full(mdp.shape, 1 / mdp.shape[1], dtype=torch.float64)


def check_policy(mdp: TabularMDP, policy: Tensor) -> Tensor:
    """`policy` in float64. Raises ValueError if it is not [..., S, A] or a row is no distribution."""
    if tuple(policy.shape[-2:]) != mdp.shape:
        raise ValueError(f"a policy in {mdp!r} must have shape [..., {', '.join(map(str, mdp.shape))}], "
                         f"got {list(policy.shape)}")  # fmt: skip
    return _distribution(policy, "policy (s)")


def check_reward(mdp: TabularMDP, reward: Tensor) -> Tensor:
    """An expected reward in float64. Raises ValueError if it is not [..., S, A], or not finite."""
    _check_shape(mdp, reward, mdp.shape)
    return _finite(reward.double())


def expected_reward(mdp: TabularMDP, reward: Tensor, weights: Tensor | None = None) -> Tensor:
    """E[R(s, a, S')], [..., S, A], of rewards [..., S, A, S], or [..., S, A, 1] where the next state does not matter.

    `weights` [k, S, A, S] instead of the transitions give k weighted sums, [k, ..., S, A], in one pass. Raises
    ValueError for other shapes, NaN and infinities, also on transitions that cannot happen.
    """
    if tuple(reward.shape[-3:]) == (*mdp.shape, 1) and weights is None:
        return _finite(reward[..., 0].double())
    _check_shape(mdp, reward, (*mdp.shape, mdp.shape[0]))
    if weights is None:
        return _finite(torch.einsum("...sat,sat->...sa", reward.double(), mdp.transition))  # NaN and inf stay, by 0 too
    return _finite(torch.einsum("...sat,ksat->k...sa", reward.double(), weights))


def _check_shape(mdp: TabularMDP, reward: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(reward.shape[-len(shape) :]) != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"a reward in {mdp!r} must have shape [..., {wanted}], got {list(reward.shape)}")


def _finite(reward: Tensor) -> Tensor:
    if not bool(reward.sum().isfinite()):  # one cheap pass; a sum may also overflow
        wrong = int((~reward.isfinite()).sum())
        if wrong:
            raise ValueError(f"rewards are NaN or infinite at {wrong} states and actions; give transitions that cannot "
                             "happen any number, such as 0")  # fmt: skip
    return reward


def policy_value(mdp: TabularMDP, reward: Tensor, policy: Tensor) -> Tensor:
    """V [..., S] of expected rewards [..., S, A]: solves V = r_pi + gamma P_pi V."""
    policy = check_policy(mdp, policy)
    return mdp.solve(policy, (check_reward(mdp, reward) * policy).sum(-1))


def action_value(mdp: TabularMDP, reward: Tensor, value: Tensor) -> Tensor:
    """Q [..., S, A]: an expected reward [..., S, A], and V [..., S] from there on."""
    return reward + mdp.gamma * torch.einsum("sat,...t->...sa", mdp.transition, value)


def optimal_value(mdp: TabularMDP, reward: Tensor) -> Optimum:
    """The best policy of each expected reward [..., S, A], by exact policy iteration.

    It begins with what is best if one acts evenly afterwards, which spreads a far reward over all states at once. An
    action is changed only for one that is better by more than rounding, so that ties cannot go in circles.
    """
    reward = check_reward(mdp, reward)
    flat = reward.reshape(-1, *mdp.shape)
    chosen = action_value(mdp, flat, policy_value(mdp, flat, uniform(mdp))).argmax(-1)
    value, q = flat.new_empty(flat.shape[:2]), torch.empty_like(flat)
    left = torch.arange(len(flat))
    while len(left):
        now = chosen[left]
        policy = torch.nn.functional.one_hot(now, mdp.shape[1]).double()
        value[left] = mdp.solve(policy, flat[left].gather(-1, now[..., None])[..., 0])
        q[left] = action_value(mdp, flat[left], value[left])
        best, action = q[left].max(-1)
        least = _TIE * (flat[left].abs().amax((-1, -2)) / (1 - mdp.gamma))[:, None]
        better = best - q[left].gather(-1, now[..., None])[..., 0] > least
        chosen[left] = torch.where(better, action, now)
        left = left[better.any(-1)]
    policy = torch.nn.functional.one_hot(chosen, mdp.shape[1]).double()
    shape = reward.shape
    return Optimum(value.reshape(shape[:-1]), q.reshape(shape), policy.reshape(shape))


def occupancy(mdp: TabularMDP, policy: Tensor, start: Tensor | None = None) -> Tensor:
    """[..., S, A]: the discounted number of times, sum over t of gamma^t Pr(S_t = s, A_t = a). Sums to 1/(1 - gamma).

    `start` [S] replaces the MDP's own first states.
    """
    policy = check_policy(mdp, policy)
    start = mdp.start if start is None else _distribution(start, "start")
    return mdp.solve(policy, start.expand(policy.shape[:-1]), transposed=True).unsqueeze(-1) * policy


def successor_features(mdp: TabularMDP, policy: Tensor, features: Tensor) -> Tensor:
    """E[sum of gamma^t f(S_t, A_t) | S_0 = s], [S, m] for one policy, [..., S, m] for more; features [S, A, m]."""
    per_feature = features.double().movedim(-1, 0)  # [m, S, A]
    each = policy if policy.ndim == 2 else policy.unsqueeze(-3)
    return policy_value(mdp, per_feature, each).movedim(-2, -1)


def mean_return(mdp: TabularMDP, reward: Tensor, policy: Tensor) -> Tensor:
    """J [...]: the value of a policy, averaged over the first states; expected rewards [..., S, A]."""
    return policy_value(mdp, reward, policy) @ mdp.start


def regret(mdp: TabularMDP, reward: Tensor, policy: Tensor, *, normalised: bool = False) -> Tensor:
    """The return lost, max J - J(policy), [...], of expected rewards [..., S, A]; 0 is best.

    Normalised, it is a share of max J - min J, between 0 and 1; where all policies are equal (to rounding) it is 0.
    """
    reward = check_reward(mdp, reward)
    best = optimal_value(mdp, reward).value @ mdp.start
    lost = (best - mean_return(mdp, reward, policy)).clamp(min=0.0)
    if not normalised:
        return lost
    span = best + optimal_value(mdp, -reward).value @ mdp.start
    scale = reward.abs().amax((-1, -2)) / (1 - mdp.gamma)
    trivial = span <= TOLERANCE * scale
    return torch.where(trivial, 0.0, lost / torch.where(trivial, 1.0, span)).clamp(max=1.0)


def _distribution(table: Tensor, what: str) -> Tensor:
    """A copy in float64, checked: rows at least 0 that sum to 1."""
    table = table.double().clone()
    off = (table.sum(-1) - 1).abs()
    wrong = ~(off <= TOLERANCE) | ~(table >= 0).all(-1)  # NaN is neither
    if bool(wrong.any()):
        at = tuple(wrong.nonzero()[0].tolist())
        total = float(table[at].sum()) if at else float(table.sum())
        why = (
            "has an entry below 0" if math.isfinite(total) and abs(total - 1) <= TOLERANCE else f"sums to {total:.10g}"
        )
        raise ValueError(f"{what} row {list(at)} {why}: {int(wrong.sum())} of {wrong.numel()} rows are no "
                         "distributions; probabilities are at least 0 and sum to 1 (1e-8): give float64")  # fmt: skip
    return table
