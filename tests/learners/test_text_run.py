"""A text learner's run: resumed exactly, and whole whatever a reward does to it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from text_learning import QUESTIONS, Vowels, learner

from guerdon.credit import GroupAdvantage
from guerdon.learners import Descent, GroupSampler, checkpoint
from guerdon.learners.folder import RunError
from guerdon.learners.text import PATIENCE, RewardFailed
from guerdon.learners.text_run import run


def fresh(reward=None, **options):
    usual = {"descent": Descent(lr=2e-3, schedule="cosine", warmup=2, updates=20), "epochs": 2, "minibatches": 2}
    return learner(reward, **usual | {"sampler": GroupSampler(n=3, max_tokens=5)} | options)


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def without_times(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "seconds"))} for row in rows]


class Every:
    """A filter with a state: drops every third group it ever saw."""

    seen = 0

    def __call__(self, completions, scored):
        group = completions.group + self.seen
        self.seen += 4
        return (group % 3 != 0).float()

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one(tmp_path):
    whole, first, second = (fresh(filters=[Every()]) for _ in range(3))
    run(whole, QUESTIONS, tmp_path / "whole", steps=9)
    run(first, QUESTIONS, tmp_path / "parts", steps=4, save_every=2)
    run(second, QUESTIONS, tmp_path / "parts", steps=9, resume=True)
    for a, b in zip(whole.descent.parameters, second.descent.parameters, strict=True):
        assert torch.equal(a, b)
    rows = [without_times(lines(tmp_path / name, "progress.jsonl")) for name in ("whole", "parts")]
    assert [r["step"] for r in rows[0]] == list(range(1, 10))
    for a, b in zip(*rows, strict=True):
        assert a == b | {"total": 9.0}
    samples = [lines(tmp_path / name, "samples.jsonl") for name in ("whole", "parts")]
    assert samples[0] == samples[1]
    assert len(samples[0]) == 9 * 8
    assert lines(tmp_path / "parts", "done.json")[0]["reason"] == "finished"


def test_what_was_written_after_the_last_checkpoint_is_written_again(tmp_path):
    class Fails(Vowels):
        def score(self, experience, **needed):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 6:
                raise OSError("the scorer is gone")
            return super().score(experience)

    with pytest.raises(RewardFailed, match="Fails failed at step 5: the scorer is gone"):
        run(fresh(Fails()), QUESTIONS, tmp_path, steps=9, save_every=4)
    assert len(lines(tmp_path, "progress.jsonl")) == 5
    with open(tmp_path / "progress.jsonl", "a") as file:
        file.write('{"step": 6, "val')  # cut short
    run(fresh(), QUESTIONS, tmp_path, steps=7, resume=True)
    assert [r["step"] for r in lines(tmp_path, "progress.jsonl")] == list(range(1, 8))
    assert [r["step"] for r in lines(tmp_path, "samples.jsonl")] == [i for i in range(1, 8) for _ in range(8)]


class Wrong(Vowels):
    """Well for three steps, then as told."""

    def __init__(self, *, answer=None) -> None:
        super().__init__()
        self.answer, self.calls = answer, 0

    def score(self, experience, **needed):
        self.calls += 1
        good = super().score(experience)
        return good if self.calls <= 3 else self.answer(good)


def hang(value):
    threading.Event().wait(60)
    return value


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda good: good[:-1], r"Wrong\.score must have shape \[12\] or \[12, \d\], got \[11\]"),
        (lambda good: good.tolist(), "must return a tensor, got list"),
        (lambda good: ["good"] * len(good), "must return a tensor, got list"),
        (lambda good: None, "must return a tensor, got NoneType"),
        (lambda good: good / 0.0, "is infinite at"),
        (lambda good: {}["missing"], "missing"),
        (hang, r"Wrong has not answered for 0\.2 s"),
    ],
)
def test_a_reward_that_goes_wrong_stops_the_run_by_name_and_the_last_checkpoint_stays(tmp_path, answer, said):
    made = fresh(Wrong(answer=answer), score_timeout=0.2 if answer is hang else None)
    with pytest.raises(RewardFailed, match=said):
        run(made, QUESTIONS, tmp_path, steps=9, save_every=2)
    state, path, damaged = checkpoint.load_newest(tmp_path / "checkpoints")
    assert (path.stem, damaged) == ("000000000002", [])
    again = fresh()
    run(again, QUESTIONS, tmp_path, steps=4, resume=True)
    assert again.steps == 4
    assert state["learner"]["steps"] == 2


def test_a_reward_that_says_nothing_is_counted_and_never_zero(tmp_path):
    made = fresh(Wrong(answer=lambda good: good * torch.nan))
    with pytest.raises(RewardFailed, match=f"scored nothing at all for {PATIENCE} steps"):
        run(made, QUESTIONS, tmp_path, steps=30)
    rows = lines(tmp_path, "progress.jsonl")
    assert len(rows) == 3 + PATIENCE - 1
    for row in rows[3:]:
        assert (row["batch/unscored"], row["batch/trained"]) == (12, 0)
        assert "value/mean" not in row  # which would look like a score
        assert not any(k.startswith("policy/") for k in row)
    last = lines(tmp_path, "samples.jsonl")[-1]
    assert (last["value"], last["terms"]) == (None, {"Wrong": None})


def test_a_reward_that_misses_some_answers_goes_on_without_them(tmp_path):
    made = fresh(Wrong(answer=lambda good: good.where(torch.arange(12) % 3 > 0, torch.nan)))
    run(made, QUESTIONS, tmp_path, steps=6)
    rows = lines(tmp_path, "progress.jsonl")
    assert [(r["batch/unscored"], r["batch/trained"]) for r in rows] == [(0, 12)] * 3 + [(4, 8)] * 3


def test_a_credit_that_goes_wrong_is_named():
    with pytest.raises(ValueError, match="has one answer"):
        fresh(sampler=GroupSampler(n=1, max_tokens=5), credit=GroupAdvantage(baseline="leave-one-out")).step()
    with pytest.raises(ValueError, match=r"function must give finite advantages of shape \[12, \d\]"):
        fresh(credit=lambda completions, scored: torch.zeros(12)).step()


def test_a_run_does_not_write_over_another(tmp_path):
    run(fresh(), QUESTIONS, tmp_path, steps=1)
    with pytest.raises(RunError, match="name another folder"):
        run(fresh(), QUESTIONS, tmp_path, steps=1)
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint"):
        run(fresh(), QUESTIONS, tmp_path / "new", steps=1, resume=True)
