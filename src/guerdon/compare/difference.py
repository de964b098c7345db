"""What two rewards differ in, in words: scale, shaping, redistribution, or which policies they prefer.

Where they order policies differently, a witness says so: two policies, of which each reward prefers another one. In a
tabular MDP there is always one, and it is found exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.compare.task_table import TaskTable
from guerdon.parts.canonicalisation import VAL
from guerdon.parts.tabular_mdp import (
    TabularMDP,
    mean_return,
    occupancy,
    optimal_value,
    policy_value,
    uniform,
)  # fmt: skip

SAME = 1e-5
"""A share of what is paid, or of a form, below which differences count as none: scores are float32."""
_FLOAT32 = 2e-7  # of what is paid: what its rounding may change in a form


@dataclass(frozen=True)
class Witness:
    """Two policies and their returns: the first reward prefers the first one, the second reward the second one."""

    policies: Tensor | None  # [2, S, A], in a tabular MDP
    names: tuple[str, str]
    returns: tuple[tuple[float, float], tuple[float, float]]  # by reward, then by policy
    where: str  # what they do differently, or how they were found

    def data(self) -> dict[str, Any]:
        """For JSON; of deterministic policies the action in each state."""
        found: dict[str, Any] = {"policies": list(self.names), "returns": self.returns, "where": self.where}
        if self.policies is not None and bool(((self.policies == 0) | (self.policies == 1)).all()):
            found["actions"] = self.policies.argmax(-1).tolist()
        return found


@dataclass(frozen=True)
class Difference:
    """How two rewards A and B relate."""

    kind: str  # "same", "scale", "shaping", "scale and shaping", "nothing", "opposite", "order" or "unclear"
    words: str
    scale: float | None = None  # of B over A, where they order policies alike
    regret: tuple[float, float] | None = None  # of B's best policy under A, and of A's under B; shares of max - min
    witness: Witness | None = None


def difference(table: TaskTable, first: Tensor, second: Tensor, names: tuple[str, str]) -> Difference:
    """Compares two rewards by what they pay for each transition, [E] each, on all transitions that are possible."""
    mdp, (a, b) = table.mdp, names
    paid = torch.stack([first, second])
    means = table.mean(paid)
    forms = VAL()(mdp, means[..., None])[..., 0]
    sizes, largest = torch.linalg.vector_norm(forms, dim=(-2, -1)), paid.abs().amax(-1)
    trivial = forms.abs().amax((-2, -1)) <= SAME * largest
    if bool((first - second).abs().max() <= SAME * largest.max()):
        return Difference("same", f"{a} and {b} pay the same for every transition", 1.0)
    if bool(trivial.any()):
        who = [name for name, zero in zip(names, trivial, strict=True) if zero]
        if len(who) == 2:
            return Difference("same", f"neither {a} nor {b} prefers any policy: both are shaping only")
        return Difference("nothing", f"{who[0]} prefers no policy: all are equally good for it")
    unit, ratio = forms / sizes[:, None, None], float(sizes[1] / sizes[0])
    rounding = SAME * unit.abs().max() + _FLOAT32 * (largest / sizes).sum()
    if bool((unit[0] - unit[1]).abs().max() <= rounding):
        return _alike(table, second - ratio * first, ratio, float(largest[1]), names)
    best = optimal_value(mdp, means)
    returns = mean_return(mdp, means[:, None], best.policy)
    least = -(optimal_value(mdp, -means).value @ mdp.start)
    lost = ((returns.diagonal() - returns.flip(1).diagonal()) / (returns.diagonal() - least)).clamp(0, 1).tolist()
    cost = f"the best policy of {b} loses {lost[0]:.1%} of what {a} has to give, that of {a} {lost[1]:.1%} of {b}'s"
    if bool((unit[0] + unit[1]).abs().max() <= rounding):
        kind, words = "opposite", f"{b} prefers whatever {a} does not; {cost}"
    else:
        kind, words = "order", f"{a} and {b} order policies differently; {cost}"
    return Difference(kind, words, None, (lost[0], lost[1]), witness(table, means, best.policy, names))


def _alike(table: TaskTable, rest: Tensor, ratio: float, largest: float, names: tuple[str, str]) -> Difference:
    """Rewards that order policies alike: `rest` is what scaling does not explain of the second, [E]."""
    a, b = names
    times = "" if abs(ratio - 1) <= SAME else f"{ratio:.4g} times "
    if float(rest.abs().max()) <= SAME * largest:
        return Difference("scale", f"{b} is {times}{a}: only the scale differs", ratio)
    mdp, (s, _, t) = table.mdp, table.steps.T
    potential = -policy_value(mdp, table.mean(rest), uniform(mdp))
    left = (rest - mdp.gamma * potential[t] + potential[s]).abs().max()
    shown = torch.where(potential.abs() <= SAME * potential.abs().max(), 0.0, potential)
    levels = f"potential from {shown.min():.4g} to {shown.max():.4g}"
    what = f"shaping ({levels})" if float(left) <= SAME * largest else f"shaping ({levels}) and s'-redistribution"
    kind = "scale and shaping" if times else "shaping"
    return Difference(kind, f"{b} is {times}{a} plus {what}: both order all policies alike", ratio)


def witness(table: TaskTable, both: Tensor, best: Tensor, names: tuple[str, str]) -> Witness | None:
    """Two policies that expected rewards [2, S, A] order differently: the `best` [2, S, A], or else another pair.

    None where the difference of the rewards is too small to be told from rounding.
    """
    mdp, (a, b) = table.mdp, names
    if _disagree(mdp, both, best):
        called = (f"the best for {a}", f"the best for {b}")
    else:
        found = _between(mdp, both)
        if found is None or not _disagree(mdp, both, found):
            return None
        best, called = found, (f"one that {a} prefers", f"one that {b} prefers")
    returns = mean_return(mdp, both[:, None], best).tolist()
    return Witness(best, called, tuple(map(tuple, returns)), _where(table, best))  # type: ignore[arg-type]


def _disagree(mdp: TabularMDP, rewards: Tensor, policies: Tensor) -> bool:
    """Whether the first reward prefers the first of two policies and the second the second, by more than rounding."""
    returns = mean_return(mdp, rewards[:, None], policies)  # [2 rewards, 2 policies]
    rounding = 1e-9 * rewards.abs().amax((-2, -1)) / (1 - mdp.gamma)
    return bool(returns[0, 0] - returns[0, 1] > rounding[0] and returns[1, 1] - returns[1, 0] > rounding[1])


def _between(mdp: TabularMDP, rewards: Tensor, rounds: int = 60) -> Tensor | None:
    """Two policies [2, S, A] with J1(p) > J1(q) and J2(p) < J2(q), for rewards whose best policies do not tell.

    The gains (J1(p) - J1(q), J2(p) - J2(q)) of all pairs are a convex polygon around 0. Its corner in the direction
    (1, -x) is the best and the worst policy of first - x second. From x = 0, where the first gain is largest, to
    infinity, where the second is least, either a corner lies in the quadrant that is wanted, or the line between two
    corners crosses it: then the middle of the crossing is a mixture of their visits.
    """
    both = rewards / rewards.abs().amax((-2, -1), keepdim=True)
    low, high, corners = 0.0, 1e6, {}
    for turn in range(rounds):
        x = (0.0, high, 1.0)[turn] if turn < 3 else (max(low, 1e-9) * high) ** 0.5
        mixed = both[0] - x * both[1]
        pair = optimal_value(mdp, torch.stack([mixed, -mixed])).policy
        visits = occupancy(mdp, pair)
        u, v = ((visits[0] - visits[1]) * both).sum((-2, -1)).tolist()
        if u > 0 > v:
            return pair
        low, high = (x, high) if u > 0 else (low, x)
        corners[u > 0] = (visits, u, v)
        if len(corners) == 2:
            (one, u1, v1), (other, u2, v2) = corners[True], corners[False]
            enters, leaves = v1 / (v1 - v2), u1 / (u1 - u2)
            if enters < leaves:
                share = (enters + leaves) / 2
                mean = (1 - share) * one + share * other
                total = mean.sum(-1, keepdim=True)
                return torch.where(total > 0, mean / total.clamp(min=1e-300), 1 / mdp.shape[1])
    return None


def _where(table: TaskTable, policies: Tensor) -> str:
    """The first state on the way of either where the two act differently."""
    differ = (policies[0] - policies[1]).abs().amax(-1) > 1e-6
    visited = occupancy(table.mdp, policies).sum(-1) > 1e-9
    for states in (visited.all(0) & differ, visited.any(0) & differ):
        if bool(states.any()):
            s = int(states.nonzero()[0])
            act = [_action(policy[s]) for policy in policies]
            path = table.paths[s] if len(table.paths[s]) < 60 else f"{table.paths[s][:45]}, ..."
            return (
                f"they act differently in {int(differ.sum())} of {len(differ)} states, first in state "
                f"{int(table.number[s])} ({path}): {act[0]} against {act[1]}"
            )
    return "they act alike wherever they come"


def _action(chances: Tensor) -> str:
    top = int(chances.argmax())
    return f"action {top}" if float(chances[top]) > 1 - 1e-9 else f"action {top} with chance {float(chances[top]):.2f}"
