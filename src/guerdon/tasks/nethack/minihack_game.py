"""MiniHack's rules on the compiled core. Needs minihack; imported when the first game is made."""

from __future__ import annotations

import copy
import dataclasses
import functools
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

with warnings.catch_warnings():  # minihack imports pkg_resources, which says that it will go away
    warnings.simplefilter("ignore", UserWarning)
    from minihack import MiniHack
    from minihack.base import HACKDIR, LIB_DIR, MH_NETHACKOPTIONS, PATCH_SCRIPT
    from minihack.reward_manager import CoordEvent, MessageEvent

from guerdon.tasks.gymnasium_game import GymnasiumGame
from guerdon.tasks.nethack.core import SUCCESS, nethack
from guerdon.tasks.nethack.minihack import Action, Level, level_file
from guerdon.tasks.nethack.score import NetHackStaircase

_KEYS = {
    name: int(key)
    for group in (nethack.TextCharacters, nethack.Command, nethack.MiscAction, nethack.MiscDirection)
    for name, key in group.__members__.items()
} | {name: int(key) for name, key in nethack.CompassDirection.__members__.items()}


class OwnLevel(NetHackStaircase):
    """A `Level` as a game. The last observation of an episode is the level as it was then."""

    quits = False

    def __init__(self, level: Level, **changed: Any) -> None:
        ours = {field.name for field in dataclasses.fields(Level)}
        level = dataclasses.replace(level, **{k: v for k, v in changed.items() if k in ours})
        options = [*MH_NETHACKOPTIONS]
        options += [] if level.autopickup else ["!autopickup"]
        options += [] if level.pet else ["pettype:none"]
        super().__init__(
            actions=[_codes(action) for action in level.actions],
            options=options,
            hackdir=compiled(level_file(level.des)),
            **{name: getattr(level, name) for name in _SHARED},
            **{k: v for k, v in changed.items() if k not in ours},
        )
        self._won = None if level.success_message is None else level.success_message.encode("latin-1")

    def end(self) -> int:
        if self._won is not None and self._won in self.message():
            return SUCCESS
        return super().end()


_SHARED = (
    "max_episode_steps", "reward_win", "reward_lose", "penalty_step", "penalty_time", "character", "spawn_monsters",
    "allow_all_yn_questions", "observation_keys",
)  # fmt: skip


class RegisteredLevel(NetHackStaircase):
    """The game of a MiniHack environment that keeps to MiniHack's own rules of a step (see `registered`)."""

    def __init__(self, env: MiniHack, **options: Any) -> None:
        super().__init__(**options)
        self._env, self._manager = env, None
        self._blstats: Any = None
        self._short_blstats = env.remove_alignment_blstats and "blstats" in self.observation_space.spaces
        if self._short_blstats:
            self.observation_space.spaces["blstats"] = env.observation_space["blstats"]  # type: ignore[index]
        if env.reward_manager is not None:
            # Events and custom rewards ask the environment about itself: they get one whose game is ours.
            self._manager = copy.deepcopy(env.reward_manager)
            self._env = copy.copy(env)
            self._env.reward_manager = self._manager
            self._looks_back = bool(getattr(self._manager, "custom_reward_functions", True))

    def wanted(self) -> set[str]:
        if self._manager is None:
            return super().wanted()
        events = getattr(self._manager, "events", None)
        plain = not self._looks_back and events and all(isinstance(e, MessageEvent | CoordEvent) for e in events)
        return super().wanted() | (set() if plain else set(self._env._observation_keys))

    def bind(self, views: dict[str, np.ndarray]) -> None:
        shown = views.get("blstats")
        super().bind({k: v for k, v in views.items() if k != "blstats"} if self._short_blstats else views)
        if self._short_blstats:
            self._blstats = (shown, self.buffers["blstats"])
        if self._manager is not None:
            keys = self._env._observation_keys
            empty = np.zeros(0)
            self._all = tuple(self.buffers.get(key, empty) for key in keys)
            self._env.last_observation = self._all

    def begin(self) -> None:
        if self._manager is not None:
            self._manager.reset()

    def step(self, action: int) -> tuple[float, bool, bool]:
        if self._manager is not None:
            self._previous = tuple(a.copy() for a in self._all) if self._looks_back else self._all
            self._action = action
        return super().step(action)

    def end(self) -> int:
        if self._manager is not None and self._manager.check_episode_end_call(
            self._env, self._previous, self._action, self._all
        ):
            return SUCCESS
        return super().end()

    def pay(self, status: int) -> float:
        if self._manager is None:
            return super().pay(status)
        return self._manager.collect_reward() + self.time_penalty()

    def observe(self) -> None:
        super().observe()
        if self._blstats is not None:
            self._blstats[0][...] = self._blstats[1][:-1]


