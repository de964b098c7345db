"""The claim script of RewardMATH from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "rewardmath.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("claim") / "rewardmath.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--toy", "--out", str(out)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert result["claim"] == "rewardmath"
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert {"name", "expected", "measured", "low", "high", "holds"} <= check.keys()
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 13


def test_what_holds_at_any_size(result):
    measured = {check["name"]: check["measured"] for check in result["checks"]}
    assert {v for name, v in measured.items() if name.startswith("table")} == {0.0}
    assert measured["pairs: B over A"] > 0.1
    assert measured["one-to-many: A over B"] > 0.1


def test_the_rest_of_the_table_is_recorded(result):
    table = result["seen"]["table, all rows"]
    assert round(table["ReasonEval_7B mean_logit"]["accuracy"], 2) == 20.91
    assert round(table["ReasonEval_7B mean_odd"]["accuracy"], 2) == 19.25
    assert all(set(row) == {"accuracy", "accuracy with ties", "MRR", "pairs won"} for row in table.values())
    assert set(result["seen"]["table, shared problems"]) == set(table)
