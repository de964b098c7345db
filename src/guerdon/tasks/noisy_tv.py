"""The noisy TV: a grid where one action changes the channel at random, a surprise that never wears off."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from guerdon.tasks.grid import Grid

SIZE, BITS, REMOTE = 15, 8, 4
"""Cells of a side, bits of the patch, the action that changes the channel."""
TV, SEEN_FROM = (3, 3), 2
"""Where the TV hangs, and from how many cells (in rows and in columns) it is seen and obeys."""


class NoisyTV(Grid):
    """A 15 x 15 grid without rewards: a TV near the start, and a far corridor whose pattern can be learnt.

    Beside ``place`` an observation holds ``patch``, 8 bits. Within 2 cells of the TV it is the TV's screen, which the
    fifth action, the remote, redraws at random. In the corridor, the last 11 cells of the bottom row behind a wall, it
    is a pattern of that cell's own, always the same. Elsewhere it is zero, and the remote does nothing.

    An idea of Burda et al. (2018, https://arxiv.org/abs/1808.04355); geometry by us. Places and patch are what an agent
    needs to tell a transition at the TV: `near_tv`, `corridor` [15, 15] and `where` translate.

    ``finished`` tells ``tv`` (share of the episode's steps that ended near the TV), ``remote`` (share that used the
    remote there), ``corridor`` (whether it was reached) and ``cells``.

    Args:
        num_envs: games side by side.
        noise: False holds the screen still (the same one always), as a control.
        steps: moves until truncation.
        observation: see `Grid`.
        pattern: seed of the corridor's pattern and of the still screen.
    """

    def __init__(
        self,
        *,
        num_envs: int,
        noise: bool = True,
        steps: int = 200,
        observation: Literal["one-hot", "coordinates"] = "one-hot",
        pattern: int = 0,
    ) -> None:
        walls = np.zeros((SIZE, SIZE), bool)
        walls[SIZE - 2, :11] = True
        super().__init__(
            num_envs=num_envs,
            walls=walls,
            start=(0, 0),
            steps=steps,
            observation=observation,
            actions=5,
            beside={"patch": spaces.Box(0.0, 1.0, (BITS,), np.float32)},
        )
        row, column = np.indices(walls.shape)
        self.near_tv = np.maximum(abs(row - TV[0]), abs(column - TV[1])) <= SEEN_FROM
        self.corridor = (row == SIZE - 1) & (column < 11)
        self.noise = noise
        fixed = np.random.default_rng(pattern).integers(0, 2, (12, BITS)).astype(np.float32)
        self._still, self._patterns = fixed[0], np.zeros((*walls.shape, BITS), np.float32)
        self._patterns[self.corridor] = fixed[1:]
        self._screens = np.zeros((num_envs, steps + 1, BITS), np.float32)
        self._channel, self._watched = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self._reached = np.zeros(num_envs, bool)

    def _begin(self, games: np.ndarray) -> None:
        super()._begin(games)
        for i in games.tolist():  # all chance of an episode is drawn here
            drawn = self.generators[i].integers(0, 2, (self.steps + 1, BITS))
            self._screens[i] = drawn if self.noise else self._still
        self._channel[games] = self._watched[games] = 0
        self._reached[games] = False

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nothing = super()._move(games, actions)
        row, column = self.cell[games].T
        near = self.near_tv[row, column]
        self._watched[games] += near
        self._channel[games] += near & (actions == REMOTE)
        self._reached[games] |= self.corridor[row, column]
        return nothing

    def _show(self) -> dict[str, np.ndarray]:
        row, column = self.cell.T
        screen = self._screens[np.arange(self.num_envs), self._channel]
        patch = np.where(self.near_tv[row, column][:, None], screen, self._patterns[row, column])
        return super()._show() | {"patch": patch}

    def _told(self, game: int) -> dict[str, Any]:
        length = max(1, int(self.time[game]))
        shares = {"tv": self._watched[game] / length, "remote": self._channel[game] / length}
        return super()._told(game) | shares | {"corridor": self._reached[game]}

    def _paint(self, image: np.ndarray, game: int) -> None:
        image[self.corridor & ~self.visited] = (250, 230, 170)
        image[TV] = (150, 90, 200)
