import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "claims"))

from _claim import Expected, FinishedRuns, interval


def test_the_verdict_is_about_the_whole_interval():
    values = [0.8, 0.9, 1.0, 0.95, 0.85]
    low, high = interval(values)
    assert 0.8 < low < 0.9 < high < 1.0
    assert Expected("x", "success", at_least=low).verdict(values)["holds"]
    assert not Expected("x", "success", at_least=0.9).verdict(values)["holds"]  # the mean is there, the low end is not
    assert not Expected("x", "success", at_most=0.9).verdict(values)["holds"]
    verdict = Expected("x", "success", at_least=0.5, at_most=1.0).verdict(values)
    assert verdict["holds"]
    assert verdict["expected"] == "success: at least 0.5 and at most 1"
    assert verdict["measured"] == pytest.approx(np.mean(values))


def test_the_interval_of_many_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    with pytest.raises(ValueError, match="no number"):
        interval([1.0, float("nan")])


def test_finished_runs_are_found_again_and_a_torn_line_loses_only_itself(tmp_path):
    path = tmp_path / "x.runs.jsonl"
    FinishedRuns(path, "old").add(arm="a", seed=0, success=0.1)
    runs = FinishedRuns(path, "new")
    assert runs.find(arm="a", seed=0) is None  # of other code
    runs.add(arm="a", seed=0, success=0.5)
    with path.open("a") as file:
        file.write('{"code": "new", "arm": "a", "se')  # killed while it wrote
    again = FinishedRuns(path, "new")
    again.add(arm="a", seed=1, success=0.7)
    last = FinishedRuns(path, "new")
    assert [row["success"] for row in last.rows] == [0.5, 0.7]
    found = last.find(arm="a", seed=1)
    assert found is not None
    assert found["success"] == 0.7
