"""The claim script of RewardBench 2 from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "rewardbench2.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "rewardbench2.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--toy", "--out", str(out)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "rewardbench2"
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 13


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["constant: best-of-4"] == 0.25
    assert measured["constant: Ties"] == 0
    assert measured["right: Ties"] == pytest.approx(1.01)
    assert measured["arbitrary: accuracies"] == 1
    assert measured["arbitrary: loss of Ties"] > 0.35
    assert measured["transforms: best-of-4"] == 0
