"""imitation's own reward wrapper and Stable-Baselines3's PPO on it, paid by rewards of ours.

Its pins collide with ours: test_imitation.py runs this file in an environment that has it.
"""

from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
from adapters.control_rewards import Move, Novelty, Walk
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from stable_baselines3.common.vec_env import DummyVecEnv

from guerdon.adapters.imitation import RewardFunction
from guerdon.rewards.intrinsic import RND
from guerdon.rewards.shaping import Extrinsic, Normalise

LENGTHS = (2, 3, 5)


def walks() -> DummyVecEnv:
    return DummyVecEnv([functools.partial(Walk, length) for length in LENGTHS])


def test_these_are_imitations_own_versions():
    assert gym.__version__ == "0.29.1"
    assert stable_baselines3.__version__ == "2.2.1"


def test_the_wrapper_pays_every_step_for_what_it_led_to():
    venv = walks()
    function = RewardFunction(Move() + Novelty(), venv=venv, rollout=1000)
    scale = float(function.live.reward.state_dict()["rewards.0.scale"])
    env = RewardVecEnvWrapper(venv, function)
    before, seen = env.reset(), [{} for _ in LENGTHS]
    generator, ends = np.random.default_rng(0), 0
    for _ in range(40):
        actions = generator.integers(3, size=3)
        after, rewards, dones, infos = env.step(actions)
        for i, info in enumerate(infos):
            reached = info["terminal_observation"] if dones[i] else after[i]
            place = tuple(reached.round().astype(int))
            seen[i][place] = seen[i].get(place, 0) + 1
            expected = scale * np.abs(reached - before[i]).sum() + 0.1 * actions[i] + 1 / seen[i][place]
            assert rewards[i] == pytest.approx(expected, abs=1e-5)
            if dones[i]:
                seen[i], ends = {}, ends + 1
        before = after
    assert ends > 9
    assert "original_env_rew" in infos[0]


def test_ppo_learns_and_so_does_the_reward():
    venv = walks()
    function = RewardFunction(Normalise(RND(hidden=(8,), fraction=1.0)), venv=venv, rollout=16)
    env = RewardVecEnvWrapper(venv, function)
    stable_baselines3.PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0).learn(
        96, callback=env.make_log_callback()
    )
    assert function.logs["RND/loss"] > 0
    assert float(function.live.reward.moments.count) == pytest.approx(96, abs=1e-2)


def test_batches_of_any_size_are_scored_again():
    function = RewardFunction(Move(), venv=walks())
    state = np.zeros((5, 2), np.float32)
    paid = function.batch(state, np.arange(5) % 3, state + 1, np.zeros(5))
    scale = float(function.live.reward.scale)
    assert paid.dtype == np.float32
    np.testing.assert_allclose(paid, 2 * scale + 0.1 * (np.arange(5) % 3), atol=1e-6)
    with pytest.raises(ValueError, match="Novelty looks at a step in its place"):
        RewardFunction(Novelty(), venv=walks()).batch(state, np.zeros(5), state, np.zeros(5))


def test_what_cannot_be_done_says_why():
    with pytest.raises(ValueError, match=r"leave Extrinsic\(\) out"):
        RewardFunction(0.5 * Extrinsic() + Move(), venv=walks())
    function = RewardFunction(Move(), venv=walks())
    with pytest.raises(ValueError, match="Move: observation 'obs' must have shape"):
        function(np.zeros((3, 4)), np.zeros(3), np.zeros((3, 4)), np.zeros(3, bool))
    with pytest.raises(ValueError, match="NaN or infinite"):
        function(np.full((3, 2), np.inf), np.zeros(3), np.zeros((3, 2)), np.zeros(3, bool))
