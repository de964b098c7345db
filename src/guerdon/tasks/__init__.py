"""What is there to do? Tasks by name: many games at once (`make`), or Gymnasium environments ("guerdon/<name>-v0").

>>> task = make("NetHackScore", num_envs=64, workers=2)
>>> task.reset(seed=0)
>>> step = task.recv(0)

Nothing here imports nle, minihack or torch before it is needed.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from guerdon.tasks.minihack_levels import LEVELS

if TYPE_CHECKING:
    from guerdon.tasks.array_task import ArrayTask
    from guerdon.tasks.worker import Game
    from guerdon.types import VectorTask

_AGV_LAYOUTS = ("S-static", "C-static", "S-dynamic", "C-dynamic")
_COVERAGE = ("Grid", "Items", "Field", "Bandit")
_ONI, _SCORE = "guerdon.tasks.nethack.oni", "guerdon.tasks.nethack.score"

NETHACK: dict[str, tuple[str, str, dict[str, Any]]] = {
    "NetHackScore": (_SCORE, "NetHackScore", {}),
    "NetHackStaircase": (_SCORE, "NetHackStaircase", {}),
    "NetHackGold": (_SCORE, "NetHackGold", {}),
    "NetHackScout": (_SCORE, "NetHackScout", {}),
    "NetHackScoreOni": (_ONI, "OniScore", {}),
    "NetHackRewardFree": (_ONI, "RewardFree", {}),
} | {
    f"NetHack{name}{suffix}": (_ONI, kind, options | {"continual": bool(suffix)})
    for suffix in ("", "Continual")
    for name, kind, options in (
        ("Oracle", "Oracle", {}),
        ("OracleSober", "Oracle", {"sober": True}),
        ("StaircaseLvl3", "StaircaseLevel", {"level": 3}),
        ("StaircaseLvl4", "StaircaseLevel", {"level": 4}),
    )
}
"""NetHack's tasks: the module and class of the game, and its options."""


ARRAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"AGV-{layout}": ("guerdon.tasks.agv", "AGVWarehouse", {"layout": layout}) for layout in _AGV_LAYOUTS},
    **{f"Coverage{kind}": ("guerdon.tasks.coverage", f"Coverage{kind}", {}) for kind in _COVERAGE},
    "FourRooms": ("guerdon.tasks.grid", "FourRooms", {}),
    "NoisyTV": ("guerdon.tasks.noisy_tv", "NoisyTV", {}),
    "DeepSea": ("guerdon.tasks.deep_sea", "DeepSea", {}),
    "Gardens": ("guerdon.tasks.gardens", "Gardens", {}),
    "Delivery": ("guerdon.tasks.delivery", "Delivery", {}),
}
"""Tasks whose games step together in array operations (`ArrayTask`): module, class and options."""


def make(
    name: str,
    *,
    num_envs: int,
    workers: int = 0,
    groups: int = 2,
    captions: bool = True,
    canonicalise: Callable[[str], str] | None = None,
    seed: int | None = None,
    **options: Any,
) -> VectorTask:
    """Many games of one task.

    Args:
        name: one of `names`, a MiniHack id ("MiniHack-Room-5x5-v0"), or any Gymnasium id, also "module:Id-v0".
        num_envs: games in all.
        workers: processes that step them; 0 steps them here.
        groups: equal parts of the games that step on their own; 2 lets the policy think about one meanwhile.
        captions: whether messages are read.
        canonicalise: the caption that a raw one counts as.
        seed: resets at once, with this seed.
        **options: the game's own, such as observation_keys, crop, max_episode_steps.

    Raises:
        ValueError: no such task; the message names the nearest ones. ImportError: it needs an extra; it says which.
    """
    short = name.removeprefix("guerdon/").removesuffix("-v0")
    if short in ARRAYS:  # steps in array operations: no games, no workers, one group
        task: Any = arrays(short, **options)(num_envs=num_envs)
    elif name == "TextCorridor":  # likewise
        from guerdon.parts.caption_table import CaptionTable
        from guerdon.tasks.text_corridor import TextCorridorVector

        _takes(name, TextCorridorVector, options)
        task = TextCorridorVector(num_envs=num_envs, captions=CaptionTable(canonicalise), **options)
    else:
        from guerdon.tasks.vector import Workers

        build = functools.partial(game, name, **options)
        task = Workers(
            build, num_envs=num_envs, workers=workers, groups=groups, captions=captions, canonicalise=canonicalise
        )
    if seed is not None:
        task.reset(seed=seed)
    return task


