"""The warehouses that automated guided vehicles drive in: shelves, tracks of movers, where to start and where to go."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from guerdon.tasks.agv_lidar import clearance

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in metres. Of a track: where it begins and where it ends."""

CELL = 0.25
"""Side of a cell of `driving_distance`, in metres."""


@dataclass(frozen=True)
class Layout:
    """A rectangle with walls around, axis-aligned shelves, and tracks on which movers go back and forth.

    A start, and the heading there, is drawn from its zone and range, or taken in their middle; likewise the goal.
    """

    start: Box
    goal: Box
    shelves: tuple[Box, ...] = ()
    tracks: tuple[Box, ...] = ()
    heading: tuple[float, float] = (-np.pi, np.pi)
    size: tuple[float, float] = (20.0, 20.0)

    @property
    def boxes(self) -> np.ndarray:
        """The shelves as an array [K, 4]."""
        return np.array(self.shelves, float).reshape(-1, 4)

    @property
    def paths(self) -> np.ndarray:
        """The tracks as an array [M, 2, 2]: begin and end, x and y."""
        return np.array(self.tracks, float).reshape(-1, 2, 2)

    def check(self, radius: float, mover: float) -> None:
        """Raises ValueError unless a vehicle of `radius` fits everywhere in both zones, and these lie apart.

        Nor may a mover, of radius `mover`, reach a vehicle in the start zone.
        """
        for name, box in [("start", self.start), ("goal", self.goal), *((f"shelf {b}", b) for b in self.shelves)]:
            if box[0] > box[2] or box[1] > box[3]:
                raise ValueError(f"{name} of the layout is (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1, not {box}")
        shelves = self.boxes + [-radius, -radius, radius, radius]
        for name, (x0, y0, x1, y1) in (("start", self.start), ("goal", self.goal)):
            inside = radius <= x0 and radius <= y0 and x1 <= self.size[0] - radius and y1 <= self.size[1] - radius
            meets = (shelves[:, 0] < x1) & (x0 < shelves[:, 2]) & (shelves[:, 1] < y1) & (y0 < shelves[:, 3])
            if not inside or meets.any():
                what = f"shelf {self.shelves[int(meets.argmax())]}" if meets.any() else "the outer wall"
                raise ValueError(f"the {name} zone {(x0, y0, x1, y1)} is in or within {radius} m of {what}; move it")
        a, b = self.start, self.goal
        if a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]:
            raise ValueError(f"the zones of start {a} and goal {b} overlap; move them apart")
        for track, (begin, end) in zip(self.tracks, self.paths, strict=True):
            way = begin + np.linspace(0.0, 1.0, 1000)[:, None] * (end - begin)
            if (np.hypot(*np.maximum(np.maximum(a[:2] - way, way - a[2:]), 0.0).T) < radius + mover).any():
                raise ValueError(f"a mover on the track {track} runs into the start zone {a}; move one of them")

    def driving_distance(self, goal: np.ndarray, radius: float) -> np.ndarray:
        """Metres from the middle of each cell [H / CELL, W / CELL] to `goal` [2] around the shelves.

        Shortest ways over the cells and their diagonals (Dijkstra), up to 8 % too long. What lies within `radius` of a
        shelf or wall is ten times as long to cross, so that the field is finite everywhere and falls away from them.
        """
        columns, rows = (max(1, round(side / CELL)) for side in self.size)
        middle = (np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1) + 0.5) * CELL
        cost = np.where(clearance(middle, self.boxes, self.size) < radius, 10.0, 1.0).tolist()
        field = np.full((rows, columns), np.inf)
        x, y = np.clip((goal / CELL).astype(int), 0, (columns - 1, rows - 1)).tolist()
        field[y, x], heap = 0.0, [(0.0, y, x)]
        moves = [(dy, dx, CELL * (dx * dx + dy * dy) ** 0.5) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy]
        while heap:
            far, y, x = heapq.heappop(heap)
            if far > field[y, x]:
                continue
            for dy, dx, length in moves:
                v, u = y + dy, x + dx
                if 0 <= v < rows and 0 <= u < columns:
                    longer = far + length * (cost[y][x] + cost[v][u]) / 2
                    if longer < field[v, u]:
                        field[v, u] = longer
                        heapq.heappush(heap, (longer, v, u))
        return field


def look_up(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`field` of `driving_distance` at points [N, 2], bilinear between the middles of cells."""
    x, y = np.clip(points.T / CELL - 0.5, 0.0, np.array(field.shape[::-1])[:, None] - 1.0)
    x0, y0 = np.minimum(x.astype(int), field.shape[1] - 2), np.minimum(y.astype(int), field.shape[0] - 2)
    right, up = x - x0, y - y0
    low = field[y0, x0] * (1 - right) + field[y0, x0 + 1] * right
    high = field[y0 + 1, x0] * (1 - right) + field[y0 + 1, x0 + 1] * right
    return low * (1 - up) + high * up


_SIMPLE = ((7.0, 2.0, 8.0, 7.0), (12.0, 8.0, 13.0, 15.0), (4.0, 14.0, 9.0, 15.0))
_AISLES = tuple((float(x), y0, x + 1.0, y1) for y0, y1 in ((2.5, 8.5), (11.0, 17.5)) for x in (3, 6, 9, 12, 15))
_DEAD_ENDS = ((4.0, 7.5, 6.0, 8.5), (10.0, 16.5, 12.0, 17.5))

_SIMPLE_ENDS = {"start": (7.0, 10.0, 8.5, 11.0), "goal": (9.5, 10.0, 10.0, 11.0), "heading": (-0.4, 0.4)}
_COMPLEX_ENDS = {"start": (0.8, 0.8, 2.2, 2.2), "goal": (4.0, 9.5, 6.0, 10.0), "heading": (0.0, np.pi / 2)}

LAYOUTS: dict[str, Layout] = {
    "S-static": Layout(shelves=_SIMPLE, **_SIMPLE_ENDS),
    "C-static": Layout(shelves=_AISLES + _DEAD_ENDS, **_COMPLEX_ENDS),
    "S-dynamic": Layout(
        shelves=_SIMPLE, tracks=((9.35, 8.0, 9.35, 13.2), (10.9, 4.0, 10.9, 17.0)), **_SIMPLE_ENDS
    ),
    "C-dynamic": Layout(
        shelves=_AISLES + _DEAD_ENDS,
        tracks=(
            (5.0, 1.2, 18.8, 1.2), (1.5, 8.9, 17.5, 8.9), (2.0, 10.6, 18.5, 10.6), (18.0, 3.0, 18.0, 17.0),
            (1.5, 4.5, 1.5, 18.5),
        ),
        **_COMPLEX_ENDS,
    ),
}  # fmt: skip
"""Simple (3 shelves, the goal ahead in the open, 1 to 3 m away) and complex (12 shelves: aisles two metres wide, two of
them dead ends, the goal behind one, 11 m away), each without and with movers (2 and 5)."""
