"""DeepSea: a diver sinks through an N x N grid and finds the treasure only by going right N times in a row."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from guerdon.tasks.array_task import ArrayTask


class DeepSea(ArrayTask):
    """DeepSea of Osband et al. (2019, https://arxiv.org/abs/1908.03568), as bsuite defines it, deterministic form.

    The diver begins in the upper left corner of an N x N grid and sinks one row a step, to the right or to the left
    (at the edges it sinks straight down). Each step to the right costs 0.01 / N; the one that leaves the grid in the
    lower right corner pays 1 besides, so that the best return is 0.99 and any other episode's is at most 0. Episodes
    last N steps and end by termination. Which action is "right" is drawn once for each cell, from `mapping`.

    Observation: ``{"obs": float32}``, one of N x N ("one-hot", flat) or (row, column) / N ("coordinates"). After the
    last step it is all zeros, or the row N. ``finished`` tells ``cells``, how many of the N (N + 1) / 2 cells that can
    be reached were ever visited in any game of this task.

    Args:
        num_envs: games side by side.
        size: N.
        mapping: seed of which action does what; None lets action 1 always go right.
        observation: "one-hot" or "coordinates".
    """

    def __init__(
        self,
        *,
        num_envs: int,
        size: int = 10,
        mapping: int | None = 0,
        observation: Literal["one-hot", "coordinates"] = "one-hot",
    ) -> None:
        if size < 1:
            raise ValueError(f"DeepSea: size must be at least 1, got {size}")
        if observation not in ("one-hot", "coordinates"):
            raise ValueError(f"DeepSea: observation is 'one-hot' or 'coordinates', not {observation!r}")
        self.size, self.observation = size, observation
        shown = spaces.Box(0.0, 1.0, (size * size if observation == "one-hot" else 2,), np.float32)
        super().__init__(
            num_envs=num_envs,
            observation_space=spaces.Dict({"obs": shown}),
            action_space=spaces.Discrete(2),
            steps=size,
        )
        if mapping is None:
            self.right = np.ones((size, size), np.int64)
        else:
            self.right = np.random.default_rng(mapping).integers(0, 2, (size, size))  # which action is "right" here
        self.visited = np.zeros((size, size), bool)
        self._column = np.zeros(num_envs, np.int64)

    def _begin(self, games: np.ndarray) -> None:
        self._column[games] = 0
        self.visited[0, 0] = True

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row, column = self.time[games], self._column[games]
        right = actions == self.right[row, column]
        last = row == self.size - 1
        reward = (last & right & (column == self.size - 1)) - 0.01 / self.size * right
        self._column[games] = column = np.clip(column + np.where(right, 1, -1), 0, self.size - 1)
        self.visited[row[~last] + 1, column[~last]] = True
        return reward, last

    def _show(self) -> dict[str, np.ndarray]:
        if self.observation == "coordinates":
            return {"obs": np.stack([self.time, self._column], 1).astype(np.float32) / np.float32(self.size)}
        shown = np.zeros((self.num_envs, self.size * self.size), np.float32)
        wet = np.flatnonzero(self.time < self.size)
        shown[wet, self.time[wet] * self.size + self._column[wet]] = 1.0
        return {"obs": shown}

    def _told(self, game: int) -> dict[str, Any]:
        return {"cells": self.visited.sum()}

    def picture(self, game: int = 0) -> np.ndarray:
        """The grid: visited cells light, the treasure's corner yellow, the diver red."""
        image = np.full((self.size, self.size, 3), (20, 40, 90), np.uint8)
        image[self.visited] = (90, 140, 200)
        image[-1, -1] = (240, 200, 60)
        image[min(self.time[game], self.size - 1), self._column[game]] = (220, 60, 50)
        return image.repeat(16, 0).repeat(16, 1)
