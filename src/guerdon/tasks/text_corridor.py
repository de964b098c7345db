"""A chain of rooms whose captions tell the way: small enough for a table, yet every part of a caption reward has work.

In each room one of four actions opens the next door ("you open door 7"), one walks back a room, one bumps into
something and one digs. Digging in the first room always finds gold, a bait that pays forever unless a count gate
stops it; every other caption is neutral: half the time "nothing happens", else something befalls a random item. The
task pays 1 behind the last door and nothing before, so 45 rooms in 120 steps are out of reach of undirected search.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from guerdon.parts.caption_table import CaptionTable
from guerdon.types import Captions, Step

FORWARD, BACK, BUMP, DIG = range(4)
"""What an action does in a room; which action does which differs from room to room."""

QUIET, GOLD, GOAL = "nothing happens", "you find gold", "you reach the goal"

NEUTRAL = (
    "you step back past the {}", "you return to the {}",
    "you bump into the {}", "you fall over the {}",
    "you dig up the {}", "your digging spoils the {}",
)  # fmt: skip
"""Two neutral captions each for BACK, BUMP and DIG."""

_SYLLABLES = [c + v for c in "bdfghklmnprstvz" for v in "aeiou"]
_NAMES = len(_SYLLABLES) ** 5
_FRESH = 2**30
"""Item names of an open-ended stream are numbered from here on; those of a fixed vocabulary lie below."""


def item_name(number: int) -> str:
    """A name of five syllables; different numbers below 75^5 have different names, and neighbours look unlike."""
    number = number * 1_000_000_007 % _NAMES  # a prime that does not divide 75: a permutation of the names
    syllables = []
    for _ in range(5):
        number, digit = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[digit])
    return "".join(syllables)


class TextCorridorVector:
    """`num_envs` corridors that step together in a few array operations: a `VectorTask` of one group.

    Game i of a reset with seed s shows what `TextCorridor` shows after ``reset(seed=s + i)``, for the same actions.

    Args:
        num_envs: corridors side by side.
        rooms: length of the chain.
        steps: moves until an episode is truncated.
        layout: seed of which action does what in which room.
        items: item names in use; six neutral captions each, so 100 make 600 captions.
        first_item: number of the first name. Two corridors whose ranges do not overlap share no name.
        open_ended: share of neutral captions whose item was never named before, all through training.
        named_doors: doors go by names of their own ("you open the <name> door") instead of numbers.
        captions: the table to intern into; a new one by default.
    """

    groups = 1

    def __init__(
        self,
        *,
        num_envs: int = 64,
        rooms: int = 30,
        steps: int = 100,
        layout: int = 0,
        items: int = 100,
        first_item: int = 0,
        open_ended: float = 0.0,
        named_doors: bool = False,
        captions: Captions | None = None,
    ) -> None:
        if min(num_envs, rooms, steps, items) < 1:
            raise ValueError("num_envs, rooms, steps and items must be at least 1")
        if not 0.0 <= open_ended <= 1.0:
            raise ValueError(f"open_ended is a share between 0 and 1, got {open_ended}")
        if first_item < 0 or first_item + items + rooms > _FRESH:
            raise ValueError(f"item names are numbered from 0 to {_FRESH}, got first_item={first_item}")
        self.num_envs, self.rooms, self.steps = num_envs, rooms, steps
        self.items, self.first_item, self.open_ended, self.named_doors = items, first_item, open_ended, named_doors
        self.captions: Captions = CaptionTable() if captions is None else captions
        self.single_observation_space = spaces.Dict({"room": spaces.Discrete(rooms + 1)})
        self.single_action_space = spaces.Discrete(4)
        actions = np.tile(np.arange(4), (rooms, 1))
        self.meaning = np.random.default_rng(layout).permuted(actions, axis=1)  # [rooms, 4]: what an action does

        self._every = np.arange(num_envs)
        self._generators: list[np.random.Generator] = []
        self._life = 0  # how often the run was resumed
        self._forget_ids()
        self._room = np.zeros(num_envs, np.int64)
        self._time = np.zeros(num_envs, np.int64)
        self._over = np.zeros(num_envs, bool)
        self._deepest = np.zeros(num_envs, np.int64)
        self._gold = np.zeros(num_envs, np.int64)
        self._draws = np.zeros((2, num_envs, steps), np.int64)  # which neutral caption, which name if a new one
        self._seen = np.full((num_envs, steps + 1), -1, np.int32)  # captions of this episode, by time
        self._step: Step | None = None

    def reset(self, *, seed: int) -> None:
        """New games, game i from seed + i; `recv` then gives the first observation."""
        life = (self._life,) if self._life else ()
        self._start([np.random.default_rng([seed + i, *life]) for i in range(self.num_envs)])

    def send(self, group: int, actions: np.ndarray) -> None:
        """Moves every game; those that had ended are reset instead (NEXT_STEP)."""
        self.recv(group)
        again = self._over.copy()
        if again.any():
            self._begin(np.flatnonzero(again))
        going = np.flatnonzero(~again)
        self._move(going, np.asarray(actions)[going])
        terminated = ~again & (self._room == self.rooms)
        truncated = ~again & ~terminated & (self._time == self.steps)
        self._over = terminated | truncated
        finished = [
            {
                "return": float(terminated[i]),
                "length": float(self._time[i]),
                "success": float(terminated[i]),
                "depth": float(self._deepest[i]),
                "gold": float(self._gold[i]),
            }
            for i in np.flatnonzero(self._over)
        ]
        self._step = self._shown(terminated.astype(np.float32), terminated, truncated, ~again, finished)

    def recv(self, group: int) -> Step:
        """What the last `reset` or `send` led to."""
        del group
        if self._step is None:
            raise RuntimeError("TextCorridorVector.recv: call reset(seed=...) first")
        return self._step

    def close(self) -> None:
        """Nothing to let go of."""

    def state_dict(self) -> dict[str, Any]:
        """How often the run was resumed, and the caption table if it can be saved."""
        captions = self.captions.state_dict() if isinstance(self.captions, CaptionTable) else None
        return {"life": self._life, "captions": captions}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the caption table; the next `reset` begins games that the saved run has not played."""
        self._life, self._step = state["life"] + 1, None
        if isinstance(self.captions, CaptionTable) and state["captions"] is not None:
            self.captions.load_state_dict(state["captions"])
        self._forget_ids()

    def _start(self, generators: list[np.random.Generator]) -> None:
        self._generators = generators
        self._begin(self._every)
        nothing = np.zeros(self.num_envs, bool)
        self._step = self._shown(np.zeros(self.num_envs, np.float32), nothing, nothing, ~nothing, [])

    def _begin(self, games: np.ndarray) -> None:
        for i in games.tolist():  # all chance of an episode is drawn here, so that batch and single game agree
            self._draws[:, i] = self._generators[i].integers(_FRESH, 2 * _FRESH, (2, self.steps))
        self._room[games] = self._time[games] = self._deepest[games] = self._gold[games] = 0
        self._over[games] = False
        self._seen[games] = -1
        self._seen[games, 0] = self.captions.intern(QUIET)

    def _move(self, games: np.ndarray, actions: np.ndarray) -> None:
        room, time = self._room[games], self._time[games]
        meaning = self.meaning[room, actions]
        self._room[games] = after = np.where(meaning == FORWARD, room + 1, np.maximum(room - (meaning == BACK), 0))
        self._deepest[games] = np.maximum(self._deepest[games], after)
        self._time[games] = time + 1
        forward, gold = meaning == FORWARD, (meaning == DIG) & (room == 0)
        self._gold[games] += gold

        which, fresh = self._draws[:, games, time] - _FRESH
        neutral = self.rooms + 2 + (2 * (meaning - BACK) + which % 2) * self.items + (which // 2) % self.items
        quiet = which // (2 * self.items) % 2 == 0
        keys = np.where(forward, room, np.where(gold, self.rooms, np.where(quiet, self.rooms + 1, neutral)))
        ids = self._ids[keys]
        for i in np.flatnonzero(ids < 0).tolist():
            ids[i] = self._ids[keys[i]] = self.captions.intern(self._text(int(keys[i])))
        if self.open_ended:
            # the high digits of `which` decide, as its low ones choose the caption
            new = ~forward & ~gold & (which // (4 * self.items) % 1000 < round(1000 * self.open_ended))
            for i in np.flatnonzero(new).tolist():
                template = NEUTRAL[2 * (meaning[i] - BACK) + which[i] % 2]
                ids[i] = self.captions.intern(template.format(item_name(_FRESH + int(fresh[i]))))
        self._seen[games, time + 1] = ids

    def _text(self, key: int) -> str:
        """The caption behind a key: a door, the gold, nothing, or template and item of a neutral one."""
        if key == self.rooms - 1:
            return GOAL
        if key < self.rooms:
            door = f"the {item_name(self.first_item + self.items + key)} door" if self.named_doors else f"door {key}"
            return f"you open {door}"
        if key == self.rooms:
            return GOLD
        if key == self.rooms + 1:
            return QUIET
        template, item = divmod(key - self.rooms - 2, self.items)
        return NEUTRAL[template].format(item_name(self.first_item + item))

    def _forget_ids(self) -> None:
        self._ids = np.full(self.rooms + 2 + len(NEUTRAL) * self.items, -1, np.int32)  # caption id by key; -1 not yet

    def _shown(
        self, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, valid: np.ndarray, finished: list
    ) -> Step:
        caption = self._seen[self._every, self._time]
        count = (self._seen == caption[:, None]).sum(1, dtype=np.int32)
        return Step({"room": self._room.copy()}, reward, terminated, truncated, valid, caption, count, finished)


class TextCorridor(gym.Env[dict[str, Any], Any]):
    """One corridor as a Gymnasium environment, ``gymnasium.make("guerdon/TextCorridor-v0", rooms=45, steps=120)``.

    Observation: ``{"room": 0 .. rooms}``. Actions: 4. Reward: 1 behind the last door, which ends the episode; else 0.
    ``info["caption"]`` is what just happened. The keywords are those of `TextCorridorVector` but the first and last.
    """

    metadata = {"render_modes": ["ansi"]}

    def __init__(
        self,
        *,
        rooms: int = 30,
        steps: int = 100,
        layout: int = 0,
        items: int = 100,
        first_item: int = 0,
        open_ended: float = 0.0,
        named_doors: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self._game = TextCorridorVector(
            num_envs=1, rooms=rooms, steps=steps, layout=layout, items=items, first_item=first_item,
            open_ended=open_ended, named_doors=named_doors,
        )  # fmt: skip
        self.observation_space = self._game.single_observation_space
        self.action_space = self._game.single_action_space
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """A new episode; without `seed` the random stream goes on."""
        super().reset(seed=seed, options=options)
        self._game._start([self.np_random])
        return self._observation(), self._info()

    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
        """One move."""
        if self._game._over[0]:
            raise gym.error.ResetNeeded("TextCorridor: the episode is over; call reset()")
        self._game.send(0, np.array([action]))
        step = self._game.recv(0)
        over = bool(step.terminated[0]), bool(step.truncated[0])
        return self._observation(), float(step.reward[0]), *over, self._info()

    def render(self) -> str | None:
        """The room's number and the caption."""
        if self.render_mode != "ansi":
            return None
        return f"room {self._game._room[0]} of {self._game.rooms}: {self._info()['caption']}"

    def _observation(self) -> dict[str, Any]:
        return {"room": self._game._room[0].copy()}

    def _info(self) -> dict[str, Any]:
        step = self._game.recv(0)
        assert step.caption is not None
        caption = self._game.captions.text(int(step.caption[0]))
        return {"caption": caption, "depth": int(self._game._deepest[0]), "gold": int(self._game._gold[0])}
