"""The flat agent: what it sees, what it is paid, and that it learns."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from guerdon import tasks
from guerdon.learners.double_dqn import DoubleDQN
from guerdon.learners.dqn import DQN, Flat
from guerdon.rewards.intrinsic import PseudoCount
from guerdon.rewards.shaping import Extrinsic
from guerdon.types import Reward, Rollout


class Fixed(Reward):
    """Pays 2 a step, has NaN for what it cannot score, and remembers what it was shown."""

    def build(self, spec, *, device="cpu", generator=None):
        self.seen: list[Rollout] = []
        return self

    def score(self, rollout):
        paid = torch.where(rollout.valid, 2.0, 0.0)
        paid[0, 0] = torch.nan
        return paid

    def observe(self, rollout):
        self.seen.append(rollout)


def test_observations_lie_flat_in_order_and_scaled():
    space = spaces.Dict(
        {
            "a": spaces.Box(np.array([0.0, -2.0]), np.array([10.0, 2.0]), dtype=np.float64),
            "b": spaces.Discrete(3, start=1),
            "c": spaces.Box(-np.inf, np.inf, (1, 2), np.float32),
        }
    )
    flat = Flat(space)
    obs = {"a": np.array([[5.0, 2.0]]), "b": np.array([3]), "c": np.array([[[7.0, -8.0]]], np.float32)}
    assert flat.size == 7
    assert flat(obs).tolist() == [[0.0, 1.0, 0.0, 0.0, 1.0, 7.0, -8.0]]
    assert Flat(space, ("c",))(obs).tolist() == [[7.0, -8.0]]
    with pytest.raises(TypeError, match="keys"):
        Flat(spaces.Dict({"t": spaces.Text(5)}))


def test_it_finds_the_treasure_of_a_small_sea():
    task = tasks.make("DeepSea", num_envs=8, size=5, mapping=None)
    learner = DoubleDQN(lr=3e-3, batch=64, start=200, target_every=50)
    agent = DQN(learner=learner, hidden=32, epsilon_steps=6000, length=4).build(task, Extrinsic(), seed=0)
    told = agent.train(task, steps=12_000, seed=0)
    assert np.mean([row["success"] for row in told[:50]]) < 0.2
    assert np.mean([row["success"] for row in told[-50:]]) > 0.6


def test_a_bonus_is_scored_at_collection_and_invalid_steps_are_left_out():
    task = tasks.make("DeepSea", num_envs=3, size=4)
    reward = Fixed()
    agent = DQN(learner=DoubleDQN(start=10_000), length=7).build(task, reward, seed=0)
    agent.train(task, steps=42, seed=0)
    valid = torch.cat([rollout.valid.flatten() for rollout in reward.seen])
    assert agent.learner.replay.size == int(valid.sum()) < 42
    rows = agent.learner.replay.state_dict()["rows"]
    assert sorted(rows["reward"].unique().tolist()) == [0.0, 2.0]
    assert (rows["reward"] == 0).sum() == len(reward.seen)  # not scored pays nothing
    ended = torch.cat([rollout.terminated[rollout.valid] for rollout in reward.seen])
    assert torch.equal(rows["discount"] == 0, ended)


def test_counts_make_it_go_where_it_was_not():
    """Over the same number of steps, with counts more square metres than by chance or by a reward that never comes."""
    trodden = []
    for reward in (Extrinsic(), Extrinsic() + PseudoCount(keys=("cell",))):
        task = tasks.make("Gardens", num_envs=8, layout=0, steps=200)
        learner = DoubleDQN(lr=1e-3, start=500)
        agent = DQN(keys=("position",), learner=learner, epsilon_steps=2000).build(task, reward, seed=0)
        cells = set()
        agent.train(
            task, steps=8_000, seed=0, watch=lambda s, seen=cells: seen.update(map(tuple, s.obs["cell"].tolist()))
        )
        trodden.append(len(cells))
    assert trodden[1] > trodden[0]


def test_tasks_it_cannot_play():
    task = tasks.make("CartPole-v1", num_envs=2, groups=2)
    agent = DQN().build(task, Extrinsic())
    with pytest.raises(ValueError, match="groups=1"):
        agent.train(task, steps=2)
    task.close()
    gym.register("guerdon-test/Pendulum-v0", "gymnasium.envs.classic_control.pendulum:PendulumEnv")
    task = tasks.make("guerdon-test/Pendulum-v0", num_envs=1, groups=1)
    with pytest.raises(TypeError, match="Discrete"):
        DQN().build(task, Extrinsic())
    task.close()
    del gym.registry["guerdon-test/Pendulum-v0"]
