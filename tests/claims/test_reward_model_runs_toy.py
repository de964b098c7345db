"""The script of the real run from end to end, at a size that claims nothing, and the slips that it makes."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

CLAIMS = Path(__file__).parents[2] / "claims"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    import reward_model_runs

    return reward_model_runs


def test_it_runs_and_says_what_it_saw(tmp_path):
    out = tmp_path / "runs.json"
    command = [sys.executable, str(CLAIMS / "reward_model_runs.py"), "--toy", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert [check["name"] for check in result["checks"]] == ["domain-rm, MiniLM", "GSM8K, MiniLM"]
    for name, seen in result["seen"].items():
        assert set(seen["LLMBar"]["subset"]) == {
            "natural", "adversarial_neighbor", "adversarial_gptinst", "adversarial_gptout", "adversarial_manual"
        }  # fmt: skip
        assert seen["LLMBar"]["pairs"] == 20
        assert 0 <= seen["held out"]["low"] <= seen["held out"]["high"] <= 1
        assert seen["train accuracy"] > 0.5, name


def test_a_slip_changes_a_result_and_the_answer(script):
    solution = "He has 3 + 4 = 7 apples.\nThen 7 * 2 = 14.\n#### 14"
    made = {script.gone_wrong(solution, random.Random(seed)) for seed in range(30)}
    assert len(made) > 3
    for text in made:
        assert text.rpartition("#### ")[2] != "14"
        assert "3 + 4 = 7 " not in text or "* 2 = 14." not in text
        assert "3 + 4" in text, "what comes before the slip stays"
    assert script.gone_wrong("No sum.\n#### 5", random.Random(0)) is None


def test_no_problem_stands_on_both_sides(script):
    train, held = script.gsm8k(30, 10, 0)
    assert (len(train.label), len(held.label)) == (30, 10)
    assert not set(train.first.prompt) & set(held.first.prompt)
    assert 0 < int(train.label.sum()) < 30, "the right one stands first or second"
