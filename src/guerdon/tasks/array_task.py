"""The frame of tasks whose games step together in array operations: bookkeeping here, the world in subclasses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from guerdon.types import Captions, Step


class ArrayTask:
    """A `VectorTask` of one group: `num_envs` games side by side, stepped in this process.

    A subclass calls this constructor and writes `_begin`, `_move` and `_show`, and `_told` and `picture` if it has
    something to tell. It draws the chance of game i only from ``self.generators[i]``, so that game i of a reset with
    seed s is the single game (`ArrayEnv`) of seed s + i, whatever its neighbours do. ``self.time`` [num_envs] counts
    the moves of the episodes; inside `_move` it is the number of moves made before this one.

    Autoreset is NEXT_STEP: the step after an end ignores its action, shows the next episode's first observation, pays 0
    and is not `valid`. ``finished`` tells ``return``, ``length``, ``success`` (the last step terminated the
    episode and paid more than 0) and what `_told` adds or replaces.

    Args:
        num_envs: games side by side.
        observation_space: of one game.
        action_space: of one game, Discrete or Box.
        steps: moves until an episode is truncated.

    Raises:
        ValueError: no games or no steps; actions of another shape, not a number, or outside a Discrete space. Actions
            outside a Box are clipped. RuntimeError: `send` or `recv` before `reset`.
    """

    groups = 1
    captions: Captions | None = None

    def __init__(
        self, *, num_envs: int, observation_space: spaces.Dict, action_space: spaces.Discrete | spaces.Box, steps: int
    ) -> None:
        if num_envs < 1 or steps < 1:
            raise ValueError(f"{type(self).__name__}: num_envs and steps must be at least 1, got {num_envs}, {steps}")
        self.num_envs, self.steps = num_envs, steps
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.generators: list[np.random.Generator] = []
        self.time = np.zeros(num_envs, np.int64)
        self.over = np.zeros(num_envs, bool)
        self._paid = np.zeros(num_envs)
        self._won = np.zeros(num_envs, bool)
        self._life = 0  # how often the run was resumed
        self._step: Step | None = None

    def _begin(self, games: np.ndarray) -> None:
        """Begins an episode in these games (int [n])."""
        raise NotImplementedError

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Acts in these games (int [n]) by `actions` [n, ...]; rewards [n], and bool [n], which episodes terminated."""
        raise NotImplementedError

    def _show(self) -> dict[str, np.ndarray]:
        """What all games show now, [num_envs, ...] each; arrays that `_begin` and `_move` do not write into."""
        raise NotImplementedError

    def _told(self, game: int) -> dict[str, Any]:
        """Numbers about the game's episode so far."""
        return {}

    def picture(self, game: int = 0) -> np.ndarray:
        """One game as it is now, uint8 [H, W, 3]."""
        raise NotImplementedError(f"{type(self).__name__} draws no pictures")

    def reset(self, *, seed: int) -> None:
        """New games, game i from seed + i; `recv` then gives the first observation."""
        life = (self._life,) if self._life else ()
        self.start([np.random.default_rng([seed + i, *life]) for i in range(self.num_envs)])

    def start(self, generators: list[np.random.Generator]) -> None:
        """New games, each drawing from its generator."""
        self.generators = generators
        self._new(np.arange(self.num_envs))
        nothing = np.zeros(self.num_envs, bool)
        self._step = self._shown(np.zeros(self.num_envs, np.float32), nothing, nothing, ~nothing, [])

    def send(self, group: int, actions: np.ndarray) -> None:
        """Moves every game; those that had ended begin anew instead."""
        self.recv(group)
        actions, again = self._checked(np.asarray(actions)), self.over.copy()
        if again.any():
            self._new(np.flatnonzero(again))
        going = np.flatnonzero(~again)
        reward, terminated = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        if len(going):
            reward[going], terminated[going] = self._move(going, actions[going])
        self.time[going] += 1
        self._paid += reward
        truncated = ~again & ~terminated & (self.time >= self.steps)
        self.over = terminated | truncated
        self._won = terminated & (reward > 0)
        finished = [self.episode(i) for i in np.flatnonzero(self.over).tolist()]
        self._step = self._shown(reward, terminated, truncated, ~again, finished)

    def recv(self, group: int) -> Step:
        """What the last `reset` or `send` led to."""
        del group
        if self._step is None:
            raise RuntimeError(f"{type(self).__name__}: call reset(seed=...) first")
        return self._step

    def close(self) -> None:
        """Nothing to let go of."""

    def state_dict(self) -> dict[str, Any]:
        """How often the run was resumed."""
        return {"life": self._life, "captions": None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next `reset` begins games that the saved run has not played."""
        self._life, self._step = state["life"] + 1, None

    def _new(self, games: np.ndarray) -> None:
        self.time[games] = self._paid[games] = 0
        self.over[games] = self._won[games] = False
        self._begin(games)

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        space, name = self.single_action_space, type(self).__name__
        shape = (self.num_envs, *(space.shape or ()))
        if actions.shape != shape:
            raise ValueError(f"{name}: actions must have shape {list(shape)}, got {list(actions.shape)}")
        if isinstance(space, spaces.Box):
            if not np.isfinite(actions).all():
                raise ValueError(f"{name}: an action is not finite: {actions[~np.isfinite(actions).all(-1)][0]}")
            return np.clip(actions, space.low, space.high)
        inside = (actions >= space.start) & (actions < space.start + space.n) & (actions % 1 == 0)
        if not inside.all():
            raise ValueError(
                f"{name}: actions are {space.start} to {space.start + space.n - 1}, got {actions[~inside][0]}"
            )
        return actions.astype(np.int64)

    def episode(self, game: int) -> dict[str, float]:
        """Return, length, success and the task's own figures of the game's episode so far."""
        common = {"return": self._paid[game], "length": self.time[game], "success": self._won[game]}
        return {name: float(x) for name, x in (common | self._told(game)).items()}

    def _shown(
        self, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, valid: np.ndarray, finished: list
    ) -> Step:
        return Step(self._show(), reward, terminated, truncated, valid, None, None, finished)


class ArrayEnv(gym.Env[dict[str, Any], Any]):
    """One game of an `ArrayTask` as a Gymnasium environment; the last info of an episode holds what ``finished`` tells.

    Args:
        make: the task's class, or a partial of it; called with ``num_envs=1``.
        render_mode: "rgb_array" draws the task's `picture`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, make: Callable[..., ArrayTask], render_mode: str | None = None) -> None:
        self.task, self.render_mode = make(num_envs=1), render_mode
        self.observation_space = self.task.single_observation_space
        self.action_space = self.task.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """A new episode; without `seed` the random stream goes on."""
        super().reset(seed=seed, options=options)
        self.task.start([self.np_random])
        return self._observation(), {}

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict]:
        """One move. Raises gymnasium.error.ResetNeeded after the end of an episode."""
        if self.task.over[0]:
            raise gym.error.ResetNeeded(f"{type(self.task).__name__}: the episode is over; call reset()")
        self.task.send(0, np.asarray(action)[None])
        step = self.task.recv(0)
        told = self.task.episode(0) if self.task.over[0] else {}
        return self._observation(), float(step.reward[0]), bool(step.terminated[0]), bool(step.truncated[0]), told

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The picture as uint8 [H, W, 3], or None without a render mode."""
        return self.task.picture(0) if self.render_mode == "rgb_array" else None

    def _observation(self) -> dict[str, Any]:
        return {key: array[0].copy() for key, array in self.task.recv(0).obs.items()}
