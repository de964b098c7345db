"""NetHack's compiled core as a `Game`: its buffers are rows of the shared arrays, and a step copies nothing.

Equal to nle's own environments bit for bit, in observations, rewards and ends, for the same seeds and actions. Only
what the observation keys ask for is filled, since the map's text descriptions alone cost more than a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from nle import nethack as _nethack
from nle.env.base import NLE_SPACE_ITEMS, SKIP_EXCEPTIONS
from nle.env.tasks import TASK_ACTIONS

from guerdon.tasks.nethack import library
from guerdon.tasks.worker import cells

nethack: Any = _nethack  # most of it is made when it is imported, out of a type checker's sight

ABORTED, RUNNING, DEATH, SUCCESS = -1, 0, 1, 2
SPACE, ESC, QUIT, YES = ord(" "), 0x1B, 0x80 | ord("q"), ord("y")
X, Y, DEPTH, GOLD = nethack.NLE_BL_X, nethack.NLE_BL_Y, nethack.NLE_BL_DEPTH, nethack.NLE_BL_GOLD
SCORE, TIME, LEVEL = nethack.NLE_BL_SCORE, nethack.NLE_BL_TIME, nethack.NLE_BL_XP
GAME_OVER, IN_MOVELOOP = 0, 3  # in `program_state`
YN, GETLIN, MORE, ON_STAIRS_DOWN = 1, 2, 3, 4  # in `internal`
OBSERVATION_KEYS = ("glyphs", "blstats", "message")
SPACES: dict[str, spaces.Box] = dict(NLE_SPACE_ITEMS)


class NetHackGame:
    """One game of NetHack; the base of its tasks, which say when an episode ends (`end`) and what a step pays (`pay`).

    Args:
        actions: the keys behind the actions; an entry may also be a sequence of keys, pressed within one step.
        observation_keys: nle's, and for each map key K of 21 x 79 also "K_crop": `crop` squares around the agent, zero
            beyond the map.
        crop: height and width of a crop, both odd.
        character, options, wizard, spawn_monsters, max_episode_steps: as in nle.
        allow_all_yn_questions: leaves all questions to the agent, not only where to, what to eat, and the like.
        allow_all_modes: leaves menus, texts to type and --More-- to the agent as well.
        penalty_step, penalty_time, penalty_mode: nle's price of steps that take no game time, and of game time.
        scout: counts the squares seen, summed over levels, for the episode's statistics (about 2 us a step).
        hackdir: the folder of the ``nhdat`` to play with; None: nle's.
    """

    quits = True  # whether the last observation is the one after leaving the game, as it is with nle

    def __init__(
        self,
        *,
        actions: Sequence[int | Sequence[int]] = TASK_ACTIONS,
        observation_keys: Sequence[str] = OBSERVATION_KEYS,
        crop: tuple[int, int] = (9, 9),
        character: str = "mon-hum-neu-mal",
        options: Sequence[str] | None = None,
        wizard: bool = False,
        spawn_monsters: bool = True,
        max_episode_steps: int = 5000,
        allow_all_yn_questions: bool = False,
        allow_all_modes: bool = False,
        penalty_step: float = -0.01,
        penalty_time: float = -0.0,
        penalty_mode: str = "constant",
        scout: bool = False,
        hackdir: str | None = None,
    ) -> None:
        if penalty_mode not in ("constant", "exp", "square", "linear", "always"):
            raise ValueError(f"penalty_mode is constant, exp, square, linear or always, not {penalty_mode!r}")
        if crop[0] % 2 == 0 or crop[1] % 2 == 0:
            raise ValueError(f"a crop has the agent in its middle: its sides must be odd, got {crop}")
        self.actions, self.crop, self.max_episode_steps = tuple(actions), crop, max_episode_steps
        self.keys = [(int(a),) if np.isscalar(a) else tuple(map(int, a)) for a in actions]  # type: ignore[arg-type]
        self.open_questions, self.open_modes = allow_all_yn_questions, allow_all_modes
        self.penalty_step, self.penalty_time, self.penalty_mode = penalty_step, penalty_time, penalty_mode
        self.observation_space = spaces.Dict({key: space(key, crop) for key in observation_keys})
        self.action_space = spaces.Discrete(len(self.keys))
        # nle's own object makes the game's folder and its copy of the library; we then step what it wraps.
        self._nle = nethack.Nethack(
            observation_keys=(),
            playername=f"Agent-{character}",
            ttyrec=None,
            options=options,
            wizard=wizard,
            spawn_monsters=spawn_monsters,
            scoreprefix=None,
            **({} if hackdir is None else {"hackdir": hackdir}),
        )
        self.core = self._nle._pynethack
        self.press, self.done, self.alive = self.core.step, self.core.done, self.core.in_normal_game
        self._scouting, self._frozen = scout, 0
        self._shares = library.adopt(self._nle.dlpath)

    def wanted(self) -> set[str]:
        """The buffers that the task reads beyond what it shows."""
        return {"blstats", "message", "internal", "program_state"} | ({"glyphs"} if self._scouting else set())

    def bind(self, views: dict[str, np.ndarray]) -> None:
        """Makes the core write straight into `views`, and into buffers of our own for what is not shown."""
        crops = [key for key in views if key.endswith("_crop")]
        self.buffers = {key: view for key, view in views.items() if key not in crops}
        for key in sorted(self.wanted() | {key.removesuffix("_crop") for key in crops}):
            if key not in self.buffers:
                self.buffers[key] = np.zeros(**nethack.OBSERVATION_DESC[key])
        self.core.set_buffers(**self.buffers)
        self._crops = [(views[key], self.buffers[key.removesuffix("_crop")]) for key in crops]
        high, wide = self.crop[0] // 2, self.crop[1] // 2
        big = (21 + 2 * high, 79 + 2 * wide)
        self._padded = [np.zeros((*big, *source.shape[2:]), source.dtype) for _, source in self._crops]
        self.now, self.internal = cells(self.buffers["blstats"]), cells(self.buffers["internal"])
        self.before = cells(np.zeros_like(self.buffers["blstats"]))
        self._state, self._message = cells(self.buffers["program_state"]), cells(self.buffers["message"])

    def reset(self, seed: int) -> None:
        """Begins the game of this seed, used for both of NetHack's generators, without its own reseeding."""
        self.core.set_initial_seeds(seed, seed, False, None)
        self.core.reset()  # loads the library anew
        if self._shares:
            library.share(self._nle.dlpath)
        for _ in range(1000):
            if self._state[IN_MOVELOOP]:
                break
            self.press(SPACE)
        else:
            raise RuntimeError(f"NetHack (seed {seed}) asked 1000 questions before the first turn")
        self.steps, self.depth, self._said = 0, self.now[DEPTH], None
        self._seen: dict[tuple[int, int], int] = {}
        self.begin()
        self.observe()

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Presses the action's keys, answers what the agent is not to answer, and looks at what came of it."""
        self.before[:] = self.now
        done = self.act(action)
        self.steps += 1
        status = self.end() if self.steps < self.max_episode_steps else ABORTED
        if done:
            status = DEATH
        reward = self.pay(status)
        if self._scouting and not done:
            self.look()
        if status:
            self._close_episode(status, done)
        elif self.now[DEPTH] > self.depth:
            self.depth = self.now[DEPTH]
        self.observe()
        return reward, bool(status), False

    def message(self) -> bytes:
        """What the top line says, up to its first zero; after an end, what it said before the game was left."""
        if self._said is not None:
            return self._said
        raw = self._message.tobytes()
        return raw[: raw.index(0)] if raw[-1] == 0 else raw.partition(b"\0")[0]

    def stats(self) -> dict[str, float]:
        """The finished episode: deepest level, gold, experience level, score, turns, how it ended."""
        return self._stats

    def close(self) -> None:
        """Ends the game and removes its folder."""
        self._nle.close()

    # What a task says; the defaults are those of nle's NetHackScore.

    def begin(self) -> None:
        """Forgets the last episode."""

    def end(self) -> int:
        """RUNNING, or SUCCESS where the task is done."""
        return RUNNING

    def pay(self, status: int) -> float:
        """The step's reward, once it is known how the step ended."""
        return self.time_penalty()

    def measure(self, status: int) -> dict[str, float]:
        """The task's own statistics of an episode that ends with `status`."""
        return {}

    def act(self, action: int) -> bool:
        """Presses the keys of an action. Returns whether the game is over."""
        for key in self.keys[action]:
            self.press(key)
        if self.open_modes and self._state[GAME_OVER] != 1:
            return self.done()
        return self.settle()

    def settle(self, exceptions: bool = True) -> bool:
        """Passes --More--, escapes questions except those the agent may answer. Returns whether the game is over."""
        internal, done = self.internal, self.done()
        while not done:
            if internal[MORE]:
                self.press(SPACE)
            elif internal[GETLIN]:
                self.press(ESC)
            else:
                if internal[YN] and not (exceptions and self.is_open(self._message.tobytes())):
                    self.press(ESC)
                    done = self.done()
                break
            done = self.done()
        return done

    def is_open(self, question: bytes) -> bool:
        """Whether a question that takes one key is the agent's to answer."""
        return self.open_questions or any(words in question for words in SKIP_EXCEPTIONS)

    def time_penalty(self) -> float:
        """The penalty that nle puts on a step that took no game time, and of the time a step took."""
        passed = self.now[TIME] - self.before[TIME]
        self._frozen = 0 if passed else self._frozen + 1
        frozen, mode = self._frozen, self.penalty_mode
        if mode == "constant":
            penalty = self.penalty_step if frozen else 0
        elif mode == "always":
            penalty = self.penalty_step
        else:
            scale = {"exp": 2**frozen, "square": frozen**2, "linear": frozen}[mode] if frozen < 1000 else np.inf
            penalty = scale * self.penalty_step
        return penalty + passed * self.penalty_time

    def _close_episode(self, status: int, done: bool) -> None:
        bl = self.now if self.alive() else self.before  # the core clears its line when the game is over
        self._stats = {
            "depth": float(max(self.depth, bl[DEPTH])),
            "gold": float(bl[GOLD]),
            "experience_level": float(bl[LEVEL]),
            "score": float(bl[SCORE]),
            "turns": float(bl[TIME]),
            "died": float(status == DEATH),
            **({"scout": float(self.scout())} if self._scouting else {}),
            **self.measure(status),
        }
        if self.quits and not done:
            self._said = self.message()
            self._quit()

    def _quit(self) -> None:
        """Leaves a running game the way nle does: what is shown last is what the core shows after that."""
        if self.settle(exceptions=False):
            return
        self.press(QUIT)
        self.press(YES)
        self.settle(exceptions=False)

    def scout(self) -> int:
        """Squares seen so far, summed over the levels visited."""
        return sum(self._seen.values())

    def look(self) -> None:
        """Counts the squares seen on this level."""
        key = (self.now[nethack.NLE_BL_DNUM], self.now[nethack.NLE_BL_DLEVEL])
        self._seen[key] = int(np.count_nonzero(self.buffers["glyphs"] != nethack.GLYPH_CMAP_OFF))

    def observe(self) -> None:
        """Writes what is shown besides the core's own buffers."""
        if not self._crops:
            return
        x, y = self.now[X], self.now[Y]
        height, width = self.crop
        top, left = y - height // 2, x - width // 2
        if top >= 0 and left >= 0 and top + height <= 21 and left + width <= 79:
            for view, source in self._crops:
                view[...] = source[top : top + height, left : left + width]
        else:
            for (view, source), padded in zip(self._crops, self._padded, strict=True):
                padded[height // 2 : height // 2 + 21, width // 2 : width // 2 + 79] = source
                view[...] = padded[y : y + height, x : x + width]


def space(key: str, crop: tuple[int, int]) -> spaces.Box:
    """The space of an observation key of nle, or of one with "_crop" behind it."""
    if key in SPACES:
        return SPACES[key]
    whole = SPACES.get(key.removesuffix("_crop"))
    if whole is None or not key.endswith("_crop") or whole.shape[:2] != nethack.DUNGEON_SHAPE:
        known = [*SPACES, *(f"{k}_crop" for k, s in SPACES.items() if s.shape[:2] == nethack.DUNGEON_SHAPE)]
        raise ValueError(f"no observation is called {key!r}; there are {', '.join(known)}")
    low, high = whole.low.flat[0], whole.high.flat[0]
    return spaces.Box(low, high, (*crop, *whole.shape[2:]), whole.dtype.type)
