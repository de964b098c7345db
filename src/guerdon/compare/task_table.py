"""A small discrete task as an exact tabular MDP, with every transition as a step that a reward can score.

Where the environment has its own table (Gymnasium's toy texts: ``P``), it is read; else the task is explored from its
start, if it is deterministic and shows its whole state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from tensordict import TensorDict
from torch import Tensor

from guerdon import tasks
from guerdon.compare.transition_pay import Steps, score_steps
from guerdon.parts.tabular_mdp import TabularMDP
from guerdon.tasks.array_task import ArrayEnv
from guerdon.tasks.gymnasium_game import GymnasiumGame
from guerdon.types import Reward, Spec

LIMIT = 2000
"""States: [S, A, S] of 2000 and 4 actions is 128 MB."""
PLAYED = 500
"""Random steps, with other seeds, that an explored table must foretell."""
_EVERY = 2**22  # transitions, possible or not, that a reward is asked about at most


@dataclass(frozen=True)
class TaskTable:
    """All of a task's S states that can be reached, and its E possible transitions. Terminal states lead to themselves.

    A terminal state is a state of its own, even where it shows what another one shows.
    """

    mdp: TabularMDP
    steps: Tensor  # [E, 3]: state, action, next state
    chance: Tensor  # [E], of the next state given state and action
    extrinsic: Tensor  # [E], what the task pays
    terminal: Tensor  # bool [S]
    number: Tensor  # [S], what the environment calls the state, and tables of rewards are indexed by
    numbers: int  # how many there are
    paths: list[str]  # [S], how to get there
    source: str
    spec: Spec | None = None
    shown: TensorDict | None = None  # [S] observations

    def pay(self, reward: Reward | Tensor) -> Tensor:
        """[E] float64: what a reward, or a table by the environment's numbers, pays for each transition.

        Raises:
            ValueError: the table has another shape or is not finite; the reward cannot score single steps, or leaves
                some unscored.
        """
        s, a, t = self.steps.T
        if isinstance(reward, Tensor):
            return self._numbered(reward)[self.number[s], a, self.number[t]].double()
        return score_steps(reward, self._rows(s, a, t, self.extrinsic), self.spec)

    def mean(self, pay: Tensor) -> Tensor:
        """E[R(s, a, S')], [..., S, A], of payments [..., E]; 0 in terminal states."""
        mean = torch.zeros(*pay.shape[:-1], *self.mdp.shape, dtype=torch.float64)
        flat = (self.steps[:, 0] * self.mdp.shape[1] + self.steps[:, 1]).expand(pay.shape)
        mean.flatten(-2).scatter_add_(-1, flat, pay * self.chance)
        return mean

    def whole(self, reward: Reward | Tensor) -> Tensor:
        """R [S, A, S] also on transitions that cannot happen, where the task itself pays 0; terminal states pay 0."""
        states, actions = self.mdp.shape
        if states * actions * states > _EVERY:
            raise ValueError(
                f"{states} states make {states * actions * states} transitions, possible or not: too many to score "
                "them all; use --metric starc, which looks at the possible ones only"
            )
        s, a, t = (x.flatten() for x in torch.meshgrid(*map(torch.arange, (states, actions, states)), indexing="ij"))
        if isinstance(reward, Tensor):
            paid = self._numbered(reward)[self.number[s], a, self.number[t]].double()
        else:
            extrinsic = torch.zeros(states, actions, states, dtype=torch.float64)
            extrinsic[tuple(self.steps.T)] = self.extrinsic
            paid = score_steps(reward, self._rows(s, a, t, extrinsic.flatten()), self.spec)
        return torch.where(self.terminal[:, None, None], 0.0, paid.view(states, actions, states))

    def _rows(self, s: Tensor, a: Tensor, t: Tensor, extrinsic: Tensor) -> Steps:
        if self.shown is None or self.spec is None:
            raise ValueError("a table of transitions has no observations to score: give rewards as .npy tables")
        first = int(getattr(self.spec.action_space, "start", 0))
        return Steps(self.shown, s, a + first, t, extrinsic, self.terminal[t])

    def _numbered(self, reward: Tensor) -> Tensor:
        if not bool(reward.isfinite().all()):
            raise ValueError(f"the table of rewards is NaN or infinite at {int((~reward.isfinite()).sum())} places")
        shape = (self.numbers, self.mdp.shape[1])
        if tuple(reward.shape) == shape:
            reward = reward[..., None].expand(*shape, self.numbers)
        if tuple(reward.shape) != (*shape, self.numbers):
            wanted = f"[{shape[0]}, {shape[1]}, {shape[0]}] or [{shape[0]}, {shape[1]}]"
            raise ValueError(f"a table of rewards for this task must have shape {wanted}, got {list(reward.shape)}")
        return reward


class _Move(NamedTuple):
    """Where an action may lead: what is known of the state there, and how to go on from it."""

    action: int
    chance: float
    key: Hashable
    paid: float
    ended: bool
    handle: Any


def read_table(path: Path, gamma: float | None = None) -> TaskTable:
    """An MDP from an .npz file of ``transition`` [S, A, S], and perhaps ``start`` [S] and ``gamma``.

    Raises:
        ValueError: there is no transition, or `TabularMDP` refuses it.
    """
    with np.load(path) as file:
        if "transition" not in file:
            raise ValueError(f"{path} holds {', '.join(file) or 'nothing'}: it needs `transition`, [S, A, S]")
        start = torch.from_numpy(file["start"]) if "start" in file else None
        own = float(file["gamma"]) if "gamma" in file else None
        discount = gamma if gamma is not None else own if own is not None else 0.99
        mdp = TabularMDP(torch.from_numpy(file["transition"]), start, discount)
    steps = mdp.transition.nonzero()
    states = mdp.shape[0]
    return TaskTable(
        mdp, steps, mdp.transition[tuple(steps.T)], torch.zeros(len(steps)).double(), torch.zeros(states).bool(),
        torch.arange(states), states, [f"state {i}" for i in range(states)], f"the table {path.name}",
    )  # fmt: skip


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
