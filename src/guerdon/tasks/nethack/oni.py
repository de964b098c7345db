"""The NetHack tasks of Motif and ONI: reach the Oracle, take the stairs to level 3 or 4, or nothing at all.

Their actions are nle's task actions and cast, quaff, pray, pick up and pay. What keeps an agent from acting is handled
for it (`OniPrompts`), and a success pays 50 and ends the episode. In the continual variants it pays 50 once and only
death ends the episode.

Differences from the authors' tasks: ours are written from their description. Dungeon level is the depth that the bottom
line shows (``Dlvl``), so level 3 of the Gnomish Mines counts as level 3.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from nle.env.tasks import TASK_ACTIONS

from guerdon.tasks.nethack.core import (
    DEPTH,
    ESC,
    GETLIN,
    MORE,
    RUNNING,
    SPACE,
    SUCCESS,
    YES,
    YN,
    NetHackGame,
    X,
    Y,
    nethack,
)
from guerdon.tasks.nethack.score import NetHackScore

Command = nethack.Command
ONI_ACTIONS = (*TASK_ACTIONS, Command.CAST, Command.QUAFF, Command.PRAY, Command.PICKUP, Command.PAY)
STAIRS = b"You descend the stairs"
MORE_CONFIDENT = b"You feel more confident in "
OPEN_QUESTIONS = (b"eat", b"attack", b"direction?", b"pray", b"drink")
_WHICH_ITEM = re.compile(rb"What do you want to (?:eat|drink)\? \[([A-Za-z])")
_KILL = re.compile(rb"\bYou (?:kill|destroy) ")


class OniPrompts(NetHackGame):
    """Handles what stands between an agent and its next action; the base of ONI's tasks.

    - --More-- is passed; a "You descend the stairs" that was passed on the way is put back into the message shown.
    - Texts to type are escaped; questions are declined, except for eating, drinking, attacking, praying, directions.
    - "y" where NetHack asks what to eat or drink answers with the first letter it lists.
    - A skill that can be enhanced is enhanced at once, which takes no time; the message that said so stays shown.
    - Casting casts the first spell (slot a), and leaves the direction to the agent.

    The last observation of an episode is the game as it was then, not as it was left.
    """

    quits = False

    def __init__(
        self, *, actions: Sequence[Any] = ONI_ACTIONS, max_episode_steps: int = 5000, scout: bool = True, **options: Any
    ) -> None:
        super().__init__(actions=actions, max_episode_steps=max_episode_steps, scout=scout, **options)

    def begin(self) -> None:
        self.kills = 0
        self._stairs = self._skill = b""

    def measure(self, status: int) -> dict[str, float]:
        return {"kills": float(self.kills)}

    def act(self, action: int) -> bool:
        self._stairs = self._skill = b""
        keys = self.keys[action]
        if keys[0] == YES and self.internal[YN]:
            asked = _WHICH_ITEM.search(self.message())
            if asked:
                keys = asked[1]
        for key in keys:
            self.press(key)
        if keys[0] == Command.CAST and self.internal[MORE] and not self.message():  # the list of spells
            self.press(ord("a"))
        done = self.settle()
        if self._skill and not done:
            done = self._enhance()
        for kept in (self._skill, self._stairs):
            if kept and kept not in self.message():
                self._show(kept)
        return done

    def settle(self, exceptions: bool = True) -> bool:
        internal, done = self.internal, self.done()
        while not done:
            self._note()
            if internal[MORE]:
                self.press(SPACE)
            elif internal[GETLIN]:
                self.press(ESC)
            elif internal[YN] and not (exceptions and self.is_open(self.message())):
                self.press(ESC)
                return self.done()
            else:
                break
            done = self.done()
        return done

    def is_open(self, question: bytes) -> bool:
        return self.open_questions or any(words in question for words in OPEN_QUESTIONS)

    def _note(self) -> None:
        """Remembers what a message says that will be gone when the agent looks."""
        message = self.message()
        if not message:
            return
        self.kills += len(_KILL.findall(message))
        if STAIRS in message:
            self._stairs = message
        if MORE_CONFIDENT in message:
            self._skill = message

    def _enhance(self) -> bool:
        """Opens the list of skills and picks the first that can be advanced."""
        self.press(Command.ENHANCE)
        if self.internal[MORE] and not self.message():  # a list, not a --More--
            self.press(ord("a"))
        return self.settle()

    def _show(self, message: bytes) -> None:
        shown = self.buffers["message"]
        shown[...] = np.frombuffer(message.ljust(len(shown), b"\0"), np.uint8)


class OniScore(OniPrompts, NetHackScore):
    """nle's score reward with ONI's actions and prompts."""


class RewardFree(OniPrompts):
    """The score task whose reward is withheld: pays 0 always. The score is among the statistics."""

    def pay(self, status: int) -> float:
        return 0.0


class Goal(OniPrompts):
    """Pays `bonus` (50) when the goal is reached, else 0. Ends there, or goes on until death if `continual`."""

    def __init__(self, *, continual: bool = False, bonus: float = 50.0, **options: Any) -> None:
        if continual:
            options.setdefault("max_episode_steps", sys.maxsize)
        super().__init__(**options)
        self.continual, self.bonus = continual, bonus

    def begin(self) -> None:
        super().begin()
        self._reached, self._due = False, 0.0

    def reached(self) -> bool:
        """Whether the goal is reached now."""
        raise NotImplementedError

    def end(self) -> int:
        self._due = 0.0
        if not self._reached and self.reached():
            self._reached, self._due = True, self.bonus
            return RUNNING if self.continual else SUCCESS
        return RUNNING

    def pay(self, status: int) -> float:
        return self._due

    def measure(self, status: int) -> dict[str, float]:
        return super().measure(status) | {"success": float(self._reached)}


class StaircaseLevel(Goal):
    """Take the stairs down to dungeon level `level`: the message says so, and the level is right."""

    def __init__(self, *, level: int, **options: Any) -> None:
        super().__init__(**options)
        self.level = level

    def reached(self) -> bool:
        return self.now[DEPTH] == self.level and STAIRS in self.message()


class Oracle(Goal):
    """Stand beside the Oracle, or what looks like her.

    Args:
        sober: while not hallucinating. Without it the task can be won by eating the right corpse on any level.
    """

    def __init__(self, *, sober: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.sober = sober
        monsters = range(nethack.GLYPH_MON_OFF, nethack.GLYPH_PET_OFF)
        self._glyph = next(g for g in monsters if nethack.permonst(nethack.glyph_to_mon(g)).mname == "Oracle")
        self._bytes = np.int16(self._glyph).tobytes()

    def wanted(self) -> set[str]:
        return super().wanted() | {"glyphs"}

    def reached(self) -> bool:
        glyphs = self.buffers["glyphs"]
        if self._bytes not in glyphs.tobytes():  # much faster than comparing squares, and nearly always enough
            return False
        if self.sober and self.now[nethack.NLE_BL_CONDITION] & nethack.BL_MASK_HALLU:
            return False
        x, y = self.now[X], self.now[Y]
        return bool((glyphs[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] == self._glyph).any())
