"""The claim script of domain-rm from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "domain_rm.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "domain_rm.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "8", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "domain_rm"
    assert result["seeds"] == [7, 8]
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 14


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["mean of the properties"] < 0.01
    assert measured["single properties"] < 0.001, "to the card's three digits"
    assert measured["50 pairs"] > 0.65
    assert result["seen"]["without a fit"]["words"] > 0.6, "the length tells more than the card thought"
    properties = result["seen"]["runs"][0]["synthetic"]["properties"]
    assert properties["100"] > result["seen"]["runs"][0]["synthetic"]["raw"]["100"]
