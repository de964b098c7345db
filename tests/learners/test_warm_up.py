"""A reward observes random play before it is trained with."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from guerdon.learners.run import Config, train
from guerdon.learners.warm_up import warm_up
from guerdon.rewards.intrinsic import RND, PseudoCount
from guerdon.tasks import make
from guerdon.types import Spec


def built(reward, task):
    spec = Spec(task.single_observation_space, task.single_action_space, num_envs=task.num_envs)
    reward.build(spec, generator=torch.Generator().manual_seed(0))
    return reward


def test_moments_begin_with_random_play():
    task = make("CartPole-v1", num_envs=4)
    rnd = built(RND(), task)
    before = [p.clone() for p in rnd.parameters()]
    assert warm_up(rnd, task, 1000, length=64) == 1024
    moments = rnd.net.given.moments["numbers"]
    assert 950 < float(moments.count) <= 1025  # less the steps that only reset
    assert float(moments.var.min()) > 0
    for a, b in zip(before, rnd.parameters(), strict=True):
        assert torch.equal(a, b)


def test_no_episode_reaches_from_it_into_training():
    task = make("CartPole-v1", num_envs=4)
    counts = built(PseudoCount(episodic=True), task)
    warm_up(counts, task, 10, length=8)
    assert bool(counts.episodes.ended.all())


def test_a_run_scores_its_first_rollout_on_their_scale(tmp_path: Path):
    means = []
    for name, steps in (("without", 0), ("with", 2000)):
        config = Config(
            task="MountainCar-v0", reward="RND()", learner="PPO(rollout=32)", steps=128, envs=4, workers=0,
            warm_up=steps, record=0,
        )  # fmt: skip
        train(config, tmp_path / name)
        rows = [json.loads(line) for line in (tmp_path / name / "progress.jsonl").read_text().splitlines()]
        assert rows[0]["step"] == 128, "warming up is not training"
        means.append(next(v for k, v in rows[0].items() if k.startswith("term/RND") and k.endswith("mean")))
    assert means[1] > 2 * means[0], "positions within 0.1 of each other look alike until they are standardised"
