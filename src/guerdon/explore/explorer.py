"""One walker on its map: where it is, where it is going, and what the map learns of both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from guerdon.explore.subgoals import Candidates, candidates
from guerdon.explore.topological_map import TopologicalMap, trace


class Explorer:
    """Carries a `TopologicalMap` along: entries are counted once, ways get trips and failures, sights become nodes.

    ``here`` is the node entered last, ``path`` the nodes still to be passed, the next one first.

    Args:
        places: the map.
        reach: metres within which the next node of the path is reached.
    """

    def __init__(self, places: TopologicalMap, *, reach: float = 1.0) -> None:
        self.places, self.reach = places, reach
        self.begin()

    def begin(self) -> None:
        """A new episode, somewhere; what is known stays known."""
        self.here: int | None = None
        self.path: list[int] = []
        self._from: int | None = None  # where the way to the next node began
        self._travelled = self._unscanned = 0.0  # metres since the last entry, and since the last scan
        self._unseen = 1.0  # metres since landmarks were looked for

    def settle(self, position: np.ndarray, ranges: np.ndarray) -> bool:
        """Makes `position` [2] a place, if none is near, and enters it; True if it was never entered before."""
        joined = self.places.merge()
        self.here = joined.get(self.here, self.here) if self.here is not None else None
        self.path = []
        return self._place(position, ranges)

    def walk(self, position: np.ndarray, moved: float, ranges: np.ndarray) -> bool:
        """The walker has `moved` so many metres and is at `position`; True if that entered a place for the first time.

        Where several places are near, the next one of the path counts as entered. Where none is, and something
        unknown lies open, far from all that is known (a door; looked for every ``places.spacing`` metres), this spot
        becomes a place.
        """
        self._travelled += moved
        self._unseen += moved
        self._unscanned += moved
        node = self.path[0] if self.arrived(position) else self.places.nearest(position)
        if node is None and self._unscanned >= self.places.spacing:
            self._unscanned = 0.0
            ends = self.places.open_ends(position, ranges, apart=2 * self.places.spacing)
            node = self.places.insert(position) if len(ends) else None
        return node is not None and self._enter(node, position, ranges)

    def look(
        self,
        position: np.ndarray,
        ranges: np.ndarray,
        *,
        goal: np.ndarray | None,
        descriptor: np.ndarray,
        offset: np.ndarray,
        confidence: np.ndarray,
    ) -> None:
        """Takes what is seen into the map: landmarks (once a metre) and the goal ([2] from here, None if not seen).

        Where something new is seen from no known place, this spot becomes one: ways then lead straight to what they
        lead to.
        """
        seen = (position, descriptor, offset, confidence)
        look = self._unseen >= 1.0
        new_goal = goal is not None and self.places.goal_node() is None
        if new_goal or (look and self.places.unknown(*seen)):
            self._place(position, ranges)
        if look:
            self._unseen = 0.0
            self.places.detect(self.here if self._at(position) else None, *seen)
        if new_goal and goal is not None and self.here is not None:
            node = self.places.insert(position + goal, goal=True)
            self.places.connect(self.here, node, math.hypot(*goal))

    def options(self, **weights: Any) -> tuple[Candidates, dict[int, int]]:
        """The places one could go to (see `candidates`), and who leads to whom on the cheapest ways."""
        assert self.here is not None
        cost, parent = self.places.costs(self.here)
        return candidates(self.places, cost, self.here, **weights), parent

    def go(self, target: int, parent: dict[int, int]) -> None:
        """Sets out for `target`, on the path that `parent` tells."""
        assert self.here is not None
        self.path, self._from = trace(parent, self.here, target), self.here

    def subgoal(self) -> np.ndarray | None:
        """[2], where to go now; None if there is nothing to go to, or it was given up since."""
        return None if not self.path or self.places.dead[self.path[0]] else self.places.position[self.path[0]]

    def arrived(self, position: np.ndarray) -> bool:
        """Whether the next node of the path is within reach."""
        spot = self.subgoal()
        return spot is not None and math.dist(spot, position) < self.reach

    def advance(self) -> bool:
        """The next node is reached: on to the one after it. True if that was the last."""
        self._from = self.path.pop(0)
        return not self.path

    def fail(self, position: np.ndarray, ranges: np.ndarray) -> bool:
        """The next node was not reached: counts the failure, gives up what cannot be reached, settles where it is."""
        if self.path and self._from is not None:
            self.places.fail(self._from, self.path[0])
        self.places.prune([] if self.here is None else [self.here])
        return self.settle(position, ranges)

    def _at(self, position: np.ndarray) -> bool:
        """Whether the node entered last is still here."""
        if self.here is None or self.places.dead[self.here]:
            return False
        return math.dist(self.places.position[self.here], position) < self.places.match_radius

    def _place(self, position: np.ndarray, ranges: np.ndarray) -> bool:
        node = self.places.nearest(position)
        return self._enter(self.places.insert(position) if node is None else node, position, ranges)

    def _enter(self, node: int, position: np.ndarray, ranges: np.ndarray) -> bool:
        if node == self.here:
            return False
        before = None if self.here is None or self.places.dead[self.here] else self.here
        first = self.places.enter(node, before, self._travelled)
        self.here, self._travelled = node, 0.0
        if first:
            self.places.scan(node, position, ranges)
        return first
