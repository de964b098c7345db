"""Many games at once: worker processes over shared memory, in groups that step on their own."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from guerdon.parts.caption_table import CaptionTable
from guerdon.tasks.worker import QUIT, RESET, STEP, Game, Interner, Lane, fields, lay_out, report, size
from guerdon.types import Step


class Workers:
    """A `VectorTask`: `num_envs` games in `groups` equal groups, each group spread over all worker processes.

    While the games of one group move, the policy can think about another. Observations, rewards, flags, captions and
    actions live in shared memory; a step costs one short message to and from each worker. Autoreset is NEXT_STEP: the
    step after an end ignores its action, shows the next episode's first observation, pays 0 and is not `valid`.

    Captions are interned where they appear and arrive as int32 ids of `captions`, with the number of times this
    episode has shown them; the first observation's own caption counts as 1.

    Args:
        factory: makes one game; must be picklable if there are workers. See `guerdon.tasks.worker.Game`.
        num_envs: games in all, a multiple of `groups`.
        workers: processes; 0 plays in this one (for tests and debugging).
        groups: 2 is double buffering.
        captions: False reads no messages at all, and `Step.caption` is None.
        canonicalise: the caption that a raw one counts as; applied once a new raw caption, in the worker.

    Raises:
        ValueError: numbers that do not divide, wrong action shapes. RuntimeError: a worker failed or died; the message
            holds its traceback or exit code, and all workers are ended.
    """

    def __init__(
        self,
        factory: Callable[[], Game],
        *,
        num_envs: int,
        workers: int,
        groups: int = 2,
        captions: bool = True,
        canonicalise: Callable[[str], str] | None = None,
    ) -> None:
        if groups < 1 or num_envs < groups or num_envs % groups or groups > 250:
            raise ValueError(f"num_envs must be a positive multiple of groups, got {num_envs} and {groups}")
        if not 0 <= workers <= num_envs // groups:
            raise ValueError(f"workers must be 0 to {num_envs // groups} (a group's games), got {workers}")
        self.num_envs, self.groups, self.workers = num_envs, groups, workers
        self.captions = CaptionTable() if captions else None
        self._n, self._life, self._seed = num_envs // groups, 0, None
        probe = factory()
        self.single_observation_space, self.single_action_space = probe.observation_space, probe.action_space
        layout = fields(probe.observation_space, probe.action_space, self._n)
        memory = _shared(size(layout) * groups)
        self._views = [lay_out(memory[1], layout, g) for g in range(groups)]
        self._global = [np.zeros(self._n, np.int32) for _ in range(groups)]
        bounds = np.linspace(0, self._n, max(workers, 1) + 1).astype(int).tolist()
        self._rows = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        self._ids = [np.zeros(1, np.int32) for _ in self._rows]  # a worker's caption ids -> ours
        self._known = [1] * len(self._rows)
        self._inbox: list[dict[int, bytes]] = [{} for _ in self._rows]
        self._waiting = [False] * groups
        common = {"factory": factory, "layout": layout, "groups": groups, "size": self._n, "captions": captions}
        common["canonicalise"] = canonicalise
        if workers:
            probe.close()
            self._lanes = None
            self._team = [_spawn(memory[0], common | {"rows": rows}) for rows in self._rows]
            os.close(memory[0])
            self._finalizer = weakref.finalize(self, _end, self._team, os.getpid())
            for w in range(workers):
                self._read(w)
        else:
            os.close(memory[0])
            interner = Interner(canonicalise) if captions else None
            games = [[probe if not (g or j) else factory() for j in range(self._n)] for g in range(groups)]
            self._lanes = [Lane(games[g], g * self._n, self._views[g], interner) for g in range(groups)]
            self._finalizer = weakref.finalize(self, _close, [game for group in games for game in group])
            self._interner = interner

    def reset(self, *, seed: int) -> None:
        """Begins new episodes everywhere. The same seed begins the same ones, except after `load_state_dict`."""
        for g in range(self.groups):
            if self._waiting[g]:
                self.recv(g)
        self._seed = seed
        order = pickle.dumps((seed, self._life))
        for g in range(self.groups):
            self._command(RESET, g, order)

    def send(self, group: int, actions: np.ndarray) -> None:
        """Gives the group's games their actions and returns at once."""
        if self._seed is None:
            raise RuntimeError("reset(seed=...) comes before the first send")
        if self._waiting[group]:
            raise RuntimeError(f"group {group} was sent actions already; recv({group}) comes first")
        where, actions = self._views[group]["action"], np.asarray(actions)
        if actions.shape != where.shape:
            raise ValueError(f"actions of a group must have shape {list(where.shape)}, got {list(actions.shape)}")
        np.copyto(where, actions, casting="same_kind")
        self._command(STEP, group)

    def recv(self, group: int) -> Step:
        """Waits for the group's games and shows what came of it."""
        if not self._waiting[group]:
            raise RuntimeError(f"nothing was sent to group {group}")
        finished: list[dict[str, float]] = []
        for w in range(len(self._rows)):
            while group not in self._inbox[w]:
                reply = self._read(w)
                self._inbox[w][reply[0]] = reply[1:]
            told = self._inbox[w].pop(group)
            if told:
                texts, ended = pickle.loads(told)
                finished += ended
                self._learn(w, texts)
        self._waiting[group] = False
        views = self._views[group]
        if self.captions is not None:
            for ids, rows in zip(self._ids, self._rows, strict=True):
                np.take(ids, views["caption"][rows], out=self._global[group][rows])
        with_captions = self.captions is not None
        return Step(
            obs={name[4:]: array for name, array in views.items() if name.startswith("obs/")},
            reward=views["reward"],
            terminated=views["terminated"],
            truncated=views["truncated"],
            valid=views["valid"],
            caption=self._global[group] if with_captions else None,
            caption_count=views["count"] if with_captions else None,
            finished=finished,
        )

    def state_dict(self) -> dict[str, Any]:
        """How often the run was resumed, and the caption table."""
        table = None if self.captions is None else self.captions.state_dict()
        return {"life": self._life, "captions": table}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the caption table; the next `reset` begins games that the saved run has not played."""
        self._life = state["life"] + 1
        if self.captions is None or state["captions"] is None:
            return
        before = self.captions.state_dict()["texts"]
        self.captions.load_state_dict(state["captions"])
        ids = np.array([self.captions.intern(text) for text in before], np.int32)
        self._ids = [ids[known] for known in self._ids]

    def close(self) -> None:
        """Ends all games and worker processes."""
        self._finalizer()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _command(self, what: int, group: int, data: bytes = b"") -> None:
        self._waiting[group] = True
        if self._lanes is not None:
            lane = self._lanes[group]
            lane.step() if what == STEP else lane.reset(*pickle.loads(data))
            self._inbox[0][group] = report(lane, self._interner)
            return
        for w, (_, conn) in enumerate(self._team):
            try:
                conn.send_bytes(bytes((what, group)) + data)
            except OSError:
                self._fail(w)

    def _read(self, w: int) -> bytes:
        try:
            reply = self._team[w][1].recv_bytes()
        except (EOFError, OSError):
            reply = self._fail(w)
        if reply[0] == 0xFF:
            self._fail(w, reply[1:].decode())
        return reply

    def _fail(self, w: int, told: str | None = None) -> bytes:
        """Ends everything and raises the one error that says which worker failed, and why."""
        process, conn = self._team[w]
        while told is None:  # it may have left word before it went
            try:
                reply = conn.recv_bytes()
                told = reply[1:].decode() if reply[:1] == b"\xff" else None
            except (EOFError, OSError):
                break
        rows = self._rows[w]
        name = f"worker {w} (process {process.pid}, games {rows.start} to {rows.stop - 1} of each group)"
        if told is None:
            code = process.wait()
            self.close()
            raise RuntimeError(f"{name} died: {f'killed by signal {-code}' if code < 0 else f'exit code {code}'}")
        self.close()
        raise RuntimeError(f"{name} failed:\n{told}")

    def _learn(self, w: int, texts: list[str]) -> None:
        """Adds a worker's new captions to the table and to the map from its ids to ours."""
        if self.captions is None or not texts:
            return
        known = self._known[w]
        if known + len(texts) > len(self._ids[w]):
            self._ids[w] = np.resize(self._ids[w], 2 * (known + len(texts)))
        self._ids[w][known : known + len(texts)] = [self.captions.intern(text) for text in texts]
        self._known[w] = known + len(texts)


def _shared(count: int) -> tuple[int, mmap.mmap]:
    """Memory that other processes can map by its descriptor, and that goes away with the last of them."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("guerdon")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, count)
    return fd, mmap.mmap(fd, count)


def _spawn(memory: int, setup: dict[str, Any]) -> tuple[subprocess.Popen, Connection]:
    """Starts a worker in a session of its own, where the terminal's Ctrl-C does not reach it."""
    ours, theirs = socket.socketpair()
    path = os.pathsep.join(os.path.abspath(p) for p in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-c", f"from guerdon.tasks.worker import main; main({theirs.fileno()}, {memory})"],
        pass_fds=(theirs.fileno(), memory),
        start_new_session=True,
        env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path},
    )
    theirs.close()
    conn = Connection(ours.detach())
    conn.send_bytes(pickle.dumps(setup))
    return process, conn


def _end(team: list[tuple[subprocess.Popen, Connection]], owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child that goes; the workers are its parent's
    for _, conn in team:
        with contextlib.suppress(OSError):  # it may be gone already
            conn.send_bytes(bytes((QUIT,)))
        conn.close()
    for process, _ in team:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _close(games: list[Game]) -> None:
    for game in games:
        game.close()
