"""The claim script of regret preferences from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "regret_preference.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "regret_preference.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "3", "4", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "regret_preference"
    assert result["seeds"] == [3, 4]
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 8


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["gamble: regret"] == 0.0
    assert measured["gamble: partial return"] == 1.0
    assert measured["held out: labels by partial return"] > 0
    for board in result["seen"]["boards"]:
        assert all(0 <= value <= 1.0000001 for key, value in board.items() if "labels" not in key)
