"""A map of places and of ways between them, drawn while one explores.

The topological map of TopoNav (Hossain et al., 2024, https://arxiv.org/abs/2402.04061). No code of the authors is
known: matching, ways, frontiers and pruning are reconstructed from the abstract and from summaries.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass
class Way:
    """An edge, the same in both directions."""

    cost: float
    """Metres, or whatever unit the caller counts in: the mean over trips; as it was estimated while there is none."""
    trips: int = 0
    successes: int = 0
    failures: int = 0

    @property
    def reliability(self) -> float:
        """Mean of the beta posterior of getting through, (1 + successes) / (2 + successes + failures)."""
        return (1 + self.successes) / (2 + self.successes + self.failures)


class TopologicalMap:
    """Places (nodes) with a position, perhaps a descriptor, and counts of entries; ways (edges) with cost and record.

    A node is a row of the arrays ``position`` [V, 2], ``descriptor`` [V, n] (zeros: nothing to be known by),
    ``visits`` [V], ``landmark``, ``frontier``, ``goal`` and ``dead`` [V]; its number stays its own. ``dropped``
    counts detections that were not numbers. An unreliable way (below `min_reliability`) is dead: no path takes it.

    Args:
        match_similarity: least cosine of two descriptors of one place (0.8; this and the next four are our choice).
        match_radius: metres within which it must lie as well, so that look-alikes far apart stay two places.
        spacing: metres between a new frontier node and any other node.
        min_confidence: detections of at most this score are left out.
        min_reliability: of a way that is alive.
        rays: directions of the ranges given to `scan`, radians, evenly spaced; None if there are none.
        sight: how far ranges go, metres.
    """

    _FIELDS = {
        "position": (float, (2,)), "visits": (int, ()), "sightings": (int, ()), "landmark": (bool, ()),
        "frontier": (bool, ()), "goal": (bool, ()), "dead": (bool, ()), "eye": (float, (2,)),
    }  # fmt: skip

    def __init__(
        self,
        *,
        descriptor_size: int = 8,
        match_similarity: float = 0.8,
        match_radius: float = 1.0,
        spacing: float = 2.0,
        min_confidence: float = 0.5,
        min_reliability: float = 0.2,
        rays: np.ndarray | None = None,
        sight: float = math.inf,
    ) -> None:
        if match_radius <= 0 or spacing <= 0:
            raise ValueError(f"match_radius and spacing are metres above 0, got {match_radius} and {spacing}")
        self.match_similarity, self.match_radius, self.spacing = match_similarity, match_radius, spacing
        self.min_confidence, self.min_reliability = min_confidence, min_reliability
        self.rays, self.sight = np.zeros(0) if rays is None else np.asarray(rays, float), sight
        self._all = self._FIELDS | {"descriptor": (float, (descriptor_size,)), "ranges": (float, (len(self.rays),))}
        self.ways: dict[int, dict[int, Way]] = {}
        self.dropped = 0
        self.size = 0
        self._room: dict[str, np.ndarray] = {k: np.zeros((64, *s), t) for k, (t, s) in self._all.items()}

    def __getattr__(self, name: str) -> np.ndarray:
        if name in TopologicalMap._FIELDS or name in ("descriptor", "ranges"):
            return self._room[name][: self.size]
        raise AttributeError(f"a map has no {name!r}")

    def __len__(self) -> int:
        """Places that are alive."""
        return len(self.ways)

    def alive(self) -> np.ndarray:
        """Numbers of the nodes that are alive, ascending."""
        return np.flatnonzero(~self.dead)

    def goal_node(self) -> int | None:
        """The node of the goal, if it is on the map."""
        known = self.alive()
        known = known[self.goal[known]]
        return int(known[0]) if len(known) else None

    def match(self, position: np.ndarray, descriptor: np.ndarray | None = None) -> int | None:
        """The nearest node that this is: alike AND within `match_radius`; without a descriptor, one that has none."""
        known = self.alive()
        away = _away(self.position[known], position)
        fits = away < self.match_radius
        if fits.any():
            fits &= self._alike(self.descriptor[known], np.zeros(1) if descriptor is None else descriptor)
        return int(known[np.where(fits, away, np.inf).argmin()]) if fits.any() else None

    def insert(self, position: np.ndarray, descriptor: np.ndarray | None = None, **flags: bool) -> int:
        """The node of this place, matched or new. A match moves the node to the mean of where it was seen.

        Args:
            position: [2], metres.
            descriptor: [n], not zero; None for a spot of free space.
            **flags: landmark, frontier, goal. Being a landmark or the goal is kept; a match is no frontier if it is
                known otherwise.

        Raises:
            ValueError: a position or descriptor that is not finite.
        """
        if not np.isfinite(position).all() or (descriptor is not None and not np.isfinite(descriptor).all()):
            raise ValueError(f"a place must be finite numbers, got {position} with descriptor {descriptor}")
        node = self.match(position, descriptor)
        if node is None:
            node = self._new()
            if descriptor is not None:
                self.descriptor[node] = descriptor / np.linalg.norm(descriptor)
            self.frontier[node] = flags.get("frontier", False)
        self.frontier[node] &= flags.get("frontier", False)
        self.landmark[node] |= flags.get("landmark", False)
        self.goal[node] |= flags.get("goal", False)
        self.sightings[node] += 1
        self.position[node] += (position - self.position[node]) / self.sightings[node]
        return node

    def detect(
        self, here: int | None, position: np.ndarray, descriptors: np.ndarray, offsets: np.ndarray, scores: np.ndarray
    ) -> list[int]:
        """Landmarks seen from `position` [2]; each is matched or becomes a node. Returns their numbers.

        Args:
            here: the node where the eye is, which gets a way to each; None if it is at no node.
            position: of the eye.
            descriptors: [K, n]. Detections that are not finite or of length 0 are dropped, and counted.
            offsets: [K, 2], from `position`.
            scores: [K].
        """
        found = []
        for k in self._usable(descriptors, offsets, scores, count=True):
            found.append(self.insert(position + offsets[k], descriptors[k], landmark=True))
            if here is not None:
                self.connect(here, found[-1], float(np.linalg.norm(offsets[k])))
        return found

    def unknown(self, position: np.ndarray, descriptors: np.ndarray, offsets: np.ndarray, scores: np.ndarray) -> bool:
        """Whether one of these detections, as in `detect`, is of a landmark that is not on the map."""
        usable = self._usable(descriptors, offsets, scores)
        return any(self.match(position + offsets[k], descriptors[k]) is None for k in usable)

    def open_ends(self, position: np.ndarray, ranges: np.ndarray, *, apart: float | None = None) -> np.ndarray:
        """[P, 2]: spots at 0.85 of the sight from `position`, where rays met nothing, that nothing here knows yet.

        A spot is known if it lies within `apart` of a node or of a spot before it, or within 0.75 of the range in
        its direction from where a node was scanned: the boundary of what is sensed runs between those.

        Args:
            position: [2], of the eye.
            ranges: [R], metres to what each ray met, `sight` if nothing.
            apart: metres, `spacing` by default.
        """
        apart = self.spacing if apart is None else apart
        clear = self.rays[np.asarray(ranges) >= self.sight]
        spots = position + 0.85 * self.sight * np.stack([np.cos(clear), np.sin(clear)], -1)
        known = self.alive()
        spots = spots[(_gaps(spots, self.position[known]) >= apart).all(1)]
        spots = spots[~self._sensed(spots, known[self.ranges[known].any(1)])]
        kept: list[int] = []
        gaps = _gaps(spots, spots)
        for k in range(len(spots)):  # of spots close together the first stays
            if (gaps[k, kept] >= apart).all():
                kept.append(k)
        return spots[kept]

    def scan(self, here: int, position: np.ndarray, ranges: np.ndarray) -> list[int]:
        """Remembers what was sensed at node `here`, from `position`; its `open_ends` become frontier nodes, returned.

        Of the nodes that lie within what is sensed now, a frontier node that was never entered is given up, and any
        other gets a way to here.
        """
        spots = self.open_ends(position, ranges)
        self.ranges[here], self.eye[here] = ranges, position
        known = self.alive()
        for node in known[self._sensed(self.position[known], np.array([here]))].tolist():
            if self.frontier[node] and not self.visits[node]:
                self.remove(node)
            else:
                self.connect(here, node, math.dist(self.position[node], position))
        made = [self.insert(spot, frontier=True) for spot in spots]
        for node in made:
            self.connect(here, node, 0.85 * self.sight)
        return made

    def nearest(self, position: np.ndarray) -> int | None:
        """The node within `match_radius` that is nearest."""
        near = np.flatnonzero((_away(self.position, position) < self.match_radius) & ~self.dead)
        return int(near[_away(self.position[near], position).argmin()]) if len(near) else None

    def enter(self, node: int, before: int | None = None, cost: float = 0.0) -> bool:
        """Counts an entry, to be told once each time the place is entered; True if it is the first.

        With `before`, the node entered before it, the way between gets a trip of this `cost` and a success.
        """
        first = self.visits[node] == 0
        self.visits[node] += 1
        self.frontier[node] = False
        if before is not None and before != node and not self.dead[before]:
            way = self.connect(before, node, cost)
            way.trips += 1
            way.successes += 1
            way.cost += (cost - way.cost) / way.trips
        return bool(first)

    def connect(self, a: int, b: int, cost: float) -> Way:
        """The way between two nodes; if there is none, one of this estimated cost that nobody has gone."""
        if a == b:
            return Way(0.0)
        if b not in self.ways[a]:
            self.ways[a][b] = self.ways[b][a] = Way(cost)
        return self.ways[a][b]

    def fail(self, a: int, b: int) -> None:
        """Counts a failed attempt to go from one node to another."""
        if b in self.ways.get(a, ()):
            self.ways[a][b].failures += 1

    def live(self, way: Way) -> bool:
        """Whether paths may take this way."""
        return way.reliability >= self.min_reliability

    def remove(self, node: int) -> None:
        """Gives a node and its ways up."""
        for other in self.ways.pop(node):
            del self.ways[other][node]
        self.dead[node] = True

    def prune(self, keep: Sequence[int] = ()) -> list[int]:
        """Gives up nodes, save those in `keep`, that no live way leads to; returns them."""
        lost = [n for n, ways in self.ways.items() if n not in keep and not any(map(self.live, ways.values()))]
        for node in lost:
            self.remove(node)
        return lost

    def merge(self) -> dict[int, int]:
        """Makes one of every two nodes that have come to match (drift, loops closed); {node given up: node kept}."""
        known = self.alive()
        place, descriptor = self.position[known], self.descriptor[known]
        near = _gaps(place, place) < self.match_radius
        joined: dict[int, int] = {}
        for i, j in np.argwhere(np.triu(near, 1)):
            kept, lost = int(known[i]), int(known[j])
            if lost not in joined and kept not in joined and self._alike(descriptor[i][None], descriptor[j])[0]:
                self._join(kept, lost)
                joined[lost] = kept
        return joined

    def costs(self, source: int) -> tuple[dict[int, float], dict[int, int]]:
        """Dijkstra over live ways by cost / reliability: the cost of every node in reach, and who led there."""
        cost, parent, open_nodes = {source: 0.0}, {}, [(0.0, source)]
        while open_nodes:
            so_far, node = heapq.heappop(open_nodes)
            if so_far > cost[node]:
                continue
            for other, way in self.ways[node].items():
                total = so_far + way.cost / way.reliability
                if total < cost.get(other, math.inf) and self.live(way):
                    cost[other], parent[other] = total, node
                    heapq.heappush(open_nodes, (total, other))
        return cost, parent

    def path(self, source: int, target: int) -> list[int]:
        """The nodes after `source` up to `target` on the cheapest way; empty if there is none, or if it is `source`."""
        return trace(self.costs(source)[1], source, target)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain lists and numbers that JSON takes."""
        nodes = {key: getattr(self, key).tolist() for key in self._all}
        ways = [[a, b, asdict(way)] for a, others in self.ways.items() for b, way in others.items() if a < b]
        return {"nodes": nodes, "ways": ways, "dropped": self.dropped}

    def load_dict(self, state: dict[str, Any]) -> None:
        """Becomes the map that `to_dict` told of."""
        size = len(state["nodes"]["dead"])
        shapes = {key: (max(64, size), *shape) for key, (_, shape) in self._all.items()}
        self._room = {key: np.zeros(shapes[key], kind) for key, (kind, _) in self._all.items()}
        self.size, self.dropped = size, state["dropped"]
        for key, rows in state["nodes"].items():
            getattr(self, key)[...] = np.reshape(np.array(rows, self._all[key][0]), (size, *self._all[key][1]))
        self.ways = {int(node): {} for node in self.alive()}
        for a, b, way in state["ways"]:
            self.ways[a][b] = self.ways[b][a] = Way(**way)

    def _new(self) -> int:
        if self.size == len(self._room["dead"]):
            self._room = {key: np.concatenate([rows, np.zeros_like(rows)]) for key, rows in self._room.items()}
        self.size += 1
        self.ways[self.size - 1] = {}
        return self.size - 1

    def _usable(
        self, descriptors: np.ndarray, offsets: np.ndarray, scores: np.ndarray, *, count: bool = False
    ) -> list[int]:
        """Which detections are good enough, and numbers; with `count` those that are no numbers go to ``dropped``."""
        wanted = ~(np.asarray(scores) <= self.min_confidence)  # NaN is not below
        numbers = np.isfinite(scores) & np.isfinite(offsets).all(1) & np.isfinite(descriptors).all(1)
        numbers &= np.asarray(descriptors).any(1)
        self.dropped += int((wanted & ~numbers).sum()) if count else 0
        return np.flatnonzero(wanted & numbers).tolist()

    def _alike(self, known: np.ndarray, descriptor: np.ndarray) -> np.ndarray:
        """[k] bool: whether descriptors `known` [k, n] are of the same thing; none is like none only."""
        length = float(np.linalg.norm(descriptor))
        if length == 0:
            return np.linalg.norm(known, axis=1) == 0
        return np.asarray(known @ descriptor) > self.match_similarity * length

    def _sensed(self, spots: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """[P] bool: spots [P, 2] seen into from one of `nodes`: nearer than 0.75 of both ranges beside them."""
        if not len(spots) or not len(nodes) or not len(self.rays):
            return np.zeros(len(spots), bool)
        way = spots[:, None] - self.eye[nodes]
        turn = np.arctan2(way[..., 1], way[..., 0]) - self.rays[0]
        left = np.floor(turn / (2 * np.pi) * len(self.rays)).astype(int) % len(self.rays)
        ranges = self.ranges[nodes]
        row = np.arange(len(nodes))
        clear = np.minimum(ranges[row, left], ranges[row, (left + 1) % len(self.rays)])
        return np.asarray((np.hypot(way[..., 0], way[..., 1]) < 0.75 * clear).any(1))

    def _join(self, kept: int, lost: int) -> None:
        weight = self.sightings[lost] / max(self.sightings[[kept, lost]].sum(), 1)
        for rows in (self.position, self.descriptor):
            rows[kept] += weight * (rows[lost] - rows[kept])
        self.descriptor[kept] /= max(float(np.linalg.norm(self.descriptor[kept])), 1e-9)
        for rows in (self.visits, self.sightings):
            rows[kept] += rows[lost]
        for rows in (self.landmark, self.goal):
            rows[kept] |= rows[lost]
        self.frontier[kept] &= self.frontier[lost]
        for other, way in self.ways[lost].items():
            if other == kept:
                continue
            if (mine := self.ways[kept].get(other)) is None:
                self.ways[kept][other] = self.ways[other][kept] = way
                continue
            trips = mine.trips + way.trips
            mine.cost = (mine.cost * mine.trips + way.cost * way.trips) / trips if trips else min(mine.cost, way.cost)
            mine.trips, mine.successes = trips, mine.successes + way.successes
            mine.failures += way.failures
        self.remove(lost)


def trace(parent: dict[int, int], source: int, target: int) -> list[int]:
    """The nodes after `source` up to `target`, by who led to whom; empty if nobody led there."""
    found = []
    while target != source:
        if target not in parent:
            return []
        found.append(target)
        target = parent[target]
    return found[::-1]


def _away(places: np.ndarray, position: np.ndarray) -> np.ndarray:
    """[n] distances of places [n, 2] from a position [2]."""
    return np.hypot(places[:, 0] - position[0], places[:, 1] - position[1])


def _gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, m] distances of places [n, 2] from places [m, 2]."""
    return np.hypot(a[:, None, 0] - b[:, 0], a[:, None, 1] - b[:, 1])
