"""The claim script of RND on AGV warehouses from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "rnd_agv.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[tuple[dict, str]]:
    """What two calls wrote and printed."""
    out = tmp_path_factory.mktemp("claim") / "x.json"
    words = ["--toy", "--seeds", "7", "--workers", "1", "--out", str(out)]
    found = []
    for _ in range(2):
        done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        found.append((json.loads(out.read_text()), done.stdout))
    return found


def test_the_result_has_the_agreed_form(results):
    result, _ = results[0]
    assert result["claim"] == "rnd_agv"
    assert result["seeds"] == [7]
    assert len(result["checks"]) == 7
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    assert len(result["seen"]["runs"]) == 7


def test_arms_differ_in_what_they_pay_and_are_alike_in_all_else(results):
    runs = {(run["layout"], run["arm"]): run for run in results[0][0]["seen"]["runs"]}
    plain, bonus = runs["C-static", "PPO"], runs["C-static", "PPO + RND"]
    assert not any(plain["bonus_curve"])
    assert bonus["bonus_curve"][0] == 0  # the first rollout is not paid
    assert all(paid > 0 for paid in bonus["bonus_curve"][1:])
    assert plain["success"] == bonus["success"] == 0
    assert plain["cells_curve"][0] == bonus["cells_curve"][0]  # the same games and the same first policy
    assert runs["C-static", "PPO + shaped"]["cells_curve"] != plain["cells_curve"]


def test_runs_that_are_finished_are_not_run_again(results):
    (first, printed), (again, silent) = results
    assert printed.count("first") > silent.count("first")
    assert again["seen"]["runs"] == first["seen"]["runs"]
