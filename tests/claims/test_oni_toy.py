"""The claim script of ONI from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "oni.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "oni.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "oni"
    assert result["seeds"] == [7]
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 20


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["retrieval"] > 0.8
    assert measured["inverted labels"] < 0.1
    assert measured["pay before the first label"] == 0.0
    assert measured["gate"] > 10
    assert measured["new names: retrieval"] == 0.5


def test_labels_came_from_the_judges_process(result):
    for run in result["seen"]["runs"]:
        if run["arm"] == "task reward only":
            assert run["labelled"] == 0
        elif run["arm"] != "ranking":
            assert 0 < run["labelled"] <= run["captions"]
