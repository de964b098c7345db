"""Grid worlds to explore: the frame they share, and four rooms with one far goal."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from guerdon.tasks.array_task import ArrayTask

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
"""Row and column of the actions 0 to 3: up, right, down, left."""


class Grid(ArrayTask):
    """A walker among walls. A move into a wall or over the edge stays where it is.

    A subclass may add actions beyond the four moves, keys beside ``place`` and rewards. ``place`` is float32, either
    "one-hot" [H + W], an indicator of the row and one of the column, or "coordinates" [2], row / H and column / W.
    ``self.visited`` [H, W] holds the cells that any game of this task ever stood on; ``finished`` tells their number as
    ``cells``.

    Args:
        num_envs: games side by side.
        walls: bool [H, W].
        start: row and column where every episode begins.
        steps: moves until truncation.
        observation: of the place.
        actions: how many there are.
        beside: spaces of further observation keys.
    """

    def __init__(
        self,
        *,
        num_envs: int,
        walls: np.ndarray,
        start: tuple[int, int],
        steps: int,
        observation: Literal["one-hot", "coordinates"] = "one-hot",
        actions: int = 4,
        beside: dict[str, spaces.Space] | None = None,
    ) -> None:
        if observation not in ("one-hot", "coordinates"):
            raise ValueError(f"{type(self).__name__}: observation is 'one-hot' or 'coordinates', not {observation!r}")
        self.walls, self.begin, self.observation = walls, np.array(start), observation
        place = spaces.Box(0.0, 1.0, (sum(walls.shape) if observation == "one-hot" else 2,), np.float32)
        super().__init__(
            num_envs=num_envs,
            observation_space=spaces.Dict({"place": place} | (beside or {})),
            action_space=spaces.Discrete(actions),
            steps=steps,
        )
        self.visited = np.zeros(walls.shape, bool)
        self.cell = np.zeros((num_envs, 2), np.int64)
        self._bounds = np.array(walls.shape) - 1

    def where(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns [...] of observed places [..., n]."""
        rows, columns = self.walls.shape
        if self.observation == "one-hot":
            return place[..., :rows].argmax(-1), place[..., rows:].argmax(-1)
        found = np.rint(place * [rows, columns]).astype(int)
        return found[..., 0], found[..., 1]

    def _begin(self, games: np.ndarray) -> None:
        self.cell[games] = self.begin
        self.visited[tuple(self.begin)] = True

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        walks = actions < len(MOVES)
        to = self.cell[games]
        to[walks] = np.clip(to[walks] + MOVES[actions[walks]], 0, self._bounds)
        free = ~self.walls[to[:, 0], to[:, 1]]
        self.cell[games[free]] = to[free]
        row, column = self.cell[games].T
        self.visited[row, column] = True
        return np.zeros(len(games)), np.zeros(len(games), bool)

    def _show(self) -> dict[str, np.ndarray]:
        if self.observation == "coordinates":
            return {"place": (self.cell / self.walls.shape).astype(np.float32)}
        place, every = np.zeros((self.num_envs, sum(self.walls.shape)), np.float32), np.arange(self.num_envs)
        place[every, self.cell[:, 0]] = 1.0
        place[every, self.walls.shape[0] + self.cell[:, 1]] = 1.0
        return {"place": place}

    def _told(self, game: int) -> dict[str, Any]:
        return {"cells": self.visited.sum()}

    def _paint(self, image: np.ndarray, game: int) -> None:
        """Colours cells of the picture, uint8 [H, W, 3], before the walker is drawn."""

    def picture(self, game: int = 0) -> np.ndarray:
        """Walls dark, visited cells blue, the walker red; 12 pixels a cell."""
        image = np.full((*self.walls.shape, 3), 245, np.uint8)
        image[self.visited], image[self.walls] = (190, 210, 240), (60, 60, 66)
        self._paint(image, game)
        image[tuple(self.cell[game])] = (220, 60, 50)
        return image.repeat(12, 0).repeat(12, 1)


class FourRooms(Grid):
    """Four rooms, a door in each wall between two of them, and a goal in the far corner that alone pays, 1, and ends.

    The rooms of Sutton, Precup and Singh (1999, https://doi.org/10.1016/S0004-3702(99)00052-1), larger and with doors
    in the middle of each wall: in 40 x 40 cells the goal is 78 moves away, where undirected search hardly gets.

    Args:
        num_envs: games side by side.
        size: cells of a side, at least 5.
        steps: moves until truncation.
        observation: see `Grid`.
    """

    def __init__(
        self,
        *,
        num_envs: int,
        size: int = 40,
        steps: int = 400,
        observation: Literal["one-hot", "coordinates"] = "one-hot",
    ) -> None:
        if size < 5:
            raise ValueError(f"FourRooms: size must be at least 5, got {size}")
        half, walls = size // 2, np.zeros((size, size), bool)
        walls[half] = walls[:, half] = True
        for door in (half // 2, (half + size) // 2):
            walls[half, door] = walls[door, half] = False
        super().__init__(num_envs=num_envs, walls=walls, start=(0, 0), steps=steps, observation=observation)

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        super()._move(games, actions)
        there = (self.cell[games] == self._bounds).all(1)
        return there.astype(float), there

    def _paint(self, image: np.ndarray, game: int) -> None:
        image[-1, -1] = (56, 160, 90)
