"""MiniHack games on nle's compiled core: any registered MiniHack environment, and levels of our own.

A level of our own is a `Level` in `guerdon.tasks.minihack_levels.LEVELS`, beside its ``.des`` file::

    LEVELS = {
        "KeyCorridor": Level(
            des="key_corridor.des",          # in the folder of minihack_levels, or the text of a level itself
            actions=MOVES + ("PICKUP", "OPEN", "KICK", ("APPLY", "k")),
            max_episode_steps=200,
            success_message="You unlock",    # None: standing on the down stairs
        ),
    }

and is then the task "KeyCorridor", the Gymnasium id "guerdon/KeyCorridor-v0" and
``tasks.make("KeyCorridor", num_envs=...)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOVES = ("N", "E", "S", "W", "NE", "SE", "SW", "NW")
"""MiniHack's eight single steps, in nle's order."""

Action = str | int | tuple[str | int, ...]
"""A key by its nle name ("N", "PICKUP", "ESC", "MORE"), by the character it types ("a"), by its code, or a sequence of
such keys pressed within one step. nle's names win over characters: "N" is north, "n" the letter."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One MiniHack level as a task: its level file and the rules around it. Defaults are MiniHack's for navigation.

    The reward of a step is `reward_win` on success, `reward_lose` on death or at the time limit, else 0; plus
    `penalty_step` if the step took no game time, plus `penalty_time` a game turn. An episode ends on success, on
    death, on the down stairs, and after `max_episode_steps`.
    """

    des: str  # the text of a level, or a file's name, ending in ".des": in minihack_levels, in minihack, or a path
    actions: tuple[Action, ...] = MOVES
    max_episode_steps: int = 100
    reward_win: float = 1.0
    reward_lose: float = 0.0
    penalty_step: float = -0.01
    penalty_time: float = 0.0
    success_message: str | None = None  # succeed when a message holds this text; None: on the down stairs
    character: str = "rog-hum-cha-mal"
    autopickup: bool = True
    pet: bool = False
    spawn_monsters: bool = False
    allow_all_yn_questions: bool = False  # True: yes/no and which-item questions stay open for the agent to answer
    observation_keys: tuple[str, ...] = ("chars_crop", "colors_crop", "blstats")


def level_game(level: Level, **changed: Any) -> Any:
    """One game of a level of our own; `changed` are fields of `Level` or options of `NetHackGame` (crop, ...)."""
    from guerdon.tasks.nethack.minihack_game import OwnLevel

    return OwnLevel(level, **changed)


def registered_game(name: str, **options: Any) -> Any:
    """One game of a registered MiniHack environment, by its id; `options` are those of its constructor, and `crop`."""
    from guerdon.tasks.nethack.minihack_game import registered

    return registered(name, **options)


def level_file(des: str) -> str:
    """The text of a level: `des` itself, or the file it names."""
    if not des.endswith(".des"):
        return des
    ours = Path(__file__).parent.parent / "minihack_levels" / des
    if ours.exists():
        return ours.read_text()
    if Path(des).exists():
        return Path(des).read_text()
    from minihack.base import PATH_DAT_DIR

    theirs = Path(PATH_DAT_DIR) / des
    if not theirs.exists():
        raise FileNotFoundError(f"no level file {des}: not in {ours.parent}, not in {PATH_DAT_DIR}, not here")
    return theirs.read_text()
