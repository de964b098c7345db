"""Slow scorers, many rows at once: each is run the way it is written, with bounds, and every row gets an outcome."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.parts.scorer import NotScored, Row, Score, Scorer, said
from guerdon.parts.thread_call import in_thread
from guerdon.parts.worker_pool import WorkerPool

MOST_STUCK = 64
"""Threads that may hang at a time. A thread cannot be ended, so that beyond this nothing new is begun in one."""


class QueueFull(RuntimeError):
    """More rows are waiting than may; `seconds` is about how long until there is room."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Scoring:
    """Runs a scorer over rows: concurrently, in batches across calls, with time-outs. Any thread or loop may call.

    An ``async def`` is awaited, a plain function runs in threads, and with `workers` either runs in processes, for
    Python that computes. A function of one row is called for many rows at the same time. A function of many rows gets
    batches, filled across calls; rows with the same "group" (by default: the same prompt) of one call stay together.
    If a batch raises or returns too few values it is halved until those at fault stand alone, so that a row of one
    caller cannot spoil those of another; one that hangs fails whole.

    A row that could not be scored has the value None and a reason, never a number: "timeout", "raised", "wrong count",
    "not a list", "not a number", "not finite", "missing column", "worker died", "stuck" (too many threads hang), or
    "not scored", where the scorer itself said None or NaN.

    Args:
        function: the scorer, see `guerdon.parts.scorer`.
        concurrency: calls at the same time; by default `workers`, else 64, but 1 for a plain function of many rows.
        batch: rows in a call of a function that takes many; a larger group goes whole.
        wait: seconds that a batch which is not full waits for more rows.
        timeout: seconds for one call; None for no limit.
        workers: processes; 0 for none.
        queue: rows that may wait or run; None for no limit.

    Raises:
        TypeError, ValueError: the function is no scorer, or cannot be pickled for `workers`; a bound that cannot be.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        concurrency: int | None = None,
        batch: int = 64,
        wait: float = 0.0,
        timeout: float | None = None,
        workers: int = 0,
        queue: int | None = None,
    ) -> None:
        self.scorer = Scorer(function)
        plain = self.scorer.takes_many and not self.scorer.awaits
        self.concurrency = concurrency or workers or (1 if plain else 64)
        positive = [x for x in (self.concurrency, batch, timeout, queue) if x is not None]
        if min(positive) <= 0 or wait < 0 or workers < 0:
            raise ValueError("concurrency, batch, queue and timeout must be positive, wait and workers not negative")
        self.batch, self.wait, self.timeout, self.workers, self.queue = batch, wait, timeout, workers, queue
        self.counts: Counter[str] = Counter()  # "scored", "calls", and each reason
        self.rows_inside = 0  # waiting or running
        self._groups = itertools.count()
        self._waiting: deque[_Unit] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stuck: set[threading.Thread] = set()
        self._pace = 0.0  # seconds a row takes lately, all calls together
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._lock = threading.Lock()
        self._pool = WorkerPool(function, workers) if workers else None
        self._loop = asyncio.new_event_loop()  # its own: an `async def` that blocks it blocks nobody else's
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="scoring")
        self._thread.start()

    def __enter__(self) -> Scoring:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def submit(self, rows: Sequence[Row]) -> concurrent.futures.Future[list[Score]]:
        """Begins to score rows; the future holds one Score a row, in order.

        Raises:
            QueueFull: `queue` rows are inside already; nothing of this call was begun.
            RuntimeError: closed.
        """
        future: concurrent.futures.Future[list[Score]] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()  # whoever waits for it may give up, the rows are scored all the same
        with self._lock:
            if self._closing:
                raise RuntimeError("this Scoring is closed")
            if self.queue and self.rows_inside and self.rows_inside + len(rows) > self.queue:
                seconds = max(self._pace * self.rows_inside, 0.1)
                raise QueueFull(f"{self.rows_inside} rows are waiting, {self.queue} may", seconds)
            self.rows_inside += len(rows)
        together = list(self._together(rows))
        call = _Call(future, [None] * len(rows), len(together))
        if not rows:
            future.set_result([])
        units = [self._unit(call, indices, [rows[i] for i in indices]) for indices in together]
        self._loop.call_soon_threadsafe(self._admit, units)
        return future

    async def score(self, rows: Sequence[Row]) -> list[Score]:
        """`submit`, awaited."""
        return await asyncio.wrap_future(self.submit(rows))

    def score_now(self, rows: Sequence[Row]) -> list[Score]:
        """`submit`, waited for."""
        return self.submit(rows).result()

    def close(self, grace: float = 0.0) -> None:
        """Takes no more rows, gives those inside `grace` seconds, then ends what still runs; those rows fail."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        asyncio.run_coroutine_threadsafe(self._finish(grace), self._loop).result()
        if self._pool:
            self._pool.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1)  # not for ever: an `async def` may block the loop

    def _together(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Indices of the rows that must go together."""
        if not self.scorer.takes_many:
            yield from ([i] for i in range(len(rows)))
            return
        groups: dict[Hashable, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault((repr(row.get("group", row.get("prompt"))), frozenset(row)), []).append(i)
        yield from groups.values()

    def _unit(self, call: _Call, indices: list[int], rows: list[Row]) -> _Unit:
        if self.scorer.form == "rows":
            group = next(self._groups)  # so that equal prompts of two callers stay two groups
            rows = [{**row, "group": group} for row in rows]
        return _Unit(call, indices, rows, frozenset(rows[0]), time.monotonic())

    def _admit(self, units: list[_Unit]) -> None:
        self._waiting.extend(units)
        self._pump()

    def _pump(self) -> None:
        """Begins as many calls as may run. Everything from here on happens in the loop's thread."""
        while self._waiting and len(self._tasks) < self.concurrency:
            units = self._take()
            left = self.wait - (time.monotonic() - units[0].since) if self.scorer.takes_many else 0.0
            if left > 0 and sum(len(u.rows) for u in units) < self.batch:
                self._waiting.extendleft(reversed(units))
                if self._timer is None:
                    self._timer = self._loop.call_later(left, self._ring)
                return
            self._tasks.add(task := self._loop.create_task(self._run(units)))
            task.add_done_callback(self._ended)

    def _ring(self) -> None:
        self._timer = None
        self._pump()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()

    def _take(self) -> list[_Unit]:
        """The next batch: the first unit, and others after it that have the same columns and still fit."""
        units, passed = [self._waiting.popleft()], []
        count = len(units[0].rows)
        while self.scorer.takes_many and self._waiting and count < self.batch and len(passed) < self.batch:
            unit = self._waiting.popleft()
            if unit.columns == units[0].columns and count + len(unit.rows) <= self.batch:
                units.append(unit)
                count += len(unit.rows)
            else:
                passed.append(unit)
        self._waiting.extendleft(reversed(passed))
        return units

    async def _run(self, units: list[_Unit]) -> None:
        start, count = time.monotonic(), sum(len(u.rows) for u in units)
        spare = 4 * len(units).bit_length()  # calls that looking for the rows at fault may cost
        try:
            for unit, scores in zip(units, (await self._attempt(units, spare))[0], strict=True):
                self._settle(unit, scores)
        except asyncio.CancelledError:
            for unit in units:
                self._settle(unit, [Score(None, "closed", "the scoring was closed before an answer")] * len(unit.rows))
        took = (time.monotonic() - start) / count / self.concurrency
        self._pace += 0.2 * (took - self._pace) if self._pace else took

    async def _attempt(self, units: list[_Unit], spare: int) -> tuple[list[list[Score]], int]:
        """The scores of each unit, and how many further calls may be made to find the ones at fault."""
        rows = [row for unit in units for row in unit.rows]
        try:
            scores = await self._call(rows)
        except NotScored as error:
            if len(units) > 1 and spare >= 2 and error.reason not in ("timeout", "stuck"):
                middle = len(units) // 2
                first, spare = await self._attempt(units[:middle], spare - 2)
                second, spare = await self._attempt(units[middle:], spare)
                return first + second, spare
            scores = [Score(None, error.reason, error.detail)] * len(rows)
        ends = [0]
        for unit in units:
            ends.append(ends[-1] + len(unit.rows))
        return [scores[a:b] for a, b in itertools.pairwise(ends)], spare

    async def _call(self, rows: list[Row]) -> list[Score]:
        """One call of the scorer. Raises NotScored."""
        self.counts["calls"] += 1
        if self._pool:
            pool, timeout = self._pool, self.timeout
            return await in_thread(lambda: pool.score(rows, timeout))[0]
        try:
            if self.scorer.awaits:
                task = self._loop.create_task(_guarded(self.scorer.call(rows)))
            else:
                if len(self._stuck) >= MOST_STUCK:
                    cure = "use workers, whose processes can be ended"
                    raise NotScored("stuck", f"{MOST_STUCK} calls have not returned; {cure}")
                task, thread = in_thread(lambda: self.scorer.call(rows))
            done, _ = await asyncio.wait({task}, timeout=self.timeout)
            if not done:
                if self.scorer.awaits:
                    task.cancel()  # and is not waited for: it may refuse
                else:
                    self._stuck.add(thread)
                    task.add_done_callback(lambda _: self._stuck.discard(thread))
                raise NotScored("timeout", f"no answer in {self.timeout:g} s")
            return self.scorer.read(task.result(), len(rows))
        except NotScored:
            raise
        except Exception as error:
            raise NotScored("raised", said(error)) from error

    def _settle(self, unit: _Unit, scores: list[Score]) -> None:
        call = unit.call
        for i, score in zip(unit.indices, scores, strict=True):
            call.scores[i] = score
            self.counts[score.reason or "scored"] += 1
        with self._lock:
            self.rows_inside -= len(scores)
        call.left -= 1
        if not call.left:
            call.future.set_result(call.scores)  # type: ignore[arg-type]

    async def _finish(self, grace: float) -> None:
        end = time.monotonic() + grace
        while (self._tasks or self._waiting) and (left := end - time.monotonic()) > 0:
            await asyncio.wait(self._tasks or {asyncio.ensure_future(asyncio.sleep(0.01))}, timeout=left)
        failed = [Score(None, "closed", "the scoring was closed before its turn")]
        while self._waiting:
            unit = self._waiting.popleft()
            self._settle(unit, failed * len(unit.rows))
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)


@dataclass
class _Call:
    """One `submit`."""

    future: concurrent.futures.Future[list[Score]]
    scores: list[Score | None]
    left: int  # units without an outcome


@dataclass
class _Unit:
    """Rows of one call that go together."""

    call: _Call
    indices: list[int]
    rows: list[Row]
    columns: frozenset[str]
    since: float


async def _guarded(made: Any) -> Any:
    """What the scorer's coroutine returns; an exit is an error like others, it would end the loop."""
    try:
        return await made
    except (SystemExit, KeyboardInterrupt) as error:
        raise NotScored("raised", said(error)) from None
