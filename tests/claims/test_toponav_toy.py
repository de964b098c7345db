"""The claim script of TopoNav from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "toponav.py"
ARMS = {
    "flat DQN", "flat DQN + counts", "H-DQN without map", "TopoNav", "TopoNav, w_nov = 0", "TopoNav, no arbitration",
}  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "toponav.json"
    command = [sys.executable, str(SCRIPT), "--toy", "--seeds", "7", "--workers", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert (result["claim"], result["seeds"]) == ("toponav", [7])
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 6
    assert set(result["seen"]["7"]) == ARMS


def test_what_holds_at_any_size(result):
    arms = result["seen"]["7"]
    for arm in arms.values():
        assert 0 < arm["coverage"] < 100
        assert arm["collisions"] >= 0
    assert {name for name, arm in arms.items() if "first run" in arm} == {"flat DQN", "TopoNav"}
    for run in (arms["flat DQN"]["first run"], arms["TopoNav"]["first run"], arms["TopoNav"]["second run"]):
        assert 0 <= run["success"] <= 1
        assert run["length"] <= 600
    assert arms["TopoNav"]["first run"]["places"] > 1
    assert arms["TopoNav, no arbitration"]["acted"]["safety"] == 0 < arms["TopoNav"]["acted"]["safety"]
    assert sum(arms["TopoNav"]["acted"].values()) == pytest.approx(1.0, abs=1e-3)
