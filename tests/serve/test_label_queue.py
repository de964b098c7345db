"""Reading a queue, what is wrong with it, and which pair is worth asking about."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from guerdon.serve.label_queue import LabelQueue, key, margins, uncertainty
from guerdon.types import FIRST, SECOND, TIE


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Any) -> Path:
        path = tmp_path / "queue.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)
    return path


@pytest.mark.parametrize(
    ("row", "given"),
    [
        ({"prompt": "q", "first": "a", "second": "b"}, None),
        ({"prompt": "q", "first": "a", "second": "b", "label": "second"}, SECOND),
        ({"prompt": "q", "first": "a", "second": "b", "label": 0.5}, TIE),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, FIRST),
        ({"input": "q", "output_1": "a", "output_2": "b"}, None),
        ({"input": "q", "output_1": "a", "output_2": "b", "label": 2}, SECOND),
    ],
)
def test_every_form_of_a_pair_of_texts(write, row, given):
    (pair,) = LabelQueue(write(row | {"source": "here"})).pairs
    assert (pair.prompt, pair.first, pair.second, pair.given) == ("q", "a", "b", given)
    assert pair.item == ("q\n\na", "q\n\nb"), "what the store keeps has the prompt before it"
    assert pair.columns == {"source": "here"}


def test_captions_are_stored_as_judges_store_them_and_messages_with_their_roles(write):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    rows = {"prompt": "", "first": "a", "second": "b"}, {"prompt": messages, "first": "a", "second": "b"}
    items = [pair.item for pair in LabelQueue(write(*rows)).pairs]
    assert items == [("a", "b"), ("system: s\n\nuser: u\n\na", "system: s\n\nuser: u\n\nb")]


def test_equal_pairs_are_asked_once_in_either_order(write):
    rows = [{"prompt": "q", "first": a, "second": b} for a, b in ("ab", "ab", "ba", "ac")]
    queue = LabelQueue(write(*rows))
    assert [pair.second for pair in queue.pairs] == ["b", "c"]
    assert [line.partition(", ")[2].split(":")[0] for line in queue.report.duplicates] == ["line 2", "line 3"]
    assert queue.by_key[key(queue.pairs[1].item)] is queue.pairs[1]


def test_bad_lines_are_named_and_left_out_only_if_asked(write):
    good = {"prompt": "q", "first": "a", "second": "b"}
    path = write(
        good, "{", [1], {"prompt": "q", "frist": "a", "second": "b"}, good | {"first": "b"}, good | {"label": 7}
    )
    with pytest.raises(ValueError, match=r"5 bad lines: .*line 2.*Mend them") as error:
        LabelQueue(path)
    assert "is 'frist' meant to be 'first'" in str(error.value)
    queue = LabelQueue(path, bad="skip")
    assert len(queue.pairs) == 1
    assert [line.split(", ")[1].split(":")[0] for line in queue.report.bad] == [f"line {i}" for i in range(2, 7)]


@pytest.mark.parametrize("text", ["", "\n\n", "{}\n"])
def test_nothing_to_compare(tmp_path, text):
    (tmp_path / "queue.jsonl").write_text(text)
    with pytest.raises(ValueError, match="no pair to compare"):
        LabelQueue(tmp_path / "queue.jsonl", bad="skip")
    with pytest.raises(ValueError, match="no file"):
        LabelQueue(tmp_path / "another.jsonl")


def test_recordings_are_known_by_what_is_in_them(write, tmp_path):
    picture(tmp_path / "deep" / "a.png")
    picture(tmp_path / "frames" / "0.png", "blue")
    row = {"first_file": "deep/a.png", "second_file": "./frames"}
    (before,) = LabelQueue(write(row)).pairs
    assert (before.first, before.second, before.prompt) == ("deep/a.png", "./frames", "")
    assert [text.split()[0] for text in before.item] == ["deep/a.png", "frames"]
    picture(tmp_path / "frames" / "1.png")
    (after,) = LabelQueue(
        write(row | {"first": "You see here a key.", "second": "It is dark.", "prompt": "Find it."})
    ).pairs
    assert after.item[0] == before.item[0]
    assert after.item[1] != before.item[1], "a label is about what was seen"
    assert (after.first, after.second, after.prompt) == ("You see here a key.", "It is dark.", "Find it.")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "/etc/passwd",
        "a/../../secret.png",
        "link.png",
        "link/secret.png",
        "linked",
        "..",
        ".",
        "",
        "a\0.png",
    ],
)
def test_a_recording_cannot_be_outside_of_the_queue_s_folder(tmp_path, name):
    secret = picture(tmp_path / "secret.png")
    folder = tmp_path / "queue"
    picture(folder / "good.png")
    (folder / "link.png").symlink_to(secret)
    (folder / "link").symlink_to(tmp_path)
    (folder / "linked").mkdir()
    (folder / "linked" / "0.png").symlink_to(secret)
    for row in ({"first_file": name, "second_file": "good.png"}, {"first_file": "good.png", "second_file": name}):
        (folder / "queue.jsonl").write_text(json.dumps(row))
        with pytest.raises(ValueError, match=r"not in the queue's folder|names two files"):
            LabelQueue(folder / "queue.jsonl")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"first_file": "a.png"}, "names two files"),
        ({"first_file": "a.png", "second_file": 3}, "names two files"),
        ({"first_file": "a.png", "second_file": "b.png"}, "there is no file b.png"),
        ({"first_file": "a.png", "second_file": "a.png"}, "the same"),
        ({"first_file": "a.png", "second_file": "queue.jsonl"}, "is none of"),
        ({"first_file": "a.png", "second_file": "text.png"}, "no picture that can be read"),
        ({"first_file": "a.png", "second_file": "empty"}, "holds no pictures"),
        ({"prompt": "", "first": "a", "second": "b", "scores": [1, math.inf]}, "scores is"),
    ],
)
def test_bad_recordings_and_scores_are_named(write, tmp_path, row, said):
    picture(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=said):
        LabelQueue(write(row))


def test_margins_of_one_and_of_several():
    assert margins([1, 3]).tolist() == [2]
    assert margins([[1, 2], [3, 1.5]]).tolist() == [2, -0.5]
    assert np.isnan(margins([[1, None], [3, 2]])).tolist() == [False, True]


@pytest.mark.parametrize("scores", [1, [1], [1, 2, 3], [[1, 2], [3]], ["a", "b"], [[], []], {}, [None, math.inf]])
def test_what_are_no_scores(scores):
    with pytest.raises(ValueError, match="two finite numbers"):
        margins(scores)


def test_uncertainty_by_hand():
    # one member, margins 1 and -1: scale 1, p = sigmoid(+-1)
    p = 1 / (1 + math.exp(-1))
    sure = -p * math.log(p) - (1 - p) * math.log(1 - p)
    found = uncertainty([margins([0, 1]), margins([1, 0])])
    assert found == pytest.approx([sure, sure])
    # two members of unlike scale that agree are as sure as one; that contradict each other know nothing
    both = uncertainty([margins([[0, 0], [1, 100]]), margins([[0, 0], [1, -100]])])
    assert both == pytest.approx([sure, math.log(2)])


def test_what_nobody_scored_is_what_nothing_is_known_of():
    found = uncertainty([margins([None, 1]), margins([0, 5])])
    assert found[0] == pytest.approx(math.log(2))
    assert found[1] < math.log(2)
    assert uncertainty([margins([3, 3])]) == pytest.approx([math.log(2)])
    with pytest.raises(ValueError, match="equally many"):
        uncertainty([margins([0, 1]), margins([[0, 0], [1, 1]])])


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8), st.floats(0.01, 100))
def test_of_one_reward_the_smallest_margin_is_the_least_certain_whatever_the_scale(differences, scale):
    found = uncertainty([margins([0, d]) for d in differences])
    assert found == pytest.approx(uncertainty([margins([0, scale * d]) for d in differences]), abs=1e-9)
    order = np.argsort(np.abs(differences), kind="stable")
    assert all(np.diff(found[order]) <= 1e-12)
