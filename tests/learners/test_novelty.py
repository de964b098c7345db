"""Novelty beside a language model's feedback, in one run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guerdon.learners.run import Config, train


def test_oni_and_rnd_pay_and_learn_together_on_nethack(tmp_path: Path):
    pytest.importorskip("nle")
    reward = "0.4 * ONI() + Stream(Normalise(RND(keys=['glyphs']), episodic=False), gamma=0.99, episodic=False)"
    config = Config(
        task="NetHackScore", reward=reward, judge="KeywordJudge(words=('Hello', 'see', 'open', 'kill'))",
        learner="PPO(rollout=64)", steps=3 * 64 * 4, envs=4, workers=0, record=0, label_delay=1,
    )  # fmt: skip
    folder = train(config, tmp_path / "run")
    rows = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    last = rows[-1]
    assert last["reward/ONI/labelled"] > 0
    assert last["reward/RND/loss"] < rows[0]["reward/RND/loss"]
    assert last["term/Normalise(RND)/mean"] > 0
    assert last["stage/Normalise(RND)/in/mean"] == pytest.approx(last["stage/RND/mean"])
    assert last["stage/0.4*ONI/max"] == pytest.approx(0.4 * last["stage/ONI/max"])


def test_a_resumed_run_forgets_the_episodes_that_were_under_way(tmp_path: Path):
    """No cell of DeepSea is met twice in an episode: all are paid 1, unless an interrupted episode is remembered."""
    config = Config(
        task="DeepSea", reward="PseudoCount(episodic=True)", learner="PPO(rollout=4)", steps=16, envs=4, workers=0,
        record=0,
    )  # fmt: skip
    folder = train(config, tmp_path / "run")
    train(replace(config, steps=32), folder, resume=True)
    rows = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [row["term/PseudoCount/mean"] for row in rows] == [1.0, 1.0]
