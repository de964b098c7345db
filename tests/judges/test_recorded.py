import asyncio
import gzip
import json
import pickle
from contextlib import closing
from itertools import pairwise

import pytest

from guerdon.judges import RecordedJudge
from guerdon.judges.record import read_record
from guerdon.judges.store import LabelStore
from guerdon.types import FIRST, SECOND, TIE, Label

RECORD = read_record()
SOME = [c for c in RECORD.captions if c][:2000]


def ask(judge, *items) -> list[Label]:
    return asyncio.run(judge.judge(items))


def values(judge, *items) -> list:
    return [label.value for label in ask(judge, *items)]


def test_the_packaged_record_is_whole():
    assert len(RECORD.captions) == 15_133
    assert len(RECORD.pairs) == 1_550
    assert {e.helpful for e in RECORD.captions.values()} == {0.0, 1.0}
    assert {e.value for e in RECORD.captions.values()} == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_recorded_captions_keep_their_label():
    assert values(RecordedJudge(), *SOME) == [RECORD.captions[c].helpful for c in SOME]
    assert values(RecordedJudge(labels="value"), *SOME) == [RECORD.captions[c].value / 4 for c in SOME]


def test_rows_say_what_was_asked_and_who_answered():
    judge = RecordedJudge()
    (row,) = ask(judge, "It's a wall.")
    assert row == Label("It's a wall.", 0.0, None, "RecordedJudge()", judge.prompt)
    assert judge.prompt == f"record-{RECORD.version}"
    assert RecordedJudge(invert=True).name == "RecordedJudge(invert=True)"


@pytest.mark.parametrize(
    "options", [{}, {"invert": True}, {"labels": "ones"}, {"labels": "random", "rate": 1.0}, {"noise": 1.0}]
)
def test_the_empty_caption_is_0_whatever_the_options(options):
    assert values(RecordedJudge(**options), "") == [0.0]


def test_recorded_pairs_in_either_order():
    pairs = list(RECORD.pairs.items())
    assert values(RecordedJudge(), *[p for p, _ in pairs]) == [o for _, o in pairs]
    turned = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}
    assert values(RecordedJudge(), *[(b, a) for (a, b), _ in pairs]) == [turned[o] for _, o in pairs]
    assert values(RecordedJudge(invert=True), *[p for p, _ in pairs]) == [turned[o] for _, o in pairs]


def test_other_pairs_go_by_value():
    worst = [c for c in SOME if RECORD.captions[c].value == 0][:20]
    best = [c for c in SOME if RECORD.captions[c].value == 4][:20]
    pairs = [(w, b) for w in worst for b in best if (w, b) not in RECORD.pairs and (b, w) not in RECORD.pairs]
    assert len(pairs) > 200
    assert set(values(RecordedJudge(), *pairs)) == {SECOND}
    assert set(values(RecordedJudge(), *[(b, a) for a, b in pairs])) == {FIRST}
    equal = [(a, b) for a, b in pairwise(best) if (a, b) not in RECORD.pairs and (b, a) not in RECORD.pairs]
    assert set(values(RecordedJudge(), *equal, *((c, c) for c in SOME[:5]))) == {TIE}


def test_unseen_captions_are_guessed_from_their_words():
    judge = RecordedJudge()
    unseen = [
        "You kill the purple jabberwock!",
        "You see here a labradorite key.",
        "Unknown command 'M-~'.",
        "It's a bulkhead.",
    ]
    assert not set(unseen) & RECORD.captions.keys()
    assert values(judge, *unseen) == [1.0, 1.0, 0.0, 0.0]
    assert values(judge, (unseen[0], unseen[2])) == [FIRST]
    assert judge.counters() == {"recorded": 0.0, "guessed": 6.0, "unlabelled": 0.0}


def test_unseen_captions_may_stay_unlabelled():
    judge = RecordedJudge(unseen="unlabelled")
    rows = ask(
        judge, "You kill the purple jabberwock!", ("It's a wall.", "You kill the purple jabberwock!"), "It's a wall."
    )
    assert [(r.value, r.reason) for r in rows] == [(None, "unseen"), (None, "unseen"), (0.0, None)]
    assert judge.counters() == {"recorded": 1.0, "guessed": 0.0, "unlabelled": 1.0}


def test_inverted_labels_are_the_other_ones():
    assert values(RecordedJudge(invert=True), *SOME) == [1 - v for v in values(RecordedJudge(), *SOME)]


def test_all_ones_and_their_ties():
    judge = RecordedJudge(labels="ones")
    assert set(values(judge, *SOME)) == {1.0}
    assert set(values(judge, *RECORD.pairs)) == {TIE}


def test_random_labels_belong_to_their_caption():
    judge = RecordedJudge(labels="random", seed=3)
    labels = values(judge, *SOME)
    assert labels == values(pickle.loads(pickle.dumps(judge)), *SOME[::-1])[::-1]
    assert labels != values(RecordedJudge(labels="random", seed=4), *SOME)
    assert 0.45 < sum(labels) / len(SOME) < 0.55  # 4.5 standard deviations
    assert 0.15 < sum(values(RecordedJudge(labels="random", rate=0.2), *SOME)) / len(SOME) < 0.25
    agreement = sum(a == b for a, b in zip(labels, values(RecordedJudge(), *SOME), strict=True)) / len(SOME)
    assert 0.45 < agreement < 0.55
    a, b = SOME[labels.index(1.0)], SOME[labels.index(0.0)]
    assert values(judge, (a, b), (b, a)) == [FIRST, SECOND]


