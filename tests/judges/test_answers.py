"""What people answer, in both databases."""

from __future__ import annotations

import multiprocessing
import uuid
from collections import Counter
from pathlib import Path

import pytest
from postgres_server import postgres  # noqa: F401

from guerdon.judges.answers import SKIPPED, Answer, Answers
from guerdon.judges.store import LabelStore
from guerdon.types import FIRST, SECOND, TIE, Label

QUESTION = "Which is better?"
ITEMS = [(f"one {i}", f"two {i}") for i in range(4)]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "labels.sqlite")
    return request.getfixturevalue("postgres").database()


def answer(item: tuple[str, str], value: float | None = FIRST, swapped: bool = False) -> Answer:
    return Answer(uuid.uuid4().hex, item, value, swapped, 1.5)


def test_an_answer_is_a_label_by_hand_and_counts_once(url):
    store = LabelStore(url)
    answers = Answers(store, QUESTION)
    given = answer(ITEMS[0], SECOND)
    assert answers.give("Ada", given)
    assert not answers.give("Ada", given)
    assert not answers.give("Ada", given._replace(value=FIRST)), "the first to arrive stays"
    (row,) = store.rows()
    assert row.hand
    assert row.label == Label(ITEMS[0], SECOND, None, "person:Ada", QUESTION)
    store.put([row.label._replace(value=FIRST)])
    assert answers.labels() == {"Ada": {ITEMS[0]: SECOND}}, "no judge overwrites it"
    assert Answers(store, "Which is kinder?").labels() == {}, "another question is another set of labels"


def test_another_answer_to_the_same_pair_takes_the_place_of_the_first(url):
    answers = Answers(LabelStore(url), QUESTION)
    answers.give("Ada", answer(ITEMS[0], SECOND))
    answers.give("Ada", answer(ITEMS[0], None))
    assert answers.labels() == {"Ada": {ITEMS[0]: None}}
    (row,) = answers.store.rows()
    assert row.label.reason == SKIPPED
    assert answers.left_share() == {}


def test_undo_brings_the_pair_back_once_and_only_ones_own(url):
    answers = Answers(LabelStore(url), QUESTION)
    first, second = answer(ITEMS[0]), answer(ITEMS[1], TIE)
    for given in (first, second):
        answers.give("Ada", given)
    assert answers.last("Ada") == second.id
    assert answers.undo("Bo", second.id) is None
    assert answers.undo("Ada", "nothing") is None
    assert answers.undo("Ada", second.id) == ITEMS[1]
    assert answers.undo("Ada", second.id) == ITEMS[1], "sent twice"
    assert answers.last("Ada") == first.id
    assert answers.offer("Ada", ITEMS).item == ITEMS[1]
    assert not answers.give("Ada", second), "an old answer that arrives late does not undo the undoing"
    assert answers.labels() == {"Ada": {ITEMS[0]: FIRST}}
    again = answer(ITEMS[1], FIRST)
    answers.give("Ada", again)
    assert answers.undo("Ada", second.id) == ITEMS[1], "an undoing that arrives late"
    assert answers.labels()["Ada"][ITEMS[1]] == FIRST
    assert answers.last("Ada") == again.id


def test_pairs_go_to_those_who_wait_and_to_nobody_twice(url):
    answers = Answers(LabelStore(url), QUESTION)
    assert answers.offer("Ada", ITEMS).item == ITEMS[0]
    assert answers.offer("Ada", ITEMS).item == ITEMS[0], "a page that is loaded again shows the same"
    assert answers.offer("Bo", ITEMS).item == ITEMS[1]
    answers.give("Ada", answer(ITEMS[0], None))
    assert answers.offer("Ada", ITEMS).item == ITEMS[2]
    assert answers.offer("Cy", ITEMS).item == ITEMS[0], "what one skips others are asked"
    answers.release("Bo")
    assert answers.offer("Dee", ITEMS).item == ITEMS[1]
    assert answers.offer("Bo", ITEMS).item == ITEMS[3]
    assert answers.offer("Eve", ITEMS)[:2] == (None, True)
    for name, item in (("Cy", ITEMS[0]), ("Dee", ITEMS[1]), ("Ada", ITEMS[2]), ("Bo", ITEMS[3])):
        answers.give(name, answer(item))
    assert answers.offer("Eve", ITEMS) == (None, False, 0, 4)
    assert answers.offer("Ada", ITEMS) == (None, False, 2, 4)


