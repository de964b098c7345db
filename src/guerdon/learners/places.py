"""The high level of TopoNav: a DQN over options whose actions are the places that a walker can reach on its map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.explore import Candidates, Explorer, TopologicalMap, choose
from guerdon.learners.double_dqn import DoubleDQN, mlp

FEATURES = 12
"""Of a candidate: the walker's place, its own, the way between [2 each]; frontier, landmark, goal; nov, prox, c."""


class Choice(NamedTuple):
    """What was chosen from what: features [K, F] of the candidates, which of them, and whether it is the known goal."""

    features: Tensor
    action: int
    for_goal: bool


@dataclass
class Undertaking:
    """An option under way, as the high level learns from it."""

    choice: Choice | None = None
    reward: float = 0.0  # sum of gamma^i r_i so far
    discount: float = 1.0  # gamma^tau

    def earn(self, reward: float, gamma: float) -> None:
        """One more step."""
        self.reward += self.discount * reward
        self.discount *= gamma


class PlaceChooser:
    """Epsilon-greedy on ``Q(s, v) + kappa S(v)`` over the places in reach, S alone before anything was learnt.

    If the goal is on the map and can be reached, it is chosen. S is that of `candidates`; Q is learnt from finished
    options with semi-Markov targets (`double_q_target`).

    Args:
        learner: of Q.
        w_nov: weight of novelty in S.
        w_goal: of nearness to the goal.
        w_cost: of the way's cost.
        novelty: its kind.
        keep: candidates looked at, best by S.
    """

    def __init__(
        self,
        *,
        learner: DoubleDQN,
        w_nov: float = 1.0,
        w_goal: float = 1.0,
        w_cost: float = 0.5,
        novelty: Literal["root", "exponential"] = "root",
        keep: int = 32,
    ) -> None:
        self.learner, self.novelty, self.keep = learner, novelty, keep
        self.w_nov, self.w_goal, self.w_cost = w_nov, w_goal, w_cost

    def build(self, extent: float, *, generator: torch.Generator, rng: np.random.Generator) -> PlaceChooser:
        """Makes the network; positions are divided by `extent`, metres."""
        self.extent, self.rng = extent, rng
        self.learner.build(lambda: nn.Sequential(mlp(FEATURES, 1), nn.Flatten(-2)), generator=generator)
        return self

    def choose(
        self, explorer: Explorer, at: np.ndarray, *, epsilon: float, kappa: float, last: Undertaking | None
    ) -> Choice | None:
        """Sends the explorer to a place, on the cheapest path; None if there is none in reach.

        `last`, the option that ended here, is learnt from: what could follow it is known now.
        """
        found, parent = explorer.options(
            w_nov=self.w_nov, w_goal=self.w_goal, w_cost=self.w_cost, kind=self.novelty
        )  # fmt: skip
        goal = explorer.places.goal_node()
        kept, for_goal = found.best(self.keep), goal is not None and goal in found.node
        if for_goal and goal not in kept.node:
            rest = found.best(self.keep - 1)
            kept = Candidates(*(np.append(a, b[found.node == goal]) for a, b in zip(rest, found, strict=True)))
        features, mask = self.features(explorer.places, at, kept)
        if last is not None:
            self.learn(last, features, mask)
        if not len(kept.node):
            return None
        if for_goal:
            action = int(np.flatnonzero(kept.node == goal)[0])
        elif self.rng.random() < epsilon and self.learner.replay.size >= self.learner.start:
            action = int(self.rng.integers(len(kept.node)))
        else:
            value = kappa * kept.score
            if self.learner.descent.done:
                value = value + self.learner.values(features[None])[0, : len(value)].numpy()
            action = choose(explorer.places, kept, value)
        explorer.go(int(kept.node[action]), parent)
        return Choice(features, action, for_goal)

    def learn(self, last: Undertaking, features: Tensor | None = None, mask: Tensor | None = None) -> None:
        """Keeps a finished option; without what could follow it, it was the last of a terminated episode."""
        if last.choice is None:
            return
        features = torch.zeros_like(last.choice.features) if features is None else features
        mask = torch.zeros(self.keep, dtype=torch.bool) if mask is None else mask
        self.learner.store(
            last.choice.features[None], torch.tensor([last.choice.action]), torch.tensor([last.reward]), features[None],
            torch.tensor([last.discount if mask.any() else 0.0]), mask[None],
        )  # fmt: skip

    def features(self, places: TopologicalMap, at: np.ndarray, kept: Candidates) -> tuple[Tensor, Tensor]:
        """[K, F] of the candidates for a walker that stands `at` [2], and [K] which rows are candidates."""
        node, n = kept.node, len(kept.node)
        there = places.position[node] / self.extent
        here = np.broadcast_to(at / self.extent, there.shape)
        flags = [places.frontier[node], places.landmark[node], places.goal[node]]
        columns = [here, there, there - here, np.stack([*flags, kept.novelty, kept.proximity, kept.cost], 1)]
        rows = np.zeros((self.keep, FEATURES), np.float32)
        rows[:n] = np.concatenate(columns, 1)
        return torch.from_numpy(rows), torch.arange(self.keep) < n