def test_noise_turns_the_stated_share():
    plain, noisy = RecordedJudge(), RecordedJudge(noise=0.1, seed=7)
    turned = sum(a != b for a, b in zip(values(plain, *SOME), values(noisy, *SOME), strict=True))
    assert 0.07 < turned / len(SOME) < 0.13
    sided = [p for p, outcome in RECORD.pairs.items() if outcome != TIE]
    assert (
        0.06
        < sum(a != b for a, b in zip(values(plain, *sided), values(noisy, *sided), strict=True)) / len(sided)
        < 0.14
    )
    there, back = values(noisy, *sided), values(noisy, *[(b, a) for a, b in sided])
    assert all({a, b} == {FIRST, SECOND} for a, b in zip(there, back, strict=True))


def test_its_text_makes_it_again():
    judge = RecordedJudge(labels="random", seed=3, noise=0.25)
    assert repr(judge) == "RecordedJudge(labels='random', noise=0.25, seed=3)"
    assert repr(eval(repr(judge))) == repr(judge)


def test_pickles_before_and_after_use():
    judge = RecordedJudge(invert=True)
    fresh = pickle.loads(pickle.dumps(judge))
    assert values(fresh, "a new one appears") == values(judge, "a new one appears")
    assert repr(pickle.loads(pickle.dumps(fresh))) == repr(judge)
    assert len(pickle.dumps(judge)) < 2000, "the record travels with it"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "helpfuls"}, "did you mean 'helpful'"),
        ({"unseen": "guess"}, "choose one of 'classifier', 'unlabelled'"),
        ({"noise": 1.5}, "noise"),
        ({"rate": -0.1}, "rate"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RecordedJudge(**options)


def write(path, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_a_record_of_ones_own(tmp_path, name):
    path = write(
        tmp_path / name,
        {"caption": "a door opens", "helpful": 1, "value": 7},
        "",
        {"caption": "a wall", "helpful": 0, "value": 3},
        {"a": "a door opens", "b": "a wall", "preferred": "tie"},
    )
    judge = RecordedJudge(record=path)
    assert values(judge, "a door opens", "a wall", "another door opens") == [1.0, 0.0, 1.0]
    assert values(judge, ("a wall", "a door opens"), ("", "a wall")) == [TIE, SECOND]
    assert judge.prompt != RecordedJudge().prompt
    assert judge.name == "RecordedJudge()"


def test_the_answers_in_a_label_store_are_a_record(tmp_path):
    with closing(LabelStore(tmp_path / "labels.sqlite")) as store:
        rows = [
            ("a door opens", 0.9),
            ("a wall", 0.0),
            ("hm", None),
            (("a wall", "a door opens"), SECOND),
            (("x", "y"), TIE),
        ]
        store.put([Label(i, v, None if v is not None else "unparseable", "m", "p") for i, v in rows])
        store.export(tmp_path / "labels.jsonl")
    judge = RecordedJudge(record=str(tmp_path / "labels.jsonl"), unseen="unlabelled")
    assert values(judge, *(item for item, _ in rows)) == [value for _, value in rows]
    assert values(judge, ("a door opens", "a wall")) == [FIRST]


def test_a_record_of_one_kind_of_label_guesses_that(tmp_path):
    judge = RecordedJudge(
        record=write(tmp_path / "r.jsonl", {"caption": "a", "helpful": 1}, {"caption": "b", "helpful": 1})
    )
    assert values(judge, "c") == [1.0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"caption": "x", "helpful": 1', "line 2: .*delimiter"),
        ('{"caption": "x"}', "line 2: the key 'helpful' is missing"),
        ('{"caption": "x", "helpful": "yes"}', "line 2: 'helpful' must be a number, got 'yes'"),
        ('{"caption": "x", "helpful": 3}', "line 2: 'helpful' must lie in 0..1, got 3"),
        ('{"caption": "x", "helpful": 1, "value": -1}', "line 2: 'value' must not be negative, got -1"),
        ('{"caption": 3, "helpful": 1}', "line 2: 'caption' must be a text"),
        ('{"a": "x", "preferred": "a"}', "line 2: the key 'b' is missing"),
        ('{"a": "x", "b": "y", "preferred": "c"}', "line 2: 'preferred' must be 'a', 'b' or 'tie', got 'c'"),
        ('{"item": ["x", "y"], "value": 7}', "line 2: 'preferred' must be 'a', 'b' or 'tie', got 7"),
        ('{"item": ["x"], "value": 1}', "line 2: not enough values"),
        ('{"item": "x"}', "line 2: the key 'value' is missing"),
        ('{"text": "x"}', "line 2: expected the keys"),
        ("[1, 2]", "line 2: expected a JSON object"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    judge = RecordedJudge(record=write(tmp_path / "r.jsonl", {"caption": "a", "helpful": 1}, line))
    with pytest.raises(ValueError, match=message):
        ask(judge, "a")


def test_an_empty_or_missing_record(tmp_path):
    with pytest.raises(ValueError, match="judges no caption"):
        ask(RecordedJudge(record=write(tmp_path / "r.jsonl")), "a")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ask(RecordedJudge(record=str(tmp_path / "nowhere.jsonl")), "a")
