"""Labels while training goes on: captions go out, labels come in, and the learner never waits."""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from multiprocessing import Pipe, get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from guerdon.judges.annotator_process import Orders, main
from guerdon.judges.backlog import Backlog
from guerdon.judges.store import LabelStore
from guerdon.types import Item, Judge, Label

log = logging.getLogger(__name__)


class AnnotatorFailed(RuntimeError):
    """The judge's process died more often than allowed."""


class Annotator:
    """Has items judged by another process, newest first, without ever blocking the learner.

    Items are looked up in the store first, so that nothing is paid for twice, by this run or another; answers are
    written to the store before they are delivered. A judge whose server is down is asked again ever more slowly; a
    process that dies is started again, and what it was busy with is asked again. While the store is down, answers are
    held, and written when it is back.

    Args:
        judge: who answers; it is pickled and lives in the other process.
        store: a `LabelStore`, or what it is made from; None keeps labels in this run only.
        capacity: items that may wait; beyond it the oldest are dropped, counted, and may be submitted again.
        batch: items a call of the judge.
        concurrency: batches under way at once.
        order: "lifo" takes what was seen last first (what the policy of now sees); "fifo" the oldest.
        max_restarts: deaths of the judge's process within an hour that are forgiven.
        on_failure: at one death more, "stop" (`poll` raises AnnotatorFailed) or "continue" without new labels.
        delay_steps: makes a run repeatable: the labels of what was submitted at step s are delivered at step s +
            `delay_steps`, in the order of submission, however fast the judge is; `poll` waits for them if need be.
        lease: seconds for which other learners on the store leave an item to us, unless it is prolonged.
        backoff: first and longest wait, in seconds, when a server does not answer.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        store: LabelStore | str | os.PathLike[str] | None = None,
        capacity: int = 10_000,
        batch: int = 100,
        concurrency: int = 2,
        order: Literal["lifo", "fifo"] = "lifo",
        max_restarts: int = 3,
        on_failure: Literal["stop", "continue"] = "stop",
        delay_steps: int | None = None,
        lease: float = 60.0,
        backoff: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        if order not in ("lifo", "fifo") or on_failure not in ("stop", "continue"):
            raise ValueError(f"order is lifo or fifo, on_failure stop or continue; got {order!r} and {on_failure!r}")
        if min(capacity, batch, concurrency) < 1 or max_restarts < 0 or (delay_steps or 0) < 0:
            raise ValueError("capacity, batch and concurrency are at least 1, max_restarts and delay_steps at least 0")
        self.judge, self.store = judge, store
        self.batch, self.concurrency, self.delay_steps = batch, concurrency, delay_steps
        self.max_restarts, self.on_failure = max_restarts, on_failure
        self.lease, self.backoff = lease, backoff
        self.owner = uuid.uuid4().hex
        # Below: shared with the thread, under `_news`.
        self._news = threading.Condition()
        newest_first = order == "lifo" and delay_steps is None
        self._backlog = Backlog(capacity=capacity, newest_first=newest_first, delay_steps=delay_steps)
        self._batches: set[int] = set()
        self._judge_before: Counter[str] = Counter()  # counters of processes that are gone, and of the present one
        self._judge_now: dict[str, float] = {}
        self._failure: str | None = None
        self._closing, self._deadline = False, 0.0
        self._thread: threading.Thread | None = None
        self._numbers = count(1)

    def start(self) -> Annotator:
        """Opens the store and starts the judge's process, if they are not yet; `submit` does it otherwise."""
        if self._thread is None and not self._closing:
            if self.store is not None and not isinstance(self.store, LabelStore):
                self.store = LabelStore(self.store)
            try:
                pickled = pickle.dumps(self.judge)
            except Exception as error:
                raise TypeError(f"judge {self.judge.name} cannot be sent to its process: {error}") from error
            url = self.store.url if self.store is not None else None
            orders = Orders(pickled, url, self.owner, self.lease, self.backoff, os.getpid())
            self._bell_out, self._bell = os.pipe()
            os.set_blocking(self._bell, False)
            self._thread = threading.Thread(target=self._run, args=(orders,), name="annotator", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        return self

    def submit(self, items: Iterable[Item]) -> None:
        """Hands in what was seen, newest last. What is known, waiting or under way already is not asked again."""
        with self._news:
            if self._closing:
                raise RuntimeError("this annotator is closed")
            self._backlog.add(items, time.monotonic())
        if self._backlog.waiting and not self._failure:
            self.start()
            self._ring()

    def poll(self) -> list[Label]:
        """Labels, and reasons why there are none, that came since the last call. Waits only with `delay_steps`.

        Raises:
            AnnotatorFailed: the judge's process died too often; once all labels that had come are delivered.
        """
        with self._news:
            while self._backlog.is_short() and not (self._failure or self._closing):
                self._news.wait(1.0)
            labels = self._backlog.collect()
            if self._failure and not labels and self.on_failure == "stop":
                raise AnnotatorFailed(self._failure)
        return labels

    def step(self) -> None:
        """Ends a learner step; only `delay_steps` counts them."""
        with self._news:
            self._backlog.step += 1

    def drain(self, timeout: float | None = None) -> bool:
        """Waits until nothing waits or is under way, or the judge has failed; False if it takes longer than that."""

        def done() -> bool:
            return bool(self._failure) or not (self._backlog.waiting or self._backlog.in_flight)

        with self._news:
            return self._news.wait_for(done, timeout)

    @property
    def labelled(self) -> dict[Item, float | None]:
        """Every item with an answer so far: its value, or None where there is only a reason."""
        return self._backlog.labelled

    def counters(self) -> dict[str, float]:
        """For logs: items waiting and so on, seconds from first sight to label of the last 4096, the judge's own."""
        with self._news:
            return self._backlog.counters() | self._judge_counters()

    def _judge_counters(self) -> dict[str, float]:
        total = self._judge_before.copy()
        total.update(self._judge_now)  # adds
        return dict(total)

    def close(self, timeout: float = 10.0) -> None:
        """Ends the process; labels it has are written first. What waited stays in `state_dict`."""
        with self._news:
            self._closing, self._deadline = True, time.monotonic() + timeout
            self._news.notify_all()
        if self._thread is not None:
            self._ring()
            self._thread.join(timeout + 5.0)
            os.close(self._bell)
            os.close(self._bell_out)
            self._thread = None
        atexit.unregister(self.close)

    def __enter__(self) -> Annotator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """Plain values: what waits, is under way, came and was delivered, so that a resumed run loses no label."""
        with self._news:
            return self._backlog.state_dict() | {"owner": self.owner, "judge": self._judge_counters()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`, before the first `submit`."""
        if self._thread is not None:
            raise RuntimeError("load the annotator's state before it starts")
        self._backlog.load_state_dict(state, time.monotonic())
        self.owner = state["owner"]  # so that claims of the run that was interrupted are ours
        self._judge_before = Counter(state["judge"])
        if self._backlog.waiting or self._backlog.held:
            self.start()

    def _ring(self) -> None:
        """Wakes the thread. A full pipe is as good as one more byte."""
        with suppress(BlockingIOError):
            os.write(self._bell, b"!")

    # The thread: it alone talks to the judge's process.

    def _run(self, orders: Orders) -> None:
        """Keeps a judge's process at work until closed, or until it died too often."""
        deaths: list[float] = []
        while not self._closing:
            try:
                last, fatal = self._serve(orders)
            except Exception as error:  # a fault of ours: the learner must hear of it, and not wait for ever
                log.exception("the annotator's thread failed")
                last, fatal = repr(error), True
            if self._closing:
                return
            now = time.monotonic()
            deaths = [at for at in deaths if at > now - 3600] + [now]
            with self._news:
                self._backlog.take_back()
                self._batches.clear()
                self._judge_before.update(self._judge_now)
                self._judge_now = {}
                if fatal or len(deaths) > self.max_restarts:
                    self._give_up(last if fatal else f"died {len(deaths)} times within an hour, last of: {last}")
                    return
                self._backlog.totals["restarts"] += 1
                log.warning("the process of judge %s died (%s) and is started again", self.judge.name, last)
                pause = min(self.backoff[1], self.backoff[0] * (2 ** (len(deaths) - 1) - 1))  # the first time none
                self._news.wait_for(lambda: self._closing, pause)

    def _serve(self, orders: Orders) -> tuple[str, bool]:
        """One life of the judge's process; returns what it died of, and whether another life would be of no use."""
        here, there = Pipe()
        process = get_context("spawn").Process(target=main, args=(there, orders), name="guerdon-judge", daemon=True)
        last, fatal, up = "no word; killed?", False, False
        try:
            resource_tracker.ensure_running()  # which unblocks SIGINT, so it goes first
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C while it starts hits only us
            process.start()
            there.close()
            with self._news:
                held = list(self._backlog.held.values())
            if held:
                here.send((self._new_batch(), [], held))
            while not self._closing:
                for batch in self._take():
                    here.send(batch)
                stirring = wait([here, process.sentinel, self._bell_out])
                if self._bell_out in stirring:
                    os.read(self._bell_out, 4096)
                if here in stirring:
                    kind, *rest = self._hear(here)
                    up = True
                    if kind == "failed":
                        last, fatal = rest
                elif process.sentinel in stirring:
                    break
            if self._closing and up:  # before it is up it has nothing to write
                here.send(None)
                while here.poll(max(0.0, self._deadline - time.monotonic())) and self._hear(here)[0] != "closed":
                    pass
                process.join(1.0)
        except (EOFError, OSError) as error:
            last = last if process.pid else f"it cannot be started: {error}"
        finally:
            if process.pid:
                process.kill()
                process.join()
            here.close()
            there.close()
        return last, fatal

    def _new_batch(self) -> int:
        self._batches.add(number := next(self._numbers))
        return number

    def _take(self) -> list[tuple[int, list[Item], list[Label]]]:
        """Batches for the process, as many as may be under way."""
        batches = []
        with self._news:
            # Items that another learner asks are in flight without a batch: they may be some, but not ever more.
            limit = 10 * self.concurrency * self.batch
            while len(self._batches) < self.concurrency and len(self._backlog.in_flight) < limit:
                if not (items := self._backlog.take(self.batch)):
                    break
                batches.append((self._new_batch(), items, []))
        return batches

    def _give_up(self, why: str) -> None:
        where = f"; the labels so far are in {self.store.shown}" if isinstance(self.store, LabelStore) else ""
        self._failure = (
            f"judge {self.judge.name} failed: {why}{where}. Mend it and resume, or train on without new labels "
            f'(on_failure="continue")'
        )
        log.error(self._failure)
        if self.on_failure == "continue":
            self._backlog.abandon()
        self._news.notify_all()

    def _hear(self, connection: Connection) -> tuple[Any, ...]:
        """Takes in one message of the judge's process."""
        counters, kind, *rest = connection.recv()
        with self._news:
            self._judge_now = counters or self._judge_now
            if kind == "labels":
                labels, from_store = rest
                self._backlog.receive(labels, from_store=from_store, now=time.monotonic())
                self._news.notify_all()
            elif kind == "done":
                self._batches.discard(rest[0])
            elif kind == "held":
                self._backlog.held.update((label.item, label) for label in rest[0])
            elif kind == "down":
                self._backlog.totals[f"{rest[0]}_down"] += 1
                log.warning("the %s is down, and is tried again: %s", *rest)
        return kind, *rest
