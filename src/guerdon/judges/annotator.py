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
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import count, islice, takewhile
from multiprocessing import Pipe, get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

import numpy as np

from guerdon.judges.annotator_process import Orders, is_known, main
from guerdon.judges.store import LabelStore
from guerdon.types import Item, Judge, Label

log = logging.getLogger(__name__)

TRIES = 3
"""How often an item is asked about whose answers fail for passing reasons."""

_COUNTED = ("labelled", "from_store", "dropped", "failed", "unparseable", "restarts", "judge_down", "store_down")


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
        self.capacity, self.batch, self.concurrency = capacity, batch, concurrency
        self.max_restarts, self.on_failure, self.delay_steps = max_restarts, on_failure, delay_steps
        self.newest_first = order == "lifo" and delay_steps is None
        self.lease, self.backoff = lease, backoff
        self.owner = uuid.uuid4().hex
        self.labelled: dict[Item, float | None] = {}  # every item with an answer; None where there is only a reason
        # Below: shared with the thread, under `_news`. An item is in one of waiting, in flight and ready; its time is
        # that of its first sight.
        self._news = threading.Condition()
        self._waiting: OrderedDict[Item, float] = OrderedDict()  # newest last
        self._in_flight: dict[Item, float] = {}
        self._held: dict[Item, Label] = {}  # paid for and in flight, but not in the store yet
        self._ready: list[Label] = []
        self._batches: set[int] = set()
        self._due: OrderedDict[Item, int] = OrderedDict()  # with `delay_steps`: what is owed, and at which step
        self._answers: dict[Item, Label] = {}  # with `delay_steps`: what has come before its step
        self._step = 0
        self._tries: Counter[Item] = Counter()
        self._totals: Counter[str] = Counter()
        self._delays: deque[float] = deque(maxlen=4096)
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
        now = time.monotonic()
        with self._news:
            if self._closing:
                raise RuntimeError("this annotator is closed")
            for item in items:
                if item in self.labelled:
                    continue
                if self.delay_steps is not None:
                    if item in self._due:
                        continue
                    self._due[item] = self._step + self.delay_steps
                if item in self._in_flight or item in self._answers:
                    continue
                if item not in self._waiting:
                    self._waiting[item] = now
                elif self.newest_first:
                    self._waiting.move_to_end(item)  # seen again: it matters to the policy of now
            self._drop()
        if self._failure is None and self._waiting:
            self.start()
            self._ring()

    def _drop(self) -> None:
        """Forgets the oldest beyond capacity. With `delay_steps` that is of all owed, so as not to depend on time.

        When the judge has failed and training goes on, it forgets all that will not be answered any more.
        """
        owed = self._waiting if self.delay_steps is None else self._due
        if self._failure and self.on_failure == "continue":
            lost = [item for item in owed if item not in self._answers]
        else:
            lost = list(islice(owed, max(0, len(owed) - self.capacity)))
        for item in lost:
            del owed[item]
            self._waiting.pop(item, None)
            self._answers.pop(item, None)
        self._totals["dropped"] += len(lost)

    def poll(self) -> list[Label]:
        """Labels, and reasons why there are none, that came since the last call. Waits only with `delay_steps`.

        Raises:
            AnnotatorFailed: the judge's process died too often; once all labels that had come are delivered.
        """
        with self._news:
            if self.delay_steps is not None:
                now_due = list(takewhile(lambda item: self._due[item] <= self._step, self._due))
                while not (self._failure or self._closing) and any(item not in self._answers for item in now_due):
                    self._news.wait(1.0)
                for item in now_due:
                    if item in self._answers:
                        del self._due[item]
                        self._deliver(self._answers.pop(item))
            labels, self._ready = self._ready, []
            if self._failure and not labels and self.on_failure == "stop":
                raise AnnotatorFailed(self._failure)
        return labels

    def step(self) -> None:
        """Ends a learner step; only `delay_steps` counts them."""
        with self._news:
            self._step += 1

    def drain(self, timeout: float | None = None) -> bool:
        """Waits until nothing waits or is under way, or the judge has failed; False if it takes longer than that."""

        def done() -> bool:
            return bool(self._failure) or not (self._waiting or self._in_flight)

        with self._news:
            return self._news.wait_for(done, timeout)

    def counters(self) -> dict[str, float]:
        """For logs: items waiting and so on, seconds from first sight to label of the last 4096, the judge's own."""
        with self._news:
            seconds = np.array(self._delays or [0.0])
            return {
                "waiting": len(self._waiting),
                "in_flight": len(self._in_flight),
                **{name: self._totals[name] for name in _COUNTED},
                "seconds_median": float(np.median(seconds)),
                "seconds_p90": float(np.quantile(seconds, 0.9)),
                **self._judge_counters(),
            }

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
            asked = [item for item in self._in_flight if item not in self._held]
            return {
                "owner": self.owner,
                "waiting": [*self._waiting, *reversed(asked)],
                "held": [tuple(label) for label in self._held.values()],
                "ready": [tuple(label) for label in [*self._ready, *self._answers.values()]],
                "labelled": list(self.labelled.items()),
                "due": list(self._due.items()),
                "step": self._step,
                "tries": list(self._tries.items()),
                "totals": dict(self._totals),
                "judge": self._judge_counters(),
            }

    def _judge_counters(self) -> dict[str, float]:
        total = self._judge_before.copy()
        total.update(self._judge_now)  # adds
        return dict(total)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`, before the first `submit`."""
        if self._thread is not None:
            raise RuntimeError("load the annotator's state before it starts")
        now = time.monotonic()
        self.owner = state["owner"]  # so that claims of the run that was interrupted are ours
        self.labelled = dict(state["labelled"])
        self._waiting = OrderedDict((item, now) for item in state["waiting"])
        self._held = {row[0]: Label(*row) for row in state["held"]}
        self._in_flight = dict.fromkeys(self._held, now)
        ready = [Label(*row) for row in state["ready"]]
        self._due, self._step = OrderedDict(state["due"]), state["step"]
        if self.delay_steps is None:
            self._ready = ready
        else:
            self._answers = {label.item: label for label in ready}
        self._tries, self._totals = Counter(dict(state["tries"])), Counter(state["totals"])
        self._judge_before = Counter(state["judge"])
        if self._waiting or self._held:
            self.start()

    def _deliver(self, label: Label) -> None:
        self._tries[label.item] += 1
        if is_known(label) or self._tries[label.item] >= TRIES:
            self.labelled[label.item] = label.value
            del self._tries[label.item]
        self._ready.append(label)

    def _ring(self) -> None:
        """Wakes the thread. A full pipe is as good as one more byte."""
        with suppress(BlockingIOError):
            os.write(self._bell, b"!")

    # The thread: it alone talks to the judge's process.

    def _run(self, orders: Orders) -> None:
        """Keeps a judge's process at work until closed, or until it died too often."""
        deaths: list[float] = []
        while not self._closing:
            last, fatal = self._serve(orders)
            if self._closing:
                return
            now = time.monotonic()
            deaths = [at for at in deaths if at > now - 3600] + [now]
            with self._news:
                self._take_back()
                if fatal or len(deaths) > self.max_restarts:
                    self._give_up(last if fatal else f"died {len(deaths)} times within an hour, last of: {last}")
                    return
                self._totals["restarts"] += 1
                log.warning("the process of judge %s died (%s) and is started again", self.judge.name, last)
                pause = min(self.backoff[1], self.backoff[0] * (2 ** (len(deaths) - 1) - 1))  # the first time none
                self._news.wait_for(lambda: self._closing, pause)

    def _serve(self, orders: Orders) -> tuple[str, bool]:
        """One life of the judge's process; returns what it died of, and whether another life would be of no use."""
        here, there = Pipe()
        process = get_context("spawn").Process(target=main, args=(there, orders), name="guerdon-judge", daemon=True)
        last, fatal = "no word; killed?", False
        try:
            resource_tracker.ensure_running()  # which unblocks SIGINT, so it goes first
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C while it starts hits only us
            process.start()
            there.close()
            with self._news:
                held = list(self._held.values())
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
                    if kind == "failed":
                        last, fatal = rest
                elif process.sentinel in stirring:
                    break
            else:
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
            while self._waiting and len(self._batches) < self.concurrency and len(self._in_flight) < limit:
                size = min(self.batch, len(self._waiting))
                taken = dict(self._waiting.popitem(last=self.newest_first) for _ in range(size))
                self._in_flight |= taken
                batches.append((self._new_batch(), list(taken), []))
        return batches

    def _take_back(self) -> None:
        """What a dead process was busy with waits again, as it did; what it was paid for already is held."""
        again = [(item, first) for item, first in self._in_flight.items() if item not in self._held]
        for item, first in reversed(again) if self.newest_first else again:
            del self._in_flight[item]
            self._waiting[item] = first
        if not self.newest_first:
            for item, _ in reversed(again):
                self._waiting.move_to_end(item, last=False)
        self._batches.clear()
        self._judge_before.update(self._judge_now)
        self._judge_now = {}

    def _give_up(self, why: str) -> None:
        where = f"; the labels so far are in {self.store.shown}" if isinstance(self.store, LabelStore) else ""
        self._failure = (
            f"judge {self.judge.name} failed: {why}{where}. Mend it and resume, or train on without new labels "
            f'(on_failure="continue")'
        )
        log.error(self._failure)
        self._drop()
        self._news.notify_all()

    def _hear(self, connection: Connection) -> tuple[Any, ...]:
        """Takes in one message of the judge's process."""
        counters, kind, *rest = connection.recv()
        with self._news:
            self._judge_now = counters or self._judge_now
            if kind == "labels":
                self._receive(*rest)
                self._news.notify_all()
            elif kind == "done":
                self._batches.discard(rest[0])
            elif kind == "held":
                self._held.update((label.item, label) for label in rest[0])
            elif kind == "down":
                self._totals[f"{rest[0]}_down"] += 1
                log.warning("the %s is down, and is tried again: %s", *rest)
        return kind, *rest

    def _receive(self, labels: list[Label], from_store: bool) -> None:
        now = time.monotonic()
        for label in labels:
            self._held.pop(label.item, None)
            if (first := self._in_flight.pop(label.item, None)) is None:
                continue
            self._delays.append(now - first)
            self._totals["labelled" if label.value is not None else "failed"] += 1
            self._totals["from_store"] += from_store
            self._totals["unparseable"] += label.reason == "unparseable"
            if self.delay_steps is None:
                self._deliver(label)
            elif label.item in self._due:  # else dropped meanwhile
                self._answers[label.item] = label