def test_a_lease_that_ran_out_blocks_nobody_and_a_late_answer_is_kept(url):
    answers = Answers(LabelStore(url), QUESTION, lease=-1.0)
    assert answers.offer("Ada", ITEMS[:1]).item == ITEMS[0]
    assert answers.offer("Bo", ITEMS[:1]).item == ITEMS[0]
    answers.give("Bo", answer(ITEMS[0]))
    answers.give("Ada", answer(ITEMS[0], TIE))
    assert answers.labels() == {"Ada": {ITEMS[0]: TIE}, "Bo": {ITEMS[0]: FIRST}}


def test_every_pair_gets_as_many_labels_as_are_wanted_fewest_first(url):
    answers = Answers(LabelStore(url), QUESTION, each=2)
    answers.give("Ada", answer(ITEMS[0]))
    assert answers.offer("Bo", ITEMS).item == ITEMS[1]
    answers.give("Bo", answer(ITEMS[1]))
    assert answers.offer("Cy", ITEMS).item == ITEMS[2]
    assert answers.offer("Dee", ITEMS).item == ITEMS[3], "what is being thought about counts as a label to come"
    assert answers.offer("Eve", ITEMS).item == ITEMS[0]
    assert answers.offer("Fay", ITEMS[:1])[:2] == (None, True)


def test_priority_comes_before_the_number_of_labels(url):
    answers = Answers(LabelStore(url), QUESTION, each=2)
    order = [0.1, 0.7, 0.3, 0.7]
    taken = []
    for name in ("Ada", "Bo", "Cy", "Dee"):
        offer = answers.offer(name, ITEMS, order)
        assert offer.item is not None
        answers.give(name, answer(offer.item))
        taken.append(ITEMS.index(offer.item))
    assert taken == [1, 3, 1, 3]


def test_whether_the_left_is_preferred(url):
    answers = Answers(LabelStore(url), QUESTION)
    for item, value, swapped in zip(ITEMS, (FIRST, SECOND, SECOND, TIE), (False, False, True, True), strict=True):
        answers.give("Ada", answer(item, value, swapped))
    assert answers.left_share() == {"Ada": (2, 3)}


def test_a_pair_wants_a_label(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        Answers(LabelStore(tmp_path / "labels.sqlite"), QUESTION, each=0)


def _work(url: str, name: str, items: list[tuple[str, str]], found: multiprocessing.Queue) -> None:
    answers, taken = Answers(LabelStore(url), QUESTION, each=2), []
    while (item := answers.offer(name, items).item) is not None:
        taken.append(item)
        answers.give(name, answer(item))
    found.put((name, taken))


def test_processes_that_share_a_store_share_the_work(url):
    items = [(f"one {i}", f"two {i}") for i in range(25)]
    context = multiprocessing.get_context("fork")
    found: multiprocessing.Queue = context.Queue()
    people = [context.Process(target=_work, args=(url, name, items, found)) for name in "ABC"]
    for process in people:
        process.start()
    taken = dict(found.get(timeout=120) for _ in people)
    for process in people:
        process.join()
    counts = Counter(item for mine in taken.values() for item in mine)
    assert max(counts.values()) <= 2
    assert all(len(set(mine)) == len(mine) for mine in taken.values())
    answers = Answers(LabelStore(url), QUESTION, each=2)
    for name in "ABC":  # who found the last pairs with others may have left before one came free
        while (item := answers.offer(name, items).item) is not None:
            assert counts[item] < 2
            answers.give(name, answer(item))
    assert Counter(i for mine in answers.labels().values() for i in mine) == dict.fromkeys(items, 2)
