"""The claim script of URLVR from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "urlvr.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "urlvr.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert (result["claim"], result["seeds"]) == ("urlvr", [7])
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 24


def test_what_holds_at_any_size(result):
    runs = {run["name"]: run for run in result["seen"]["runs"]}
    assert runs["true, 0.05"]["end"] > runs["true, 0.05"]["start"]
    assert abs(runs["random, 0.05"]["end"] - runs["random, 0.05"]["start"]) < 0.05
    for run in runs.values():
        assert run["peak"] >= max(run["start"], run["end"])
        assert run["majority_ratio"] >= 1 / 6
    starts = [runs[f"majority, {w2:g}"]["start"] for w2 in (-0.05, 0.05, 0.2)]
    assert max(starts) - min(starts) < 0.05  # accuracy at the start does not tell the priors apart
