"""The annotator's bookkeeping: whatever happens in whatever order, nothing is lost, or twice on its way."""

from __future__ import annotations

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.judges.backlog import TRIES, Backlog
from guerdon.types import Label

ITEMS = [f"caption {i}" for i in range(12)]
CAPACITY = 5

moves = st.one_of(
    st.tuples(st.just("add"), st.lists(st.sampled_from(ITEMS), max_size=8)),
    st.tuples(st.just("take"), st.integers(0, 4)),
    st.tuples(st.just("answer"), st.integers(0, 4)),
    st.tuples(st.just("fail"), st.integers(0, 2)),
    st.tuples(st.just("die"), st.none()),
    st.tuples(st.just("collect"), st.none()),
    st.tuples(st.just("resume"), st.none()),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(moves, max_size=40), st.booleans(), st.sampled_from([None, 0, 2]))
def test_nothing_is_lost(script: list, newest_first: bool, delay_steps: int | None) -> None:
    def make() -> Backlog:
        return Backlog(capacity=CAPACITY, newest_first=newest_first, delay_steps=delay_steps)

    backlog = make()
    seen: set[str] = set()
    collected: list[Label] = []
    for now, (move, value) in enumerate(script):
        if move == "add":
            seen.update(value)
            backlog.add(value, now)
            assert len(backlog.waiting if delay_steps is None else backlog.due) <= CAPACITY
        elif move == "take":
            assert len(backlog.take(value)) <= value
        elif move in ("answer", "fail"):
            chosen = list(backlog.in_flight)[:value]
            answers = [Label(item, 1.0) if move == "answer" else Label(item, None, "timeout") for item in chosen]
            backlog.receive(answers * 2, from_store=False, now=now)  # what comes twice counts once
        elif move == "die":
            backlog.take_back()
            assert not backlog.in_flight
        elif move == "collect":
            collected += backlog.collect()
            backlog.step += 1
        else:
            saved = pickle.dumps(backlog.state_dict())
            backlog = make()
            backlog.load_state_dict(pickle.loads(saved), now)
            assert not backlog.in_flight
        under_way = [*backlog.waiting, *backlog.in_flight, *backlog.answers]
        assert len(under_way) == len(set(under_way))  # nowhere twice
        came = [label.item for label in [*collected, *backlog.ready]]
        assert all(came.count(item) == 1 or backlog.totals["failed"] for item in backlog.labelled)
        assert all(came.count(item) <= TRIES for item in came)
        lost = seen - set(came) - set(under_way)
        assert len(lost) <= backlog.totals["dropped"]
    backlog.capacity = len(ITEMS)
    backlog.take_back()
    for _ in range(2):  # once more for answers that have failed, and were owed still
        backlog.add(ITEMS, 0)  # what was dropped may come again, and all is answered in the end
        backlog.take(len(ITEMS))
        backlog.receive([Label(item, 1.0) for item in list(backlog.in_flight)], from_store=False, now=0)
        backlog.step += 3
        assert not backlog.is_short()
        collected += backlog.collect()
    assert set(backlog.labelled) == set(ITEMS) == {label.item for label in collected}


def test_a_process_that_dies_gives_back_in_turn() -> None:
    for newest_first, turn in ((True, ["d", "c", "b", "a"]), (False, ["a", "b", "c", "d"])):
        backlog = Backlog(capacity=9, newest_first=newest_first)
        backlog.add("abcd", 0)
        assert backlog.take(2) == turn[:2]
        backlog.take_back()
        restored = Backlog(capacity=9, newest_first=newest_first)
        backlog.take(2)
        restored.load_state_dict(backlog.state_dict(), 0)
        backlog.take_back()
        assert backlog.take(9) == restored.take(9) == turn


def test_abandoned() -> None:
    backlog = Backlog(capacity=9, newest_first=True, delay_steps=0)
    backlog.add("abc", 0)
    backlog.take(3)
    backlog.receive([Label("b", 1.0)], from_store=False, now=0)
    backlog.abandon()
    backlog.add("d", 0)
    assert backlog.collect() == [Label("b", 1.0)]
    assert backlog.counters()["dropped"] == 3
    assert not backlog.waiting
