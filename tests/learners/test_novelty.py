"""Novelty beside a language model's feedback, in one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from guerdon.learners.ppo import PPO
from guerdon.learners.run import Config, train
from guerdon.rewards.intrinsic import PseudoCount
from guerdon.tasks import make
from guerdon.types import Spec


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


def test_a_resumed_run_forgets_the_episodes_that_were_under_way():
    """Its games are others: counted afresh, no step may be paid for what an interrupted episode had seen."""
    learner = PPO(rollout=8)
    learner.build(make("FourRooms", num_envs=4), PseudoCount(episodic=True), seed=0)
    collected = learner.collect()
    learner.reward.observe(collected.rollout)
    learner.load_state_dict(learner.state_dict(), seed=5)
    rollout = learner.collect().rollout
    fresh = PseudoCount(episodic=True)
    fresh.build(Spec(learner.task.single_observation_space, learner.task.single_action_space, num_envs=4))
    assert torch.equal(learner.reward.score(rollout), fresh.score(rollout))
