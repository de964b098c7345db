"""What a store keeps, in both databases: every test here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import postgres  # noqa: F401

from guerdon.judges.store import LabelStore
from guerdon.types import SECOND, Item, Label

KEY = ("judge", "prompt-1")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "deep" / "labels.sqlite")
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def store(url: str) -> LabelStore:
    return LabelStore(url)


def label(item: Item, value: float | None = 1.0, reason: str | None = None, key: tuple[str, str] = KEY) -> Label:
    return Label(item, value, reason, *key)


def the(store: LabelStore, item: Item, key: tuple[str, str] = KEY) -> Label:
    return store.get([item], *key)[item]


ODD = ["", "\0", "a\0b", "You kill the \xffnewt\xe9!", "\ud800 half a pair", "100%_'\"\\", '["a", "b"]', "x" * 100_000]


def test_any_text_and_any_pair_comes_back_as_it_was(store: LabelStore) -> None:
    items: list[Item] = [*ODD, ("a", "b"), ("b", "a"), ("", ""), ("a", ""), ("\0", "\ud800")]
    labels = [label(item, float(i % 2)) for i, item in enumerate(items)]
    store.put(labels)
    assert store.get(items, *KEY) == {row.item: row for row in labels}
    assert sorted(map(repr, (row.label for row in store.rows()))) == sorted(map(repr, labels))


def test_any_text_hypothesis(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.sqlite")
    text = st.text(st.characters(), max_size=300)

    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.one_of(text, st.tuples(text, text)), unique=True, max_size=5))
    def check(items: list[Item]) -> None:
        store.put([label(item) for item in items])
        assert set(store.get(items, *KEY)) == set(items)

    check()


def test_unknown_items_are_not_in_the_answer(store: LabelStore) -> None:
    assert store.get(["a"], *KEY) == {}
    store.put([label("a")])
    assert list(store.get(["a", "b"], *KEY)) == ["a"]
    assert store.get([], *KEY) == {}
    store.put([])
    assert store.count() == 1


def test_many_items_in_one_call(store: LabelStore) -> None:
    items = [f"caption {i}" for i in range(2_345)]
    store.put([label(item, i % 7 / 7) for i, item in enumerate(items)])
    found = store.get([*items, *(f"not {item}" for item in items)], *KEY)
    assert [found[item].value for item in items] == [i % 7 / 7 for i in range(2_345)]
    assert len(found) == store.count() == 2_345


def test_judge_and_prompt_version_are_part_of_the_key(store: LabelStore) -> None:
    for value, key in enumerate([("a", "1"), ("a", "2"), ("b", "1")]):
        store.put([label("You see a door.", value / 2, key=key)])
    assert the(store, "You see a door.", ("a", "2")).value == 0.5
    assert store.get(["You see a door."], "b", "2") == {}


def test_writing_again_changes_nothing_and_the_newer_label_stays(store: LabelStore) -> None:
    rows = [label("a", 0.0), label("b", None, "unparseable")]
    store.put(rows)
    store.put(rows)
    assert store.count() == 2
    store.put([label("a", 1.0), label("b", 1.0)])
    assert [the(store, "a").value, the(store, "b").value] == [1.0, 1.0]
    assert the(store, "b").reason is None


def test_a_reason_never_overwrites_a_label(store: LabelStore) -> None:
    store.put([label("a", 1.0)])
    store.put([label("a", None, "timeout\0")])
    assert the(store, "a") == label("a", 1.0)


@pytest.mark.parametrize("hand_first", [True, False])
def test_a_label_by_hand_stays(store: LabelStore, hand_first: bool) -> None:
    def by_hand() -> None:
        store.put([label("a", 0.25)], hand=True)

    if hand_first:
        by_hand()
    store.put([label("a", 1.0)])
    if not hand_first:
        by_hand()
    store.put([label("a", 1.0), label("a", None, "unparseable")])
    assert the(store, "a").value == 0.25
    assert [row.hand for row in store.rows()] == [True]
    store.put([label("a", 0.75)], hand=True)
    assert the(store, "a").value == 0.75


def test_a_claim_is_exclusive_until_it_is_given_up_or_runs_out(store: LabelStore) -> None:
    assert store.claim(["a", "b"], *KEY, owner="one") == ["a", "b"]
    assert store.claim(["b", "c"], *KEY, owner="two") == ["c"]
    assert store.claim(["a"], *KEY, owner="one") == ["a"]  # prolongs
    assert store.claim(["a"], "judge", "prompt-2", owner="two") == ["a"]  # another question
    store.release(["a", "c"], *KEY, owner="one")  # c is not one's to give up
    assert store.claim(["a", "c"], *KEY, owner="three") == ["a"]
    store.claim(["d"], *KEY, owner="one", seconds=-1)  # a crashed owner's, some time later
    assert store.claim(["d"], *KEY, owner="two") == ["d"]
    assert store.claim(["d"], *KEY, owner="one") == []


def test_rows_and_tallies(store: LabelStore) -> None:
    began = time.time()
    store.put([label("You see here 100% gold.", 1.0), label("It is DARK here: \xe9", 0.0), label("x", None, "refused")])
    store.put([label(("a", "b"), SECOND, key=("other", "rank"))])
    store.put([label("x", 0.5)], hand=True)
    texts = {row.label.item for row in store.rows(contains="100%")}
    assert texts == {"You see here 100% gold."}
    assert [row.label.item for row in store.rows(contains="dark HERE: \xe9")] == ["It is DARK here: \xe9"]
    assert [row.label.item for row in store.rows(judge="other")] == [("a", "b")]
    assert [row.label.item for row in store.rows(prompt="none")] == []
    newest = next(iter(store.rows(newest_first=True)))
    assert newest.label.item == "x"
    assert newest.hand
    assert began <= newest.time <= time.time()
    assert list(store.rows(unlabelled=True)) == []
    one, two = store.tallies()
    assert (one.judge, one.captions, one.pairs, one.helpful, one.unlabelled, one.by_hand) == ("judge", 3, 0, 0.5, 0, 1)
    assert (two.judge, two.captions, two.pairs, two.helpful, two.by_hand) == ("other", 0, 1, None, 0)


def test_export_and_import(store: LabelStore, tmp_path: Path) -> None:
    """Between any two databases; hand over judge and newer over older, as with `put`."""
    items: list[Item] = [*ODD, ("a", "b")]
    store.put([label(item) for item in items])
    store.put([label("", 0.5)], hand=True)
    file = tmp_path / "labels.jsonl"
    assert store.export(file) == len(items)
    other = LabelStore(tmp_path / "other.sqlite")
    other.put([label("\0", 0.0), label("own", 0.0), label("", 0.0)])  # newer than what is imported
    assert other.import_file(file) == other.import_file(file) == len(items)
    assert other.count() == len(items) + 1
    assert [the(other, item).value for item in ("\0", "own", "", ("a", "b"))] == [0.0, 0.0, 0.5, 1.0]
    other.export(tmp_path / "back.jsonl")
    assert store.import_file(tmp_path / "back.jsonl") == len(items) + 1
    assert {row[:3] for row in map(tuple, store.rows())} == {row[:3] for row in map(tuple, other.rows())}


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"item": "a"}', '{"item": ["a"], "value": 1, "time": 0, "source": "judge"}']
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    good = {"item": "a", "value": 1.0, "time": 0.0, "source": "judge", "judge": "j", "prompt": "p"}
    file = tmp_path / "labels.jsonl"
    file.write_text(f"{json.dumps(good)}\n{line}\n")
    with pytest.raises(ValueError, match=r"labels\.jsonl, line 2"):
        LabelStore(tmp_path / "labels.sqlite").import_file(file)


def _write_many(url: str, first: int, go: Barrier) -> None:
    go.wait(120)
    store = LabelStore(url)
    for start in range(first, first + 1000, 50):
        store.put([label(f"caption {i}") for i in range(start, start + 50)])


def test_two_processes_write_at_once(url: str) -> None:
    """They make the tables at the same time, and half of what they write is the same."""
    context = multiprocessing.get_context("spawn")
    go = context.Barrier(2)
    other = context.Process(target=_write_many, args=(url, 0, go))
    other.start()
    _write_many(url, 500, go)
    other.join(60)
    assert other.exitcode == 0
    assert LabelStore(url).count() == 1500
