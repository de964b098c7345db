"""The claim script of Contrast Instructions from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "contrast_instructions.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "contrast_instructions.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--toy", "--out", str(out)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "contrast_instructions"
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 11


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["usual pairs: C_res"] == pytest.approx(0.5, abs=0.07)
    assert measured["with negatives: C_ins"] > 0.75
    assert measured["fusion: plain over random"] > 0.04
    assert measured["fusion: k = 0"] == 0
    assert measured["hull: over none"] > 0
