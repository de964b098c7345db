"""What a worker does: many games stepped one after another, everything they show written into shared memory.

Runs in its own process (`main`), or inside the caller's when there are no workers. Imports neither torch nor nle.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

STEP, RESET, QUIT = 0, 1, 2
"""The first byte of a command; the second one of STEP and RESET is the group."""

Field = tuple[str, tuple[int, ...], str]
"""Name, shape and type (as a string: nle's core takes only the built-in type objects, and a pickled one is a copy)."""


class Game(Protocol):
    """One game, a plain object. It shows itself by writing into the arrays that `bind` gave it."""

    @property
    def observation_space(self) -> spaces.Dict: ...

    @property
    def action_space(self) -> spaces.Space: ...

    def bind(self, views: dict[str, np.ndarray]) -> None:
        """Where to write observations from now on: one array a key of the observation space. Called once."""
        ...

    def reset(self, seed: int) -> None:
        """Begins the episode that `seed` (32 bits) names and writes its first observation."""
        ...

    def step(self, action: Any) -> tuple[float, bool, bool]:
        """Acts and writes the next observation. Returns reward, terminated, truncated."""
        ...

    def message(self) -> bytes | None:
        """The caption of what is shown now, None where there is none. Called once after a reset or step, if at all."""
        ...

    def stats(self) -> dict[str, float]:
        """The finished episode in numbers: success, depth, ... Called after a step that ended it."""
        ...

    def close(self) -> None: ...


def fields(observation_space: spaces.Dict, action_space: spaces.Space, games: int) -> list[Field]:
    """The arrays that one group of `games` needs."""
    obs = [(f"obs/{key}", s.shape, s.dtype) for key, s in observation_space.spaces.items()]
    flags = [(name, (), np.dtype(bool)) for name in ("terminated", "truncated", "valid")]
    numbers = [("reward", (), np.dtype(np.float32))] + [(n, (), np.dtype(np.int32)) for n in ("caption", "count")]
    action = [("action", action_space.shape or (), action_space.dtype)]
    found = [*obs, *flags, *numbers, *action]
    for name, shape, dtype in found:
        if shape is None or dtype is None or np.dtype(dtype).hasobject:
            raise TypeError(f"{name} has no fixed shape and type; guerdon steps games with Box, Discrete and the like")
    return [(name, (games, *shape), np.dtype(dtype).str) for name, shape, dtype in found]  # type: ignore[misc]


def size(layout: Sequence[Field]) -> int:
    """Bytes of one group's arrays, each on its own cache line."""
    return sum(_padded(shape, dtype) for _, shape, dtype in layout)


def lay_out(buffer: Any, layout: Sequence[Field], group: int) -> dict[str, np.ndarray]:
    """The arrays of one group in the common memory."""
    views, offset = {}, group * size(layout)
    for name, shape, dtype in layout:
        views[name] = np.ndarray(shape, np.dtype(dtype), buffer, offset)
        offset += _padded(shape, dtype)
    return views


def _padded(shape: tuple[int, ...], dtype: str) -> int:
    return -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // 64) * 64


def cells(array: np.ndarray) -> Any:
    """The array's numbers as a memory view, which reads and writes a single one several times faster than an array."""
    return memoryview(array)  # type: ignore[arg-type]


class Interner(dict):
    """Captions as the game wrote them (bytes) -> ids of this worker. `new` holds the texts that nobody was told yet."""

    def __init__(self, canonicalise: Callable[[str], str] | None) -> None:
        super().__init__({b"": 0})
        self.canonicalise = canonicalise
        self.new: list[str] = []
        self._known = {"": 0}

    def __missing__(self, raw: bytes) -> int:
        text = raw.partition(b"\0")[0].decode("latin-1")
        if self.canonicalise is not None:
            text = self.canonicalise(text)
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = len(self._known)
            self.new.append(text)
        self[raw] = found
        return found


class Lane:
    """The games of one group that one worker steps, and their rows of the group's arrays.

    Episode k of game i is played with a seed drawn from (seed, life, i, k) alone, so that the same games come up
    whatever the number of workers and groups; `life` counts how often a run was resumed.
    """

    def __init__(
        self, games: Sequence[Game], first: int, views: dict[str, np.ndarray], captions: Interner | None
    ) -> None:
        self.games, self.first, self.captions = games, first, captions
        self.finished: list[dict[str, float]] = []
        self._action = views["action"]
        self._reward = cells(views["reward"])
        self._flags = [cells(views[name]) for name in ("terminated", "truncated", "valid")]
        self._caption, self._count = cells(views["caption"]), cells(views["count"])
        self._tasks = [_Progress() for _ in games]
        obs = {name[4:]: array for name, array in views.items() if name.startswith("obs/")}
        for j, game in enumerate(games):
            game.bind({key: array[j, ...] for key, array in obs.items()})

    def reset(self, seed: int, life: int) -> None:
        """Begins a first episode in every game."""
        self._root = (seed, life)
        for j, game in enumerate(self.games):
            self._tasks[j] = _Progress()
            self._begin(j, game, valid=True)
        self.finished = []

    def step(self) -> None:
        """Acts in every game; one whose episode ended on the step before is begun anew instead."""
        terminated, truncated, valid = self._flags
        reward, captions, tasks = self._reward, self.captions, self._tasks
        for j, (game, action) in enumerate(zip(self.games, self._actions(), strict=True)):
            task = tasks[j]
            if task.over:
                self._begin(j, game, valid=False)
                continue
            paid, end, cut = game.step(action)
            reward[j] = paid
            terminated[j], truncated[j], valid[j] = end, cut, True
            task.total += paid
            task.length += 1
            if captions is not None:
                self._caption[j] = caption = captions[game.message() or b""]
                self._count[j] = task.counts[caption] = task.counts.get(caption, 0) + 1
            if end or cut:
                task.over = True
                self.finished.append({"return": task.total, "length": task.length, **game.stats()})

    def _actions(self) -> Any:
        return self._action.tolist() if self._action.ndim == 1 else self._action

    def _begin(self, j: int, game: Game, *, valid: bool) -> None:
        task = self._tasks[j]
        seed, life = self._root
        words = np.random.SeedSequence(seed, spawn_key=(life, self.first + j, task.episode))
        game.reset(int(words.generate_state(1)[0]))
        self._reward[j] = 0.0
        self._flags[0][j], self._flags[1][j], self._flags[2][j] = False, False, valid
        task.begin()
        if self.captions is not None:
            self._caption[j] = caption = self.captions[game.message() or b""]
            self._count[j] = task.counts[caption] = 1


class _Progress:
    """How far one game's current episode is."""

    __slots__ = ("counts", "episode", "length", "over", "total")

    def __init__(self) -> None:
        self.episode = 0
        self.begin()
        self.episode = 0

    def begin(self) -> None:
        self.episode += 1
        self.total, self.length, self.over = 0.0, 0, False
        self.counts: dict[int, int] = {}


def main(fd: int, memory_fd: int) -> None:
    """A worker process: builds its games, then steps them as told until the parent is gone."""
    import mmap

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    conn, parent = Connection(fd), os.getppid()
    lanes: list[Lane] = []
    try:
        setup = pickle.loads(conn.recv_bytes())
        memory = mmap.mmap(memory_fd, size(setup["layout"]) * setup["groups"])
        captions = Interner(setup["canonicalise"]) if setup["captions"] else None
        for group in range(setup["groups"]):
            views = {k: v[setup["rows"]] for k, v in lay_out(memory, setup["layout"], group).items()}
            games = [setup["factory"]() for _ in range(len(views["reward"]))]
            lanes.append(Lane(games, group * setup["size"] + setup["rows"].start, views, captions))
        gc.freeze()  # what is loaded by now stays; no need to look through it again and again
        conn.send_bytes(b"ready")
        # A read that gives up now and then: other children of the parent may keep the socket open when it has died.
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, (2).to_bytes(8, sys.byteorder) + bytes(8))
        while True:
            try:
                command = conn.recv_bytes()
            except BlockingIOError:
                if os.getppid() != parent:
                    return
                continue
            if command[0] == QUIT:
                return
            group = command[1]
            lane = lanes[group]
            if command[0] == STEP:
                lane.step()
            else:
                lane.reset(*pickle.loads(command[2:]))
            conn.send_bytes(command[1:2] + report(lane, captions))
    except (EOFError, ConnectionError):
        return  # the parent has gone
    except BaseException:
        try:
            conn.send_bytes(b"\xff" + traceback.format_exc().encode())
        except OSError:
            traceback.print_exc()  # nobody is left to tell
        sys.exit(1)
    finally:
        for lane in lanes:
            for game in lane.games:
                game.close()


def report(lane: Lane, captions: Interner | None) -> bytes:
    """What fits no fixed array: captions never seen before and episodes that ended. Empty if there is nothing."""
    texts = captions.new if captions is not None else []
    if not texts and not lane.finished:
        return b""
    told = pickle.dumps((texts, lane.finished))
    lane.finished = []
    if captions is not None:
        captions.new = []
    return told
