import functools
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from guerdon import tasks
from guerdon.compare import task_sample
from guerdon.compare.linear_policies import LinearPolicy, found_by_play
from guerdon.compare.starc import Cosines
from guerdon.compare.task_sample import random_play, sampled_difference, sampled_distances
from guerdon.compare.transition_pay import side_by_side
from guerdon.rewards.shaping import Extrinsic
from guerdon.types import Reward, Rollout

GAMMA = 0.9


class Line(gym.Env):
    """A point on a line that begins anywhere and is pushed by an action; 16 steps."""

    observation_space = spaces.Box(-2, 2, (1,), np.float32)

    def __init__(self, discrete=True):
        self.action_space = spaces.Discrete(3) if discrete else spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return np.array([self.x], np.float32), {}

    def step(self, action):
        push = action - 1 if isinstance(self.action_space, spaces.Discrete) else float(action[0])
        self.x = float(np.clip(self.x + 0.3 * push, -2, 2))
        return np.array([self.x], np.float32), -abs(self.x), False, False, {}


gym.register("SampleLine-v0", entry_point=Line, max_episode_steps=16)
gym.register("SampleLineBox-v0", entry_point=Line, kwargs={"discrete": False}, max_episode_steps=16)
LINE = functools.partial(tasks.make, "SampleLine-v0")


class Shaped(Reward):
    """k times the task's reward, and gamma Phi(x') - Phi(x) with Phi = cos(2 x)."""

    def __init__(self, *, k=1.0):
        super().__init__()
        self.k = k

    def score(self, experience):
        x = experience.obs["obs"][..., 0]
        return self.k * experience.extrinsic + GAMMA * torch.cos(2 * x[1:]) - torch.cos(2 * x[:-1])


class Right(Reward):
    """Where the point stands: best far to the right."""

    def score(self, experience):
        return experience.obs["obs"][1:, ..., 0]


class Wrong(Reward):
    def score(self, experience):
        return torch.full(experience.shape, torch.nan)


@pytest.fixture(scope="module")
def found():
    rewards = [Extrinsic(), Shaped(k=3.0), Right(), -1.0 * Extrinsic(), 0.0 * Extrinsic()]
    names = ["near", "shaped", "right", "far", "zero"]
    return sampled_distances(rewards, names, LINE, gamma=GAMMA, seeds=range(3), steps=1024)


def test_distances(found):
    d = found.distance
    assert d.raw[0, 1] < 0.05
    assert d.raw[0, 3].item() == pytest.approx(2.0)
    assert 0.5 < d.raw[0, 2] < 1.95
    assert d.raw[0, 4].item() == pytest.approx(1.0)
    assert d.raw.diagonal().abs().max() == 0
    assert (d.low <= d.raw).all()
    assert (d.raw <= d.high).all()
    assert d.high.max() <= 2
    assert d.seeds == (0, 1, 2)
    assert "1024 steps of random play" in d.coverage


def test_words(found):
    def say(i, j):
        return sampled_difference(found, i, j, ("A", "B"), LINE, 5)

    alike = say(0, 1)
    assert alike.kind == "scale and shaping"
    assert alike.scale == pytest.approx(3.0, rel=0.05)
    assert "B prefers no policy" in say(0, 4).words
    assert "A prefers no policy" in say(4, 0).words
    assert say(0, 3).kind == "opposite"
    order = say(0, 2)
    assert order.kind == "order"
    (a, b), (c, d) = order.witness.returns
    assert a > b
    assert c < d
    assert order.witness.names[0] != order.witness.names[1]
    assert order.witness.data().keys() == {"policies", "returns", "where"}


def test_no_witness_is_made_up(found):
    """Two rewards of the same order: no pair of policies is told apart both ways."""
    rewards = [found.rewards[0], found.rewards[1]]
    assert found_by_play(found.policies, found.names, rewards, LINE, GAMMA, 0) is None


