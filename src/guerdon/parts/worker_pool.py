"""Scorers in processes of their own: for Python that computes, and for what may hang or crash."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from guerdon.parts.scorer import NotScored, Row, Score, Scorer, said

_START = 120.0
"""Seconds that a worker may take to import what it needs."""


class WorkerPool:
    """`workers` spawned processes, each with its own copy of a scorer. One that hangs or dies is replaced.

    Args:
        function: a scorer; it is pickled, so it stands at the top level of a module that can be imported.
        workers: how many.

    Raises:
        ValueError: the function cannot be pickled.
        RuntimeError: a worker could not start, with what it said.
    """

    def __init__(self, function: Callable[..., Any], workers: int) -> None:
        try:
            self._pickled = pickle.dumps(function)
        except Exception as error:
            cure = "put it at the top level of a module"
            raise ValueError(f"worker processes need a scorer that can be pickled: {said(error)}; {cure}") from error
        self._all = {_Worker(self._pickled) for _ in range(workers)}
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()  # None: one that is yet to be started
        try:
            for worker in self._all:
                worker.wait_until_up()
                self._idle.put(worker)
        except BaseException:
            self.close()
            raise

    def score(self, rows: Sequence[Row], timeout: float | None) -> list[Score]:
        """Scores rows in whichever process is free; blocks. Raises NotScored."""
        worker = self._idle.get()
        try:
            if worker is None:
                worker = _Worker(self._pickled)
                self._all.add(worker)
                worker.wait_until_up()
            return worker.score(rows, timeout)
        except RuntimeError as error:
            raise NotScored("worker died", str(error)) from error
        finally:
            if worker and not worker.usable:
                self._all.discard(worker)
                worker.end()
                worker = None
            self._idle.put(worker)

    def close(self) -> None:
        """Ends the processes, whatever they are doing."""
        for worker in list(self._all):
            worker.end()


class _Worker:
    def __init__(self, pickled: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = theirs, pickled, os.getpid()
        self.process = context.Process(target=_serve, args=arguments, daemon=True, name="guerdon scorer")
        self.process.start()
        theirs.close()
        self.usable = True

    def wait_until_up(self) -> None:
        """Raises RuntimeError if it cannot import the scorer."""
        try:
            trouble = self.connection.recv() if self.connection.poll(_START) else f"not ready after {_START:g} s"
        except (EOFError, OSError):
            trouble = f"it ended with code {self._code()}"
        if trouble:
            self.usable = False
            raise RuntimeError(f"a worker process cannot start: {trouble}")

    def score(self, rows: Sequence[Row], timeout: float | None) -> list[Score]:
        try:
            self.connection.send(rows)
            if not self.connection.poll(timeout):
                self.usable = False
                raise NotScored("timeout", f"no answer in {timeout:g} s; its process was ended")
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.usable = False
            raise NotScored("worker died", f"the scorer's process ended with code {self._code()}") from None
        if isinstance(answer, NotScored):
            raise answer
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _code(self) -> int | None:
        self.process.join(5)
        return self.process.exitcode


def _serve(connection: Connection, pickled: bytes, parent: int) -> None:
    """A worker: scores what it is sent until its parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets us finish
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        scorer = Scorer(pickle.loads(pickled))
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # the processes are the parallelism
    except BaseException as error:
        connection.send(said(error))
        return
    connection.send(None)
    while True:
        try:
            rows = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_answer(scorer, rows))


def _answer(scorer: Scorer, rows: Sequence[Row]) -> list[Score] | NotScored:
    try:
        made = scorer.call(rows)
        return scorer.read(asyncio.run(_awaited(made)) if asyncio.iscoroutine(made) else made, len(rows))
    except NotScored as error:
        return error
    except BaseException as error:  # an exit too: whoever asked hears of it, and the process goes on
        return NotScored("raised", said(error))


async def _awaited(made: Any) -> Any:
    return await made


def _end_with(parent: int) -> None:
    """Ends this process with its parent, by whatever death, and even while the scorer computes."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
