"""A small discrete task made into a `TaskTable`: from the environment's own transitions, or explored if deterministic.

An explored task must show its whole state: what was found must foretell random play with other seeds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from tensordict import TensorDict

from guerdon import tasks
from guerdon.compare.task_table import TaskTable
from guerdon.parts.tabular_mdp import TabularMDP
from guerdon.tasks.array_task import ArrayEnv
from guerdon.tasks.gymnasium_game import GymnasiumGame
from guerdon.types import Spec

LIMIT = 2000
"""States: [S, A, S] of 2000 and 4 actions is 128 MB."""
PLAYED = 500
"""Random steps, with other seeds, that an explored table must foretell."""


class _Move(NamedTuple):
    """Where an action may lead: what is known of the state there, and how to go on from it."""

    action: int
    chance: float
    key: Hashable
    paid: float
    ended: bool
    handle: Any


def tabulate(task: str, gamma: float, *, limit: int = LIMIT, seed: int = 0, **options: Any) -> TaskTable | str:
    """The task with its `options` as a table, or, as a text, why it has none: too large, not deterministic, ..."""
    short = task.removeprefix("guerdon/").removesuffix("-v0")
    if short in tasks.ARRAYS:
        game: Any = GymnasiumGame(lambda: ArrayEnv(tasks.arrays(short, **options)))
    else:
        game = tasks.game(task, **options)
    try:
        if not isinstance(game.action_space, spaces.Discrete):
            return "its actions are not discrete"
        if not isinstance(game, GymnasiumGame):
            return "its world cannot be copied, to look where each action leads"
        if "action_mask" in game.observation_space.spaces:
            return "which actions there are changes from state to state"
        while isinstance(game.env, TimeLimit | OrderEnforcing):
            game.env = game.env.env
        own = getattr(game.env.unwrapped, "P", None)
        if isinstance(own, dict) and isinstance(game.env.observation_space, spaces.Discrete):
            return _from_environment(game, own, gamma, limit, seed)
        return _explored(game, gamma, limit, seed)
    finally:
        game.close()


def _from_environment(game: GymnasiumGame, own: dict, gamma: float, limit: int, seed: int) -> TaskTable | str:
    first = np.asarray(getattr(game.env.unwrapped, "initial_state_distrib", []), float)
    if not len(first):
        state, _ = game.env.reset(seed=seed)
        first = np.eye(len(own))[int(state)]

    def moves(state: int) -> Iterable[_Move]:
        for action, rows in own[state].items():
            for chance, there, paid, ended in rows:
                yield _Move(int(action), float(chance), int(there), float(paid), bool(ended), int(there))

    starts = [(int(s), float(first[s]), int(s)) for s in np.flatnonzero(first)]
    found = _reach(starts, moves, limit)
    if found is None:
        return f"it has more than {limit} states"
    shown = {key[0]: {"obs": np.asarray(key[0], game.env.observation_space.dtype)} for key in found.index}
    keys = {key: key for key in range(len(own))}
    return _table(game, found, gamma, shown, keys, "the environment's own table of transitions")


def _explored(game: GymnasiumGame, gamma: float, limit: int, seed: int) -> TaskTable | str:
    entries = game.observation_space.spaces.items()
    game.bind({key: np.zeros(s.shape or (), s.dtype) for key, s in entries})
    shown: dict[Hashable, dict[str, np.ndarray]] = {}

    def key(one: GymnasiumGame) -> bytes:
        seen = b"".join(view.tobytes() for view in one._views.values())
        shown.setdefault(seen, {name: view.copy() for name, view in one._views.items()})
        return seen

    starts = set()
    for other in range(3):
        game.reset(seed + other)
        starts.add(key(game))
    if len(starts) > 1:
        return "its first state is drawn"
    actions = range(int(game.action_space.start), int(game.action_space.start + game.action_space.n))  # type: ignore

    def moves(one: GymnasiumGame) -> Iterable[_Move]:
        for i, action in enumerate(actions):
            after = copy.deepcopy(one)
            paid, ended, cut = after.step(action)
            yield _Move(i, 1.0, key(after), paid, ended, None if cut else after)

    try:
        found = _reach([(starts.pop(), 1.0, game)], moves, limit)
    except (TypeError, NotImplementedError) as error:
        return f"its state cannot be copied ({error})"
    except _OutOfTimeError:
        return "its time limit ends episodes before everything is seen"
    if found is None:
        return f"it has more than {limit} states"
    known = {(found.keys[s], a): (found.keys[t], paid) for (s, a, t), paid in zip(found.steps, found.paid, strict=True)}
    rng = np.random.default_rng(seed)
    game.reset(seed + 1)
    for played in range(PLAYED):
        here, i = (key(game), False), int(rng.integers(len(actions)))
        paid, ended, cut = game.step(actions[i])
        if known.get((here, i)) != ((key(game), ended), paid):
            return "it is not deterministic, or does not show its whole state"
        if ended or cut:
            game.reset(seed + 2 + played)
    numbered = {each: i for i, each in enumerate(dict.fromkeys(key for key, _ in found.keys))}
    return _table(game, found, gamma, shown, numbered, "explored from the start: deterministic")


class _OutOfTimeError(Exception):
    pass


@dataclass
class _Found:
    index: dict[tuple[Hashable, bool], int]  # (key, whether terminal) -> state
    paths: list[str]
    start: dict[int, float]
    steps: list[tuple[int, int, int]]
    chance: list[float]
    paid: list[float]

    @property
    def keys(self) -> list[tuple[Hashable, bool]]:
        return list(self.index)


def _reach(
    starts: Sequence[tuple[Hashable, float, Any]], moves: Callable[[Any], Iterable[_Move]], limit: int
) -> _Found | None:
    """Everything that can be reached, breadth first; None if that is more than `limit` states."""
    found = _Found({}, [], {}, [], [], [])
    queue: list[tuple[int, Any]] = []
    for key, chance, handle in starts:
        found.start[len(found.index)] = chance
        queue.append((len(found.index), handle))
        found.index[key, False] = len(found.index)
        found.paths.append("a start")
    at = 0
    while at < len(queue):
        here, handle = queue[at]
        queue[at], at = (here, None), at + 1  # its copy is not needed any more
        if handle is None:
            raise _OutOfTimeError
        for move in moves(handle):
            there = found.index.setdefault((move.key, move.ended), len(found.index))
            if there == len(found.paths):
                if there >= limit:
                    return None
                way = found.paths[here]
                found.paths.append(f"{way}, {move.action}" if "then" in way else f"{way}, then {move.action}")
                if not move.ended:
                    queue.append((there, move.handle))
            found.steps.append((here, move.action, there))
            found.chance.append(move.chance)
            found.paid.append(move.paid)
    return found


def _table(
    game: GymnasiumGame, found: _Found, gamma: float, shown: dict, numbers: dict[Any, int], source: str
) -> TaskTable:
    count = int(game.action_space.n)  # type: ignore[attr-defined]
    states, keys = len(found.index), found.keys
    terminal = torch.tensor([ended for _, ended in keys])
    steps, chance = torch.tensor(found.steps), torch.tensor(found.chance, dtype=torch.float64)
    transition = torch.zeros(states, count, states, dtype=torch.float64)
    transition.index_put_(tuple(steps.T), chance, accumulate=True)
    ends = terminal.nonzero()[:, 0]
    transition[ends, :, ends] = 1.0
    start = torch.zeros(states, dtype=torch.float64)
    start[list(found.start)] = torch.tensor(list(found.start.values()), dtype=torch.float64)
    rows = [shown[key] for key, _ in keys]
    observations = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
    return TaskTable(
        TabularMDP(transition, start / start.sum(), gamma), steps, chance,
        torch.tensor(found.paid, dtype=torch.float64), terminal, torch.tensor([numbers[key] for key, _ in keys]),
        len(numbers), found.paths, source, Spec(game.observation_space, game.action_space),
        TensorDict(observations, [states]),
    )  # fmt: skip
