"""Where to go next on a topological map: what speaks for each place, and the choice.

Sub-goal selection of TopoNav (Hossain et al., 2024, https://arxiv.org/abs/2402.04061). A weighted score with a novelty
term is in summaries of the paper; its formula is reconstructed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from guerdon.explore.topological_map import TopologicalMap


def novelty(visits: np.ndarray, *, kind: Literal["root", "exponential"] = "root", scale: float = 1.0) -> np.ndarray:
    """How new a place is after `visits` entries, in (0, 1]: 1 / sqrt(1 + n), or exp(-n / scale)."""
    if kind not in ("root", "exponential"):
        raise ValueError(f"novelty is 'root' or 'exponential', not {kind!r}")
    return 1.0 / np.sqrt(1.0 + visits) if kind == "root" else np.exp(-np.asarray(visits) / scale)


class Candidates(NamedTuple):
    """Nodes to choose from, [n] each, and what speaks for them."""

    node: np.ndarray
    score: np.ndarray
    novelty: np.ndarray
    proximity: np.ndarray  # 0 where no goal is known
    cost: np.ndarray  # along the cheapest path, over the largest of them: in [0, 1]

    def best(self, count: int) -> Candidates:
        """The `count` of highest score, best first."""
        chosen = np.argsort(-self.score, kind="stable")[:count]
        return Candidates(*(column[chosen] for column in self))


def candidates(
    places: TopologicalMap,
    cost: dict[int, float],
    here: int,
    *,
    w_nov: float = 1.0,
    w_goal: float = 1.0,
    w_cost: float = 0.5,
    kind: Literal["root", "exponential"] = "root",
) -> Candidates:
    """Every node to which `cost` (of `TopologicalMap.costs`) knows a way, save `here`, with its score.

        S(v) = w_nov nov(v) + w_goal prox(v) - w_cost c(v)

    nov is `novelty`; prox(v) = 1 - |p_v - p_goal| / the largest such distance, 0 for all while no goal is on the map;
    c(v) is the cost over the largest one. What cannot be reached has an infinite cost and is no candidate.
    """
    node = np.array([n for n in cost if n != here], int)
    new = novelty(places.visits[node], kind=kind)
    price = np.array([cost[n] for n in node.tolist()], float)
    price = price / max(price.max(initial=0.0), 1e-9)
    near, goal = np.zeros(len(node)), places.goal_node()
    if goal is not None and len(node):
        away = np.linalg.norm(places.position[node] - places.position[goal], axis=1)
        near = 1.0 - away / max(away.max(), 1e-9)
    return Candidates(node, w_nov * new + w_goal * near - w_cost * price, new, near, price)


def choose(places: TopologicalMap, found: Candidates, value: np.ndarray) -> int:
    """The index of the candidate of highest `value` [n]; if all were entered and no goal is known, of the least visits.

    Raises:
        ValueError: no candidates. Whoever asks then walks at random for a while and looks again.
    """
    if not len(found.node):
        raise ValueError("no place can be reached from here: walk on and scan again")
    visits = places.visits[found.node]
    if visits.all() and places.goal_node() is None:
        value = np.where(visits == visits.min(), value, -np.inf)
    return int(np.argmax(value))