def registered(name: str, **options: Any) -> Any:
    """The game of a MiniHack id.

    An environment that changes how a step works is played through `GymnasiumGame`, in its own Python code: KeyRoom
    (presses several keys in one step), Sokoban and Boxoban (rewards of their own), MultiRoom (a new level file every
    episode), levels with pixels. It is slower, and the same.
    """
    crop = options.pop("crop", None)
    if crop is not None:
        options |= {"obs_crop_h": crop[0], "obs_crop_w": crop[1]}
    options["observation_keys"] = tuple(options.get("observation_keys", Level.observation_keys))
    known = tuple(sorted(options.items(), key=lambda item: item[0]))
    try:
        env, settings = _template(name, known)
    except TypeError:  # an option that cannot be remembered, such as a reward manager: build anew each time
        env, settings = _build(name, known)
    if settings is None:
        return GymnasiumGame(functools.partial(construct, name, **options), reseed=reseed, caption=spoken)
    return RegisteredLevel(env, **settings)


def construct(name: str, **options: Any) -> gym.Env:
    """The environment of an id without wrappers. `gym.make` would keep max_episode_steps for a wrapper of its own."""
    spec = gym.spec(name)
    return load_env_creator(spec.entry_point)(**{**spec.kwargs, **options})  # type: ignore[arg-type]


def reseed(env: gym.Env, seed: int) -> None:
    """Seeds an nle environment, which takes no heed of ``reset(seed=)``, as our own games are seeded."""
    env.unwrapped.seed(seed, seed, reseed=False)  # type: ignore[attr-defined]


def spoken(env: gym.Env) -> bytes:
    """The message an nle environment shows now, whether or not it is among its observations."""
    base: Any = env.unwrapped
    return base.last_observation[base._message_index].tobytes().partition(b"\0")[0]


def _build(name: str, options: tuple[tuple[str, Any], ...]) -> tuple[MiniHack, dict[str, Any] | None]:
    """An environment to take the rules from, and what they are to our game; None if its steps have rules of their own.

    The environment stays open: its folder holds the compiled level, which all games of this process then share.
    """
    with mock.patch.object(nethack, "Nethack", wraps=nethack.Nethack) as core:
        env = construct(name, **dict(options))
    assert isinstance(env, MiniHack)
    ours = all(getattr(type(env), method) is getattr(MiniHack, method) for method in _STEPPING)
    square = env.obs_crop_h == env.obs_crop_w  # MiniHack shifts other crops
    if not (ours and square) or any("pixel" in key for key in env._minihack_obs_keys) or env._level_seeds is not None:
        env.close()
        return env, None
    asked = core.call_args.kwargs
    return env, {
        "actions": env.actions,
        "observation_keys": env._minihack_obs_keys,
        "crop": (env.obs_crop_h, env.obs_crop_w),
        "max_episode_steps": env._max_episode_steps,
        "allow_all_yn_questions": env._allow_all_yn_questions,
        "allow_all_modes": env._allow_all_modes,
        "hackdir": env.nethack._vardir,
        **{name: asked[name] for name in ("options", "wizard", "spawn_monsters")},
        **{name: getattr(env, name) for name in _RULES},
    }


_template = functools.cache(_build)

_RULES = ("character", "penalty_step", "penalty_time", "penalty_mode", "reward_win", "reward_lose")

_STEPPING = (
    "step", "reset", "_reward_fn", "_is_episode_end", "_check_abort", "_get_end_status", "_perform_known_steps",
    "_get_observation", "_get_time_penalty", "_quit_game",
)  # fmt: skip
"""What an environment must have left as MiniHack wrote it to be stepped by our code."""


@functools.cache
def compiled(des: str) -> str:
    """A folder with the ``nhdat`` of a level (its text), compiled once a process and shared by all of its games."""
    folder = tempfile.TemporaryDirectory(prefix="guerdon-level")
    _folders.append(folder)  # removed when the process ends
    source = Path(folder.name) / "level.des"
    source.write_text(des)
    script = [PATCH_SCRIPT, folder.name, HACKDIR, LIB_DIR, str(source)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    if done.returncode or "rror" in done.stderr + done.stdout or not (Path(folder.name) / "nhdat").exists():
        raise ValueError(f"this level does not compile:\n{done.stdout}{done.stderr}\n{des}")
    return folder.name


_folders: list[tempfile.TemporaryDirectory] = []


def _codes(action: Action) -> int | tuple[int, ...]:
    """The key or keys that an action of a `Level` presses."""
    if isinstance(action, tuple):
        return tuple(_code(key) for key in action)
    return _code(action)


def _code(key: str | int) -> int:
    if isinstance(key, int):
        return key
    if key in _KEYS:
        return _KEYS[key]
    if len(key) == 1:
        return ord(key)
    raise ValueError(f"no key is called {key!r}; names are nle's: {', '.join(sorted(_KEYS))}")
