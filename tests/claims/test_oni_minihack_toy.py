"""The claim script of ONI on NetHack from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("minihack")

SCRIPT = Path(__file__).parents[2] / "claims" / "oni_minihack.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[tuple[dict, str]]:
    """What two calls wrote and printed."""
    out = tmp_path_factory.mktemp("claim") / "x.json"
    words = ["--toy", "--tasks", "Pantry", "--seeds", "7", "--workers", "1", "--out", str(out)]
    found = []
    for _ in range(2):
        done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        found.append((json.loads(out.read_text()), done.stdout))
    return found


def test_the_result_has_the_agreed_form(results):
    result, _ = results[0]
    assert result["claim"] == "oni_minihack"
    arms = ["task reward only", "inverted labels", "ONI retrieval", "ONI classification"]
    assert [check["name"] for check in result["checks"]] == [f"Pantry: {arm}" for arm in arms]
    arms = result["seen"]["tasks"]["Pantry"]
    assert len(arms) == 6
    assert arms["all labels 1"]["ties with ONI"] == (
        arms["all labels 1"]["mean"] >= arms["ONI retrieval"]["mean"] - 0.1
    )


def test_arms_differ_in_what_their_judges_pay(results):
    runs = {run["arm"]: run for run in results[0][0]["seen"]["runs"]}
    assert runs["task reward only"]["paid_a_step"] == 0
    assert runs["task reward only"]["success"] == 0
    assert 0 < runs["ONI retrieval"]["paid_a_step"] < runs["all labels 1"]["paid_a_step"]


def test_runs_that_are_finished_are_not_run_again(results):
    (first, printed), (again, silent) = results
    assert printed.count("success") > silent.count("success")
    assert again["seen"]["runs"] == first["seen"]["runs"]
