"""The claim scripts of likelihood rewards, RLPR, CRew and SALU from end to end, at a size that claims nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CLAIMS = Path(__file__).parents[2] / "claims"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The result of a claim's toy run, run once."""
    known: dict[str, dict] = {}

    def run(name: str) -> dict:
        if name not in known:
            out = tmp_path_factory.mktemp("claim") / f"{name}.json"
            command = [sys.executable, str(CLAIMS / f"{name}.py"), "--toy", "--seeds", "7", "--workers", "1"]
            done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, timeout=500)
            assert done.returncode == 0, done.stderr
            known[name] = json.loads(out.read_text())
        return known[name]

    return run


@pytest.mark.parametrize(("name", "checks"), [("likelihood_rewards", 14), ("rlpr", 12), ("crew", 13), ("salu", 17)])
def test_the_result_has_the_agreed_form(result, name, checks):
    found = result(name)
    assert found["claim"] == name
    assert found["seeds"] == [7]
    assert found["holds"] == all(check["holds"] for check in found["checks"])
    assert len({check["name"] for check in found["checks"]}) == len(found["checks"]) == checks
    assert all((CLAIMS.parent / part).exists() for part in found["parts"])


def holding(found: dict) -> set[str]:
    return {check["name"] for check in found["checks"] if check["holds"]}


def test_what_needs_no_training_holds_at_any_size(result):
    assert {"AUC: mean_prob", "AUC: mean_prob minus product", "AUC: random", "filter: before step 11",
            "filter: after step 11"} <= holding(result("rlpr"))  # fmt: skip
    assert {"prob, T=30", "logprob without +R, T=30", "logprob, T=30, gain", "jepo, T=30"} <= holding(
        result("likelihood_rewards")
    )
    assert "closed form" in holding(result("crew"))
    assert {"hallucination falls", "switches", "always abstaining: accuracy"} <= holding(result("salu"))
