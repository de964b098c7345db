"""Delivery: a car in a town of squares, whose pay is a sum of six features with known weights.

Each move pays one feature vector [gas, goal, sheep, coin, roadblock, mud]: gas on plain ground or mud on muddy ground,
a coin or a roadblock beside it where one lies (every time), and the goal or a sheep alone, which end the episode. A
move into a house or over the edge stays and pays the ground. True weights: -1, 50, -50, 1, -1, -2. The task of Knox et
al. (2022, https://arxiv.org/abs/2206.02231), on boards drawn from a seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from guerdon.tasks.grid import MOVES, Grid

FEATURES = ("gas", "goal", "sheep", "coin", "roadblock", "mud")
WEIGHTS = np.array([-1.0, 50.0, -50.0, 1.0, -1.0, -2.0])
GAS, GOAL, SHEEP, COIN, ROADBLOCK, MUD = range(6)


class Delivery(Grid):
    """`num_envs` cars on one board.

    Observation: "place" (see `Grid`), "state" (the square's number, row * size + column), and "features" [6] of the
    move that led here, 0 at the beginning. Episodes begin on any free square that does not end them.
    ``self.board`` [H, W, 6] holds what entering a square pays, in features. ``finished`` tells beside the frame's
    figures how often each feature was paid.

    Args:
        num_envs: cars side by side.
        size: squares of a side, at least 3.
        board: seed of where things are.
        steps: moves until truncation.

    Raises:
        ValueError: a board too small, and what `ArrayTask` raises.
    """

    def __init__(self, *, num_envs: int, size: int = 10, board: int = 0, steps: int = 200) -> None:
        if size < 3:
            raise ValueError(f"Delivery: size must be at least 3, got {size}")
        walls, self.board = _lay_out(np.random.default_rng(board), size)
        self.ends = (self.board[..., GOAL] + self.board[..., SHEEP]) > 0
        self.starts = np.argwhere(~walls & ~self.ends)
        super().__init__(
            num_envs=num_envs, walls=walls, start=tuple(self.starts[0]), steps=steps,
            beside={"state": spaces.Discrete(size**2), "features": spaces.Box(0.0, 1.0, (len(FEATURES),), np.float32)},
        )  # fmt: skip
        self.paid = np.zeros((num_envs, len(FEATURES)))
        self._last = np.zeros((num_envs, len(FEATURES)))

    def _begin(self, games: np.ndarray) -> None:
        for game in games:
            self.cell[game] = self.starts[self.generators[game].integers(len(self.starts))]
        self.visited[tuple(self.cell[games].T)] = True
        self.paid[games] = self._last[games] = 0

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = self.cell[games]
        super()._move(games, actions)
        row, column = self.cell[games].T
        features = self.board[row, column]
        stayed = (before == self.cell[games]).all(1)
        self._last[games] = np.where(stayed[:, None], features * _GROUND, features)
        self.paid[games] += self._last[games]
        return self._last[games] @ WEIGHTS, self.ends[row, column]

    def _show(self) -> dict[str, np.ndarray]:
        state = self.cell[:, 0] * self.walls.shape[1] + self.cell[:, 1]
        return super()._show() | {"state": state, "features": self._last.astype(np.float32)}

    def _told(self, game: int) -> dict[str, Any]:
        return super()._told(game) | dict(zip(FEATURES, self.paid[game], strict=True))

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The board as tables: transition [S, A, S], features f(s, a) [S, A, 6] and start [S].

        Squares are numbered as in "state". Goal, sheep and houses lead to themselves and pay nothing.
        """
        places = np.indices(self.walls.shape).reshape(2, -1).T
        count = len(places)
        transition, features = np.zeros((count, 4, count)), np.zeros((count, 4, len(FEATURES)))
        for state, place in enumerate(places):
            for action, move in enumerate(MOVES):
                to = np.clip(place + move, 0, self._bounds)
                stays = self.ends[tuple(place)] or self.walls[tuple(place)] or self.walls[tuple(to)]
                to = place if stays else to
                transition[state, action, to[0] * self.walls.shape[1] + to[1]] = 1.0
                if not (self.ends[tuple(place)] or self.walls[tuple(place)]):
                    paid = self.board[tuple(to)]
                    features[state, action] = paid * _GROUND if (to == place).all() else paid
        start = np.zeros(count)
        start[self.starts[:, 0] * self.walls.shape[1] + self.starts[:, 1]] = 1 / len(self.starts)
        return transition, features, start

    def _paint(self, image: np.ndarray, game: int) -> None:
        colours = {
            MUD: (196, 164, 132), COIN: (240, 205, 60), ROADBLOCK: (230, 130, 50), SHEEP: (255, 255, 255),
            GOAL: (56, 160, 90),
        }  # fmt: skip
        for feature, colour in colours.items():
            image[self.board[..., feature] > 0] = colour


_GROUND = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 1.0])  # what staying pays of a square


def _lay_out(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Houses, bool [H, W], and what entering each square pays, [H, W, 6]; the goal can be reached from all of them."""
    while True:
        kind = rng.permutation(size**2).reshape(size, size)
        muddy = rng.random((size, size)) < 0.2
        bounds = np.cumsum([1, *(np.array([0.04, 0.06, 0.1, 0.1]) * size**2).round().astype(int).clip(1)])
        goal, sheep, walls, coin, block = (
            (kind >= low) & (kind < high) for low, high in zip([0, *bounds[:-1]], bounds, strict=True)
        )
        board = np.stack([~muddy, goal, sheep, coin, block, muddy], -1).astype(float)
        board[goal | sheep, GAS] = board[goal | sheep, MUD] = 0
        reached = goal.copy()
        for _ in range(size**2):
            edged = np.pad(reached & (goal | ~sheep), 1)
            beside = edged[:-2, 1:-1] | edged[2:, 1:-1] | edged[1:-1, :-2] | edged[1:-1, 2:]
            reached |= beside & ~walls & ~sheep
        if (reached | walls | sheep).all():
            return walls, board
