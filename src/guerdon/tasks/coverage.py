"""Worlds whose reward depends on all that was visited: cover a map, collect items, measure a field.

The reward of a step is what it adds to a set function of the episode's cells (`guerdon.parts.marginal_gain`), so that
an episode's return is F(episode) - F({s_0}); see "Submodular Reinforcement Learning" (Prajapat et al., 2023,
https://arxiv.org/abs/2307.13372). Sizes, horizons and maps are those of its release unless said otherwise; its gorilla
densities are data of others and not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces

from guerdon.parts.marginal_gain import Coverage, SetFunction
from guerdon.parts.set_functions import CovarianceTable, Information, item_collection
from guerdon.tasks.array_task import ArrayTask

Map = Literal["constant", "linear", "bimodal", "bumps", "gp"]


class SetFunctionTask(ArrayTask):
    """Cells, moves between them, and a set function that pays: a finite-horizon decision process with one more memory.

    Observation: ``{"cell": number, "time": moves made, "seen": float32}``, "seen" telling what F has of the episode so
    far: which cells were visited, or what the subclass says. An episode ends after `horizon` moves by termination, as
    the horizon belongs to the problem and "time" shows it. ``finished`` tells ``value``, F of the episode with its
    start, and as ``success`` the share of `total` that it reached.

    Args:
        num_envs: games side by side.
        function: F, on cells by number.
        total: F of all cells.
        moves: int [cells, actions], where an action leads.
        horizon: moves of an episode, H.
        start: the first cell; None draws one for each episode.
        slip: chance that a uniformly drawn action takes an action's place.
        shape: rows and columns, for pictures.
    """

    def __init__(
        self, *, num_envs: int, function: SetFunction, total: float, moves: np.ndarray, horizon: int,
        start: int | None = 0, slip: float = 0.0, shape: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        name, moves = type(self).__name__, np.asarray(moves)
        cells = len(moves)
        if horizon < 1:
            raise ValueError(f"{name}: horizon must be at least 1, got {horizon}")
        if moves.ndim != 2 or not moves.size or moves.min() < 0 or moves.max() >= cells or function.size != cells:
            raise ValueError(
                f"{name}: moves [cells, actions] lead to cells that F knows, got {moves.shape} and {function.size}"
            )
        if (start is not None and not 0 <= start < cells) or not 0 <= slip <= 1:
            raise ValueError(f"{name}: start is a cell below {cells} and slip a chance, got {start} and {slip}")
        self.function, self.total, self.moves, self.horizon = function, total, moves, horizon
        self.first, self.slip = start, slip
        self.shape = shape or (1, cells)
        self.cell = np.zeros(num_envs, np.int64)
        self.value = np.zeros(num_envs)
        self.visited = np.zeros((num_envs, cells), bool)
        self.sets = function.reset(num_envs)
        self._draws = np.zeros((num_envs, horizon, 2))
        shown = {
            "cell": spaces.Discrete(cells),
            "time": spaces.Discrete(horizon + 1),
            "seen": spaces.Box(0.0, 1.0, self._seen().shape[1:], np.float32),
        }
        super().__init__(
            num_envs=num_envs,
            observation_space=spaces.Dict(shown),
            action_space=spaces.Discrete(moves.shape[1]),
            steps=horizon,
        )

    def _seen(self) -> np.ndarray:
        """What F has of each episode so far, [num_envs, ...] between 0 and 1."""
        return self.visited

    def _begin(self, games: np.ndarray) -> None:
        cells = len(self.moves)
        if self.first is None or self.slip:
            for i in games.tolist():  # all chance of an episode is drawn here
                self.cell[i] = self.generators[i].integers(cells)
                self._draws[i] = self.generators[i].random((self.horizon, 2))
        if self.first is not None:
            self.cell[games] = self.first
        self.visited[games], self.value[games] = False, 0.0
        empty = self.function.reset(len(games))
        for key, value in self.sets.items():
            value[games] = empty[key]
        self._visit(games)

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        slips, which = self._draws[games, self.time[games]].T
        if self.slip:
            drawn = (which * self.moves.shape[1]).astype(np.int64)
            actions = np.where(slips < self.slip, drawn, actions)
        self.cell[games] = self.moves[self.cell[games], actions]
        return self._visit(games), self.time[games] + 1 == self.horizon

    def _visit(self, games: np.ndarray) -> np.ndarray:
        """Adds the cells where these games are to their sets; what that gained."""
        item = torch.from_numpy(self.cell[games])
        sets = {key: value[games] for key, value in self.sets.items()}
        gain = self.function.gain(sets, item).numpy()
        for key, value in self.function.add(sets, item).items():
            self.sets[key][games] = value
        self.visited[games, self.cell[games]] = True
        self.value[games] += gain
        return gain

    def _show(self) -> dict[str, np.ndarray]:
        return {"cell": self.cell.copy(), "time": self.time.copy(), "seen": self._seen().astype(np.float32)}

    def _told(self, game: int) -> dict[str, Any]:
        return {"value": self.value[game], "success": self.value[game] / self.total}

    def picture(self, game: int = 0) -> np.ndarray:
        """What one visit to each cell is worth in grey, visited cells in green, the agent in red; 12 pixels a cell."""
        cells = torch.arange(len(self.moves))
        worth = self.function.gain(self.function.reset(len(cells)), cells).numpy()
        grey = np.repeat((55 + 200 * worth / max(worth.max(), 1e-12))[:, None], 3, 1)
        grey[self.visited[game]] *= (0.5, 1.0, 0.5)
        grey[self.cell[game]] = (255, 40, 40)
        return np.kron(grey.reshape(*self.shape, 3), np.ones((12, 12, 1))).astype(np.uint8)


class CoverageGrid(SetFunctionTask):
    """A grid on which each visit covers the cells within a disc: F is the weight of all that is covered.

    Actions: stay, up, down, left, right. "seen" is which cells are covered, [rows * columns]. ``finished`` tells
    ``overlap`` too: the covered cells over the sum of all visits' discs, 1 where no disc touched another.

    Args:
        num_envs, horizon, start, slip: as in `SetFunctionTask`. The release plays 40 moves (80 on the constant map)
            from cell 34.
        rows, columns: of the grid.
        radius: of the disc, in cells between centres (1.5: the cell and its 8 neighbours; the release covers the cell
            and 3 of them).
        weights: "constant"; "linear", growing with the cell's number; "bimodal", 1 / (1 + exp(-x y)) on [-1, 1]^2;
            "bumps", 0.3 and two bumps of height 3; "gp", a smooth random map; or your own numbers, rows of columns.
        layout: seed of the random map.
    """

    def __init__(
        self, *, num_envs: int, rows: int = 30, columns: int = 30, horizon: int = 40, start: int | None = 0,
        radius: float = 1.5, weights: Map | Sequence[Sequence[float]] = "bumps", layout: int = 0, slip: float = 0.0,
    ) -> None:  # fmt: skip
        moves = grid_moves(rows, columns)
        worth = weight_map(weights, rows, columns, layout) if isinstance(weights, str) else np.asarray(weights, float)
        if worth.shape != (rows, columns):
            raise ValueError(f"CoverageGrid: weights must be {rows} rows of {columns}, got {list(worth.shape)}")
        self.weights = worth
        discs = Coverage.discs((rows, columns), radius=radius, weights=torch.from_numpy(worth))
        self._sizes = (discs.cells < len(moves)).sum(1).numpy()
        self._laid = np.zeros(num_envs)
        super().__init__(
            num_envs=num_envs, function=discs, total=float(worth.sum()), moves=moves, horizon=horizon, start=start,
            slip=slip, shape=(rows, columns),
        )  # fmt: skip

    def _seen(self) -> np.ndarray:
        return self.sets["covered"][:, :-1].numpy()

    def _begin(self, games: np.ndarray) -> None:
        self._laid[games] = 0
        super()._begin(games)

    def _visit(self, games: np.ndarray) -> np.ndarray:
        self._laid[games] += self._sizes[self.cell[games]]
        return super()._visit(games)

    def _told(self, game: int) -> dict[str, Any]:
        return super()._told(game) | {"overlap": self._seen()[game].sum() / self._laid[game]}


class CoverageItems(SetFunctionTask):
    """A grid with one thing on most cells, of six kinds: F counts what was collected, of each kind up to its demand.

    Steiner covering. Actions: stay, up, down, left, right. "seen" is the share of each kind's demand, [kinds].

    Args:
        num_envs, horizon, start, slip: as in `SetFunctionTask`.
        rows, columns: of the grid.
        demand: how many of each kind are wanted.
        supply: how many of each kind there are.
        layout: seed of where things lie.
    """

    def __init__(
        self, *, num_envs: int, rows: int = 7, columns: int = 15, horizon: int = 40, start: int | None = 0,
        demand: Sequence[int] = (3, 2, 3, 4, 6, 3), supply: Sequence[int] = (18, 14, 13, 16, 18, 14), layout: int = 0,
        slip: float = 0.0,
    ) -> None:  # fmt: skip
        moves = grid_moves(rows, columns)
        if len(demand) != len(supply) or sum(supply) > len(moves):
            raise ValueError(f"CoverageItems: {demand} and {supply} must be as long, and fit on {len(moves)} cells")
        kind = np.full(len(moves), -1)
        places = np.random.default_rng(layout).permutation(len(moves))[: sum(supply)]
        kind[places] = np.repeat(np.arange(len(supply)), supply)
        self.kind = kind  # [cells], -1 where nothing lies
        groups = torch.from_numpy(kind[:, None] == np.arange(len(supply)))
        super().__init__(
            num_envs=num_envs, function=item_collection(groups, torch.tensor(tuple(demand))),
            total=float(np.minimum(demand, supply).sum()), moves=moves, horizon=horizon, start=start, slip=slip,
            shape=(rows, columns),
        )  # fmt: skip

    def _seen(self) -> np.ndarray:
        return self.sets["mass"].clamp(max=1.0).numpy()


class CoverageField(SetFunctionTask):
    """A grid over an unknown smooth field, measured wherever one is: F is what the measurements tell of it, in nats.

    A Gaussian process with Matern kernel 5/2 of variance 1. Actions: stay, up, down, left, right. "seen" is which cells
    were visited. The release takes the entropy of the samples, see `Information`.

    Args:
        num_envs, horizon, start, slip: as in `SetFunctionTask`.
        rows, columns: of the grid.
        length: of the kernel, in cells (release: 1, with cells 0.1 apart).
        noise: variance of a measurement's error (our choice).
    """

    def __init__(
        self, *, num_envs: int, rows: int = 30, columns: int = 30, horizon: int = 40, start: int | None = 0,
        length: float = 10.0, noise: float = 0.1, slip: float = 0.0,
    ) -> None:  # fmt: skip
        moves = grid_moves(rows, columns)
        covariance = matern(rows, columns, length)
        function = Information(CovarianceTable(torch.from_numpy(covariance)), capacity=horizon + 1, noise=noise)
        total = 0.5 * np.linalg.slogdet(np.eye(len(moves)) + covariance / noise)[1]
        super().__init__(
            num_envs=num_envs, function=function, total=float(total), moves=moves, horizon=horizon, start=start,
            slip=slip, shape=(rows, columns),
        )  # fmt: skip


class CoverageBandit(SetFunctionTask):
    """Any cell in one move, whatever the cell one is at: the bandit process, in which greedy gains are 1 - 1/e of best.

    Each cell covers a random set of elements of random weights; action i leads to cell i. "seen" is which elements are
    covered.

    Args:
        num_envs, horizon, start, slip: as in `SetFunctionTask`.
        cells: and actions.
        elements: that can be covered.
        density: chance that a cell covers an element.
        layout: seed of sets and weights.
    """

    def __init__(
        self, *, num_envs: int, cells: int = 30, horizon: int = 5, start: int | None = 0, elements: int = 40,
        density: float = 0.15, layout: int = 0, slip: float = 0.0,
    ) -> None:  # fmt: skip
        if min(cells, elements) < 1 or not 0 < density <= 1:
            raise ValueError(
                f"CoverageBandit needs cells, elements and a chance, got {cells}, {elements} and density {density}"
            )
        rng = np.random.default_rng(layout)
        self.covers, self.weights = rng.random((cells, elements)) < density, rng.random(elements)
        function = Coverage.sets(torch.from_numpy(self.covers), torch.from_numpy(self.weights))
        moves = np.broadcast_to(np.arange(cells), (cells, cells))
        super().__init__(
            num_envs=num_envs, function=function, total=float(self.weights @ self.covers.any(0)), moves=moves,
            horizon=horizon, start=start, slip=slip,
        )  # fmt: skip

    def _seen(self) -> np.ndarray:
        return self.sets["covered"][:, :-1].numpy()


def grid_moves(rows: int, columns: int) -> np.ndarray:
    """Where stay, up, down, left and right lead from each cell of a grid, int [cells, 5]; borders hold one back."""
    if min(rows, columns) < 1:
        raise ValueError(f"a grid needs rows and columns, got {rows} and {columns}")
    places = np.stack(np.unravel_index(np.arange(rows * columns), (rows, columns)), -1)
    steps = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])
    there = np.clip(places[:, None] + steps, 0, (rows - 1, columns - 1))
    return there[..., 0] * columns + there[..., 1]


def weight_map(kind: str, rows: int, columns: int, layout: int = 0) -> np.ndarray:
    """The weight of each cell, float [rows, columns]; see `CoverageGrid`."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    if kind == "constant":
        return np.ones((rows, columns))
    if kind == "linear":
        return np.arange(rows * columns, dtype=float).reshape(rows, columns)
    if kind == "bimodal":
        return 1 / (1 + np.exp(-x * y))
    if kind == "bumps":  # on 8 x 8: width 1.5, centres (1, 6) and (6, 2)
        row, column = (np.arange(n) * 8 / n for n in (rows, columns))
        far = [(row[:, None] - a) ** 2 + (column - b) ** 2 for a, b in ((1, 6), (6, 2))]
        return 0.3 + 3 * np.exp(-np.stack(far) / (2 * 1.5**2)).sum(0)
    if kind == "gp":  # length 10 as in the release; lifted so that its least is 0
        root = np.linalg.cholesky(matern(rows, columns, 10.0) + 1e-8 * np.eye(rows * columns))
        sample = root @ np.random.default_rng(layout).standard_normal(rows * columns)
        return (sample - sample.min()).reshape(rows, columns)
    raise ValueError(f"weights are 'constant', 'linear', 'bimodal', 'bumps', 'gp' or numbers, not {kind!r}")


def matern(rows: int, columns: int, length: float) -> np.ndarray:
    """Matern kernel 5/2 of variance 1 between the cells of a grid, [cells, cells]; `length` in cells."""
    if not 0 < length < np.inf:
        raise ValueError(f"a kernel's length is greater than 0, got {length}")
    places = np.stack(np.unravel_index(np.arange(rows * columns), (rows, columns)), -1)
    a = np.sqrt(5) * np.linalg.norm(places[:, None] - places, axis=-1) / length
    return (1 + a + a**2 / 3) * np.exp(-a)