def test_a_wide_interval_without_a_witness_is_unclear(found, monkeypatch):
    """With one, the order differs for certain, however wide the interval."""
    wide = replace(found, distance=replace(found.distance, low=torch.zeros(5, 5), high=torch.full((5, 5), 2.0)))
    assert sampled_difference(wide, 0, 2, ("A", "B"), LINE, 5).kind == "order"
    monkeypatch.setattr(task_sample, "found_by_play", lambda *_: None)
    unclear = sampled_difference(wide, 0, 2, ("A", "B"), LINE, 5)
    assert unclear.kind == "unclear"
    assert "take more --steps" in unclear.words
    sure = sampled_difference(found, 0, 2, ("A", "B"), LINE, 5)
    assert sure.kind == "order"
    assert "no two show it" in sure.words


def test_boxes_of_actions():
    task, rewards = functools.partial(tasks.make, "SampleLineBox-v0"), [Extrinsic(), Right()]
    found = sampled_distances(rewards, ["near", "right"], task, gamma=GAMMA, seeds=[0], steps=256)
    assert found.distance.low is None
    assert len(found.policies) == 8
    difference = sampled_difference(found, 0, 1, ("A", "B"), task, 5)
    assert difference.kind == "order"
    assert difference.witness is None or "random policy" in difference.witness.names[0]


def test_unscored_steps_are_refused():
    with pytest.raises(ValueError, match="Wrong leaves 256 of 256"):
        sampled_distances([Extrinsic(), Wrong()], ["a", "b"], LINE, gamma=GAMMA, seeds=[0], steps=272)


def test_resets_are_no_transitions():
    """16 steps and one that resets: 8 games of 34 steps are 32 transitions each."""
    play, spec = random_play(LINE, 0, 8 * 34, False)
    assert play.shape == (1, 8 * 32)
    assert play.valid.all()
    x = play.obs["obs"][..., 0]
    moved = (x[0] + 0.3 * (play.action[0] - 1)).clamp(-2, 2)
    torch.testing.assert_close(x[1], moved.float())
    assert spec.num_envs == 8


def test_side_by_side_keeps_captions_beside_their_observation():
    obs = torch.arange(6.0).view(3, 2, 1)
    caption = torch.arange(6, dtype=torch.int32).view(3, 2)
    no = torch.zeros(2, 2, dtype=torch.bool)
    rollout = Rollout(
        obs=TensorDict({"obs": obs}, [3, 2]), action=torch.arange(4).view(2, 2), extrinsic=torch.zeros(2, 2),
        terminated=no, truncated=no, valid=torch.tensor([[True, True], [False, True]]), caption=caption,
        caption_count=caption,
    )  # fmt: skip
    flat = side_by_side(rollout)
    assert flat.action.tolist() == [[0, 1, 3]]
    assert flat.obs["obs"][..., 0].tolist() == [[0, 1, 3], [2, 3, 5]]
    assert flat.caption.tolist() == [[0, 1, 3], [2, 3, 5]]


def test_linear_policies_stay_within_their_space():
    phi = Cosines(torch.randn(20, 1, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1))
    obs = {"obs": np.linspace(-2, 2, 5, dtype=np.float32)[:, None]}
    weights = torch.randn(514, 3, generator=torch.Generator().manual_seed(2)).double()
    first = LinearPolicy(phi, weights, spaces.Discrete(3, start=1))(obs)
    assert set(first.tolist()) <= {1, 2, 3}
    masked = obs | {"action_mask": np.array([[1, 0, 0]] * 5, np.int8)}
    phi_masked = Cosines(torch.randn(20, 4), torch.Generator().manual_seed(1))
    policy = LinearPolicy(phi_masked, torch.randn(517, 3).double(), spaces.Discrete(3))
    assert policy(masked).tolist() == [0] * 5
    box = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, np.inf], np.float32))
    pushed = LinearPolicy(phi, 100 * weights[:, :2], box)(obs)
    assert pushed.shape == (5, 2)
    assert (pushed[:, 0] >= -1).all()
    assert (pushed[:, 0] <= 1).all()
    assert (pushed[:, 1] >= 0).all()
