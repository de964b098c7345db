"""The claim script of Skywork-Reward-V2 from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "skywork_v2.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "skywork_v2.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "8", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "skywork_v2"
    assert result["seeds"] == [7, 8]
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"])


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["share: uniform over random"] > 0
    assert measured["kept: right"] > 0.9
    assert measured["kept: purer than the pool"] == 1.0
    assert measured["kept over either"] > 0
    assert measured["all labels swapped"] == 0.0
