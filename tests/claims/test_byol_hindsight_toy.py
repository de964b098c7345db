"""The claim script of BYOL-Hindsight from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "byol_hindsight.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim")
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "--workers", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "byol_hindsight.toy.json").read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "byol_hindsight"
    assert result["seeds"] == [7]
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 11


def test_every_arm_ran_and_measured_what_it_should(result):
    runs = {run["job"]: run for run in result["seen"]["runs"]}
    assert len(runs) == 3 + 5 + 2
    for job in ("random", "RND", "ICM", "BYOL-Explore", "BYOL-Hindsight", "BYOL-Explore (no noise)"):
        assert 0 < runs[job]["coverage"] <= 1
        assert 0 <= runs[job]["at the TV"] <= 1
    assert runs["RND"]["pay without chance"] > 0


def test_a_forward_model_alone_does_not_get_below_the_noise(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert measured["offline: alone"] > 0.8 > measured["offline: told"]