def arrays(name: str, **options: Any) -> Callable[..., ArrayTask]:
    """What makes the task of `ARRAYS` once it is told `num_envs`."""
    module, kind, defaults = ARRAYS[name]
    made = getattr(importlib.import_module(module), kind)
    _takes(name, made, options)
    return functools.partial(made, **defaults | options)


def game(name: str, **options: Any) -> Game:
    """One game of a task, plain; see `guerdon.tasks.worker.Game`."""
    short = name.removeprefix("guerdon/").removesuffix("-v0") if name.startswith("guerdon/") else name
    if short in NETHACK:
        module, kind, defaults = NETHACK[short]
        made = getattr(_nethack(module), kind)
        _takes(name, made, options)
        return made(**defaults | options)
    if short in LEVELS:
        own = _nethack("guerdon.tasks.nethack.minihack_game").OwnLevel
        _takes(name, own, options, also=[field.name for field in dataclasses.fields(LEVELS[short])])
        return own(LEVELS[short], **options)
    if name.startswith("MiniHack-"):
        minihack = _nethack("guerdon.tasks.nethack.minihack_game")
        _known(name)
        return minihack.registered(name, **options)
    from guerdon.tasks.gymnasium_game import GymnasiumGame

    if name.startswith("NetHack"):
        _nethack("nle")
    module, _, identifier = name.rpartition(":")
    if module:
        importlib.import_module(module)
    elif name == "TextCorridor" or name.startswith("guerdon/TextCorridor"):
        importlib.import_module("guerdon.tasks.text_corridor")
        identifier = "guerdon/TextCorridor-v0"
    _known(identifier)
    return GymnasiumGame(functools.partial(gym.make, identifier, disable_env_checker=True, **options))


def names() -> list[str]:
    """The tasks there are, MiniHack's too if it is installed. Any Gymnasium id is a task as well."""
    found = [*NETHACK, *LEVELS, *ARRAYS, "TextCorridor"]
    try:
        _nethack("guerdon.tasks.nethack.minihack_game")
    except ImportError:
        return sorted(found)
    return sorted(found) + sorted(i for i in gym.registry if i.startswith("MiniHack-") and "Custom" not in i)


def _nethack(module: str) -> Any:
    """Imports what needs nle or minihack."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] not in ("nle", "minihack", "pkg_resources"):
            raise
        raise ImportError(f"{error.name} is missing: pip install 'guerdon[nethack]'") from error


def _takes(name: str, kind: type, options: dict[str, Any], also: Sequence[str] = ()) -> None:
    """Raises ValueError naming the nearest options if `kind` has no such one."""
    signatures = [inspect.signature(c.__init__) for c in kind.__mro__ if "__init__" in vars(c) and c is not object]
    named = {p.name for s in signatures for p in s.parameters.values() if p.kind is p.KEYWORD_ONLY} | set(also)
    for option in options:
        if option not in named:
            near = difflib.get_close_matches(option, named, n=3) or sorted(named)
            raise ValueError(f"{name} has no option {option!r}; there is {', '.join(near)}")


def _known(identifier: str) -> None:
    """Raises ValueError naming the nearest names if Gymnasium does not know this one."""
    if identifier in gym.registry:
        return
    near = difflib.get_close_matches(identifier, {*names(), *gym.registry}, n=4, cutoff=0.5)
    hint = f"; the nearest are {', '.join(near)}" if near else "; `guerdon tasks` lists them"
    raise ValueError(
        f"no task is called {identifier!r}{hint}. An environment of another package needs the module that registers "
        f"it, as in minigrid:MiniGrid-Empty-8x8-v0"
    )


def _environment(name: str, render_mode: str | None = None, **options: Any) -> gym.Env:
    """The Gymnasium environment behind a "guerdon/..." id."""
    if name in ARRAYS:
        from guerdon.tasks.array_task import ArrayEnv

        return ArrayEnv(arrays(name, **options), render_mode=render_mode)
    from guerdon.tasks.gymnasium_game import GameEnv

    return GameEnv(functools.partial(game, name, **options), render_mode=render_mode)


for _name in (*NETHACK, *LEVELS, *ARRAYS):
    if f"guerdon/{_name}-v0" not in gym.registry:
        gym.register(f"guerdon/{_name}-v0", "guerdon.tasks:_environment", kwargs={"name": _name})
if "guerdon/TextCorridor-v0" not in gym.registry:
    gym.register("guerdon/TextCorridor-v0", "guerdon.tasks.text_corridor:TextCorridor")
