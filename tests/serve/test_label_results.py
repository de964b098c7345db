"""What people's answers come to."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from guerdon.judges.answers import Answer, Answers
from guerdon.judges.store import LabelStore
from guerdon.parts.pair_rows import read_pairs
from guerdon.serve.label_queue import LabelQueue
from guerdon.serve.label_results import agreement, export
from guerdon.types import FIRST, SECOND, TIE, Label

QUESTION = "Which is better?"


def made(folder: Path, *rows: dict[str, Any]) -> tuple[LabelQueue, Answers]:
    (folder / "queue.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return LabelQueue(folder / "queue.jsonl"), Answers(LabelStore(folder / "labels.sqlite"), QUESTION, each=3)


def answer(answers: Answers, queue: LabelQueue, name: str, *values: float | None) -> None:
    for i, (pair, value) in enumerate(zip(queue.pairs, values, strict=False)):
        answers.give(name, Answer(f"{name} {i}", pair.item, value, False, 1.0))


def texts(n: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": "", "first": f"one {i}", "second": f"two {i}"} | more for i in range(n)]


def test_people_are_compared_with_each_other_with_judges_and_with_the_file(tmp_path):
    rows = texts(4)
    rows[0]["label"], rows[3]["label"] = "first", "tie"
    queue, answers = made(tmp_path, *rows)
    answer(answers, queue, "Bo", FIRST, SECOND, SECOND)
    answer(answers, queue, "Ada", FIRST, SECOND, TIE, None)
    items = [pair.item for pair in queue.pairs]
    turned = (items[1][1], items[1][0])
    judged = [Label(items[0], SECOND), Label(turned, FIRST), Label(items[2], None, "refused"), Label(("x", "y"), FIRST)]
    answers.store.put([row._replace(judge="model", prompt="v1") for row in judged])
    answers.store.put([Label("one 0", 1.0, judge="captions", prompt="v1"), Label(("x", "z"), FIRST, judge="other")])
    found = agreement(queue, answers)
    assert found.people == {"Ada": {"first": 1, "second": 1, "tie": 1, "skipped": 1}, "Bo": {"first": 1, "second": 2}}
    assert found.shared == 3
    shown = {(row.one, row.other): row[2:] for row in found.comparisons}
    assert shown.pop(("Ada", "Bo")) == (3, pytest.approx(2 / 3), pytest.approx(0.5))  # p_e = (1 + 2) / 9
    # The judge said the second of pair 0, and, asked the other way round, the second of pair 1.
    assert shown.pop(("Ada", "model (v1)")) == (2, 0.5, 0.0)
    assert shown.pop(("Bo", "model (v1)")) == (2, 0.5, 0.0)
    assert [row[0] for row in (shown.pop(("Ada", "the file")), shown.pop(("Bo", "the file")))] == [1, 1]
    assert shown == {}


def test_nobody_has_answered(tmp_path):
    found = agreement(*made(tmp_path, *texts(2)))
    assert (found.people, found.shared, found.comparisons) == ({}, 0, [])
    assert math.isnan(found.fleiss)


def test_labels_of_other_queues_in_the_store_are_left_alone(tmp_path):
    queue, answers = made(tmp_path, *texts(2))
    answers.give("Ada", Answer("x", ("elsewhere", "too"), FIRST, False, 1.0))
    assert agreement(queue, answers).people == {"Ada": {}}
    assert export(queue, answers, tmp_path / "pairs.jsonl") == (0, {})


def test_what_is_exported_is_what_fit_reads(tmp_path):
    rows = [
        {"prompt": "q", "chosen": "a", "rejected": "b", "weight": 2.0, "source": "s"},
        {"prompt": [{"role": "user", "content": "u"}], "first": "c\ud83d\ude00", "second": "d", "scores": [1, 2]},
        {"input": "i", "output_1": "e", "output_2": "f", "features": {"length": [1, 2]}},
    ]
    queue, answers = made(tmp_path, *rows)
    answer(answers, queue, "Ada", SECOND, TIE, FIRST)
    answer(answers, queue, "Bo é", FIRST, None)
    path = tmp_path / "deep" / "pairs.jsonl"
    assert export(queue, answers, path) == (4, {"skipped": 1})
    read, report = read_pairs(path)
    assert not report.bad
    assert [(row.first, row.label, row.columns["user"]) for row in read] == [
        ("a", SECOND, "Ada"), ("a", FIRST, "Bo é"), ("c😀", TIE, "Ada"), ("e", FIRST, "Ada")
    ]  # fmt: skip
    assert (read[0].columns["weight"], read[0].columns["source"]) == (2.0, "s")
    assert read[2].prompt == rows[1]["prompt"]
    assert read[3].columns["features"] == {"length": [1, 2]}
    assert export(queue, answers, path, ties="drop") == (3, {"skipped": 1, "ties": 1})
    assert [p.name for p in path.parent.iterdir()] == ["pairs.jsonl"]


def test_recordings_keep_their_files_and_the_texts_that_go_with_them(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (2, 2), "red").save(tmp_path / name)
    row = {
        "first_file": "a.png",
        "second_file": "./b.png",
        "first": "You see a door.",
        "second": "You die...",
        "runs": [1, 2],
    }
    queue, answers = made(tmp_path, row)
    answer(answers, queue, "Ada", SECOND)
    export(queue, answers, tmp_path / "pairs.jsonl")
    (written,) = map(json.loads, (tmp_path / "pairs.jsonl").read_text().splitlines())
    assert written == {**row, "second_file": "b.png", "prompt": "", "label": "second", "user": "Ada"}
    (back,) = LabelQueue(tmp_path / "pairs.jsonl").pairs
    assert back.item == queue.pairs[0].item, "an export is a queue again"
