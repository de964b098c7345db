"""`guerdon tune`: it trains, stops and goes on; what is misspelt is answered with what is near."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from text_runs import command

from guerdon import cli

OWN = """
from typing import Any, ClassVar
import torch
from guerdon.types import About, Reward

class Digits(Reward):
    about: ClassVar[About] = About(rewards="digits", paper="none", scores="Completions")

    def score(self, experience, **needed):
        return torch.tensor([sum(c.isdigit() for c in t) / max(1, len(t)) for t in experience.text])

class Halves:
    def __call__(self, completions, scored):
        return torch.ones(len(completions.text)) * 0.5
"""
USUAL = (
    "Arithmetic(terms=2)", "--reward", "own:Digits()", "--sampler", "GroupSampler(n=4, max_tokens=6)", "--prompts", "2",
    "--lr", "3e-3", "--quiet",
)  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("own", None)


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        os.sched_yield()


def test_it_trains_with_parts_of_ones_own_and_goes_on_exactly(place):
    parts = ("--filter", "own:Halves()", "--loss", "PolicyLoss(beta=0.01)", "--credit", "GroupAdvantage(eps=1e-4)")
    cli.main(["tune", *USUAL, *parts, "--steps", "6", "--run", "whole"])
    cli.main(["tune", *USUAL, *parts, "--steps", "4", "--run", "parts"])
    cli.main(["tune", "--resume", "parts", "--steps", "6", "--quiet"])
    whole, parts = rows(place / "whole"), rows(place / "parts")
    assert [r["step"] for r in whole] == [r["step"] for r in parts] == [1, 2, 3, 4, 5, 6]
    assert [r["policy/gradient_norm"] for r in whole] == [r["policy/gradient_norm"] for r in parts]
    assert "policy/ref_kl" in whole[0]
    config = json.loads((place / "whole" / "config.json").read_text())
    assert config["reward"] == "own:Digits()"
    cli.main(["tune", "--resume", "whole", "--quiet"])  # nothing is left to do
    assert rows(place / "whole") == whole


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_in_the_middle_goes_on_from_its_last_checkpoint(place, how):
    folder = place / "run"
    words = (*USUAL, "--steps", "100000", "--save-every", "3", "--run", "run")
    process = command("tune", *words, cwd=place)
    wait_for(lambda: len(list((folder / "checkpoints").glob("*.pt"))) == 2, process)
    os.kill(process.pid, how)
    _, told = process.communicate(timeout=120)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "guerdon tune --resume run" in told
        assert json.loads((folder / "done.json").read_text())["reason"] == "interrupted"
    saved = int(max((folder / "checkpoints").glob("*.pt")).stem)
    cli.main(["tune", "--resume", "run", "--steps", str(saved + 2), "--quiet"])
    steps = [row["step"] for row in rows(folder)]
    assert steps == list(range(1, saved + 3))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("Arithmetics", "--reward", "own:Digits()"), "Arithmetic"),
        (("Arithmetic(trems=2)", "--reward", "own:Digits()"), "terms"),
        (("Arithmetic", "--reward", "own:Digts()"), "Digits"),
        (("Arithmetic", "--reward", "own:Digits()", "--model", "smolm2"), "smollm2"),
        (("Arithmetic", "--reward", "own:Digits()", "--loss", "PolicyLoss(bta=1)"), "beta"),
        (("Arithmetic", "--reward", "own:Digits()", "--credit", "GroupAdvantages()"), "GroupAdvantage"),
        (("Arithmetic", "--reward", "own:Digits()", "--filter", "own:Digits()"), "own has no filter Digits"),
        (("Arithmetic", "--reward", "own:Digits()", "--sampler", "GroupSampler(m=2)"), "max_tokens"),
        (("Arithmetic", "--reward", "own:Digits()", "--dtype", "floaty"), "float32"),
        (("Arithmetic", "--reward", "own:Digits()", "--sampler", "GroupSampler(max_tokens=5000)"), "2048"),
        (("Arithmetic",), "name a reward"),
        ((), "name a task"),
        (("--resume", "nowhere"), "is no run"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_answered_with_what_is_near(place, capsys, words, expected):
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", *words, "--quiet"])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
    assert not list(place.glob("runs/*/checkpoints"))
