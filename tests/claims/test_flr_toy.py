"""The claim script of FLR from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "flr.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "flr.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "--workers", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert (result["claim"], result["seeds"]) == ("flr", [7])
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 11


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["without the response"] == 0.5
    assert measured["DPO on mined pairs"] != 0 != measured["DPO, lists swapped"]
    for name in ("FLR", "positive follow-ups only", "calibration: good", "calibration: bad"):
        assert 0 <= measured[name] <= 1
