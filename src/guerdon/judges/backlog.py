"""What was asked for and what became of it: the annotator's bookkeeping, without processes, threads or clocks."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from itertools import islice, takewhile
from typing import Any

import numpy as np

from guerdon.types import Item, Label

LASTING = frozenset({"unparseable", "refused"})
"""Reasons that would only come again. After any other (a time-out, say) an item may be asked once more."""

TRIES = 3
"""How often an item is asked about whose answers fail for passing reasons."""

COUNTED = ("labelled", "from_store", "dropped", "failed", "unparseable", "restarts", "judge_down", "store_down")


def is_known(label: Label) -> bool:
    """Whether there is no use in asking again."""
    return label.value is not None or label.reason in LASTING


class Backlog:
    """Items on their way from `add` through `take` and `receive` to `collect`, each under way only once.

    Args:
        capacity: items that may wait (with `delay_steps`: be owed); beyond it the oldest are dropped and counted.
        newest_first: `take` gives what was seen last first; else the oldest.
        delay_steps: `collect` owes what was added at step s at step s + `delay_steps`, in the order of adding.
    """

    def __init__(self, *, capacity: int, newest_first: bool, delay_steps: int | None = None) -> None:
        self.capacity, self.newest_first, self.delay_steps = capacity, newest_first, delay_steps
        self.labelled: dict[Item, float | None] = {}  # every item with an answer; None where there is only a reason
        # An item is in one of these two, with the time of its first sight, until it is answered.
        self.waiting: OrderedDict[Item, float] = OrderedDict()  # newest last
        self.in_flight: dict[Item, float] = {}
        self.held: dict[Item, Label] = {}  # in flight, and paid for, but not in the store yet
        self.ready: list[Label] = []
        self.due: OrderedDict[Item, int] = OrderedDict()  # with `delay_steps`: what is owed, and at which step
        self.answers: dict[Item, Label] = {}  # with `delay_steps`: what has come before its step
        self.step = 0
        self.abandoned = False  # nothing will be answered any more
        self.tries: Counter[Item] = Counter()
        self.totals: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.delays: deque[float] = deque(maxlen=4096)

    def add(self, items: Iterable[Item], now: float) -> None:
        """Takes in what was seen, newest last, but for what is known, waiting or under way."""
        for item in items:
            if item in self.labelled or item in self.due:
                continue
            if self.delay_steps is not None:
                self.due[item] = self.step + self.delay_steps
            if item in self.in_flight or item in self.answers:
                continue
            if item not in self.waiting:
                self.waiting[item] = now
            elif self.newest_first:
                self.waiting.move_to_end(item)  # seen again: it matters to the policy of now
        self._drop()

    def _drop(self) -> None:
        # With `delay_steps` the bound is on all that is owed, so that what is dropped does not depend on time.
        owed = self.waiting if self.delay_steps is None else self.due
        if self.abandoned:
            lost = [item for item in owed if item not in self.answers]
        else:
            lost = list(islice(owed, max(0, len(owed) - self.capacity)))
        for item in lost:
            del owed[item]
            self.waiting.pop(item, None)
            self.answers.pop(item, None)
        self.totals["dropped"] += len(lost)

    def abandon(self) -> None:
        """Drops all that will not be answered, now and from now on."""
        self.abandoned = True
        self._drop()

    def take(self, size: int) -> list[Item]:
        """Up to `size` items to ask about, which are in flight from now on."""
        size = min(size, len(self.waiting))
        taken = dict(self.waiting.popitem(last=self.newest_first) for _ in range(size))
        self.in_flight |= taken
        return list(taken)

    def take_back(self) -> None:
        """What is in flight waits again, first in turn. What is held stays in flight."""
        again = [entry for entry in self.in_flight.items() if entry[0] not in self.held]
        for item, first in reversed(again):
            del self.in_flight[item]
            self.waiting[item] = first
            self.waiting.move_to_end(item, last=self.newest_first)

    def receive(self, labels: Iterable[Label], *, from_store: bool, now: float) -> None:
        """Answers to what is in flight; any other is ignored."""
        for label in labels:
            self.held.pop(label.item, None)
            if (first := self.in_flight.pop(label.item, None)) is None:
                continue
            self.delays.append(now - first)
            self.totals["labelled" if label.value is not None else "failed"] += 1
            self.totals["from_store"] += from_store
            self.totals["unparseable"] += label.reason == "unparseable"
            if self.delay_steps is None:
                self._deliver(label)
            elif label.item in self.due:  # else dropped meanwhile
                self.answers[label.item] = label

    def _deliver(self, label: Label) -> None:
        self.tries[label.item] += 1
        if is_known(label) or self.tries[label.item] >= TRIES:
            self.labelled[label.item] = label.value
            del self.tries[label.item]
        self.ready.append(label)

    def is_short(self) -> bool:
        """Whether an answer that is owed by now has not come."""
        return any(item not in self.answers for item in self._owed_now())

    def _owed_now(self) -> list[Item]:
        return list(takewhile(lambda item: self.due[item] <= self.step, self.due))

    def collect(self) -> list[Label]:
        """What came since the last call; with `delay_steps` what is owed by now, as far as it came."""
        for item in self._owed_now():
            if item in self.answers:
                del self.due[item]
                self._deliver(self.answers.pop(item))
        labels, self.ready = self.ready, []
        return labels

    def counters(self) -> dict[str, float]:
        """Items in each place, totals, and seconds from first sight to answer of the last 4096."""
        seconds = np.array(self.delays or [0.0])
        return {
            "waiting": len(self.waiting),
            "in_flight": len(self.in_flight),
            **self.totals,
            "seconds_median": float(np.median(seconds)),
            "seconds_p90": float(np.quantile(seconds, 0.9)),
        }

    def state_dict(self) -> dict[str, Any]:
        """Plain values. What is in flight is saved as waiting, what is held as held."""
        asked = [item for item in self.in_flight if item not in self.held]
        again = [*self.waiting, *reversed(asked)] if self.newest_first else [*asked, *self.waiting]
        return {
            "waiting": again,
            "held": [tuple(label) for label in self.held.values()],
            "ready": [tuple(label) for label in [*self.ready, *self.answers.values()]],
            "labelled": list(self.labelled.items()),
            "due": list(self.due.items()),
            "step": self.step,
            "tries": list(self.tries.items()),
            "totals": dict(self.totals),
        }

    def load_state_dict(self, state: dict[str, Any], now: float) -> None:
        """Goes on from `state_dict`; what waited counts as seen `now`."""
        self.waiting = OrderedDict.fromkeys(state["waiting"], now)
        self.held = {row[0]: Label(*row) for row in state["held"]}
        self.in_flight = dict.fromkeys(self.held, now)
        ready = [Label(*row) for row in state["ready"]]
        self.due, self.step = OrderedDict(state["due"]), state["step"]
        if self.delay_steps is None:
            self.ready = ready
        else:
            self.answers = {label.item: label for label in ready}
        self.labelled = dict(state["labelled"])
        self.tries, self.totals = Counter(dict(state["tries"])), Counter(state["totals"])
