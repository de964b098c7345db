"""The claim script of the GRPO family from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "grpo_family.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "grpo_family.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "--workers", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "grpo_family"
    assert result["seeds"] == [7]
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 11


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["RLOO"] > 0.3
    assert measured["shuffled rewards"] < 0.15
    assert measured["mean over an answer's tokens"] > measured["sum over tokens"] + 0.01
    assert measured["dynamic sampling"] > 1.3 * measured["a second plain batch"]


def test_everything_learns_but_the_control(result):
    for run in result["seen"]["learning"]:
        gained = run["right"] - run["curve"][0]
        assert run["arm"] in ("shuffled rewards", "REINFORCE") or gained > 0.1
