"""The claim script of BaseReward from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "basereward.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "basereward.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "8", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "basereward"
    assert result["seeds"] == [7, 8]
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 11


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["no activation: like linear"] < 0.05
    assert measured["scales: standardised over raw"] > 0
    for seed in result["seen"]["by seed"].values():
        assert all(0.3 < value < 1 for value in seed["heads"].values())
        utility = seed["sets"]["utility"]
        assert max(utility[5]) < max(utility[3]), "inverted labels teach the opposite"
