from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.serve.explain_rows import LEVELS, Sample, level, names, read_samples, sample, scale

ROW: dict[str, Any] = {
    "step": 7, "group": 1, "prompt": [{"role": "user", "content": "1+1="}], "text": "2.", "tokens": ["2", ".", "<eos>"],
    "steps": [0, 0, 1], "value": [0.5, None, 1.0], "terms": {"A": [0.5, 0.0, 1.0], "B": 0.25, "C": None},
    "stages": {"Clip/in": [1.0, 2.0, 3.0]}, "weight": 1.0, "advantage": [0.5, -0.5, 0.3],
    "log_prob": [-1.0, -2.0, -0.5], "columns": {"answer": "2"},
}  # fmt: skip


def test_a_row_of_a_run():
    made = sample(ROW)
    assert made.prompt == "user: 1+1="
    assert list(made.quantities) == ["log-probability", "reward", "advantage", "term A", "term B", "term C"]
    assert made.about == {"training step": 7, "group": 1, "weight": 1.0, "answer": "2"}
    totals = {name: made.total(name) for name in made.quantities}
    assert totals == pytest.approx(
        {"log-probability": -3.5, "reward": None, "advantage": 0.1, "term A": 1.5, "term B": 0.25, "term C": None}
    )
    assert made.of_steps("term A") == {0: 0.5, 1: 1.0}
    assert made.of_steps("reward") == {0: None, 1: 1.0}
    assert made.of_steps("advantage") == {0: 0.0, 1: 0.3}
    assert made.of_steps("term B") == {}
    assert made.on_tokens("term B") == [0.25] * 3
    assert made.on_tokens("term C") == [None] * 3


def test_counts_that_disagree_and_rows_without_values():
    with pytest.raises(ValueError, match="advantage has 1 values for 3 tokens"):
        sample(ROW | {"advantage": [1.0]})
    with pytest.raises(ValueError, match=r"no tokens but prompt, completion.*--reward"):
        sample({"prompt": "a", "completion": "b"})


def test_names_come_once_the_common_ones_first():
    other = Sample("", "", [], None, {"term Z": 1.0, "reward": 1.0})
    assert names([other, sample(ROW)])[:4] == ["log-probability", "reward", "advantage", "term Z"]
    assert names([other]) == ["reward", "term Z"]


def test_the_strongest_colour_is_the_largest_value_there_is():
    one, two = sample(ROW), sample(ROW | {"advantage": [0.0, -4.0, None]})
    assert scale([one, two], "advantage") == 4.0
    assert scale([sample(ROW | {"log_prob": [-30.0, -1.0, -1.0]})], "log-probability") == 8.0
    assert scale([one], "term C") == 0.0


@given(st.floats(-100, 100), st.floats(0.01, 50))
def test_levels_keep_sign_order_and_zero(value: float, most: float):
    found = level(value, most)
    assert found is not None
    assert -LEVELS <= found <= LEVELS
    assert (found > 0) == (value > 0)
    assert (found == 0) == (value == 0)
    assert abs(found) == LEVELS or abs(value) < most
    assert level(-value, most) == -found


def test_unscored_is_no_zero():
    assert level(None, 1.0) is None
    assert level(0.0, 1.0) == 0
    assert level(1.0, 0.0) == 0


def test_files_and_folders(tmp_path):
    (tmp_path / "samples.jsonl").write_text(json.dumps(ROW) + "\n\n" + json.dumps(ROW | {"step": 8}) + "\n")
    assert [row["step"] for row in read_samples(tmp_path)] == [7, 8]
    assert len(list(read_samples(tmp_path / "samples.jsonl"))) == 2
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(ValueError, match="line 2: a row is an object, not list"):
        list(read_samples(bad))
    bad.write_text("{")
    with pytest.raises(ValueError, match="line 1"):
        list(read_samples(bad))
    with pytest.raises(FileNotFoundError, match="name a run"):
        list(read_samples(tmp_path / "none"))
