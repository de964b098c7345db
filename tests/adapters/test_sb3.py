"""Stable-Baselines3's own PPO, SAC and DQN, paid by rewards of ours."""

from __future__ import annotations

import csv
import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from adapters.control_rewards import Move, Novelty, Walk
from adapters.test_gymnasium import LENGTHS, alone
from contracts.promises import snapshot

from guerdon.adapters.gymnasium import PaidBy
from guerdon.rewards.intrinsic import RND
from guerdon.rewards.shaping import CountGate, Extrinsic, Normalise

sb3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.logger import configure  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize  # noqa: E402

from guerdon.adapters.sb3 import (  # noqa: E402
    RewardCallback,
    RewardDictReplayBuffer,
    RewardReplayBuffer,
    VecPaidBy,
    restore,
)


def walks(kind: type = DummyVecEnv, **options) -> DummyVecEnv:
    def make(length: int) -> Monitor:
        return Monitor(Walk(length, **options))

    return kind([functools.partial(make, length) for length in LENGTHS])


def vector(reward, when: str = "step", **options) -> VecPaidBy:
    return VecPaidBy(walks(**options), reward, when=when, rollout=16)


def ppo(env, **options) -> sb3.PPO:
    policy = "MultiInputPolicy" if "box" in options else "MlpPolicy"
    return sb3.PPO(policy, env, n_steps=16, batch_size=16, n_epochs=2, seed=0, device="cpu")


def weights(model) -> torch.Tensor:
    return torch.cat([p.flatten() for p in model.policy.parameters()])


@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
def test_every_step_is_paid_for_what_it_led_to(kind: type):
    env = VecPaidBy(walks(kind), 0.5 * Extrinsic() + Move() + Novelty(), rollout=1000)
    scale = float(env.live.reward.state_dict()["rewards.1.scale"])
    generator, count = np.random.default_rng(0), len(LENGTHS)
    env.seed(5)
    env.reset()
    did, paid = [[] for _ in LENGTHS], [[] for _ in LENGTHS]
    for _ in range(30):
        actions = generator.integers(3, size=count)
        _, rewards, _, infos = env.step(actions)
        for i, info in enumerate(infos):
            did[i].append(actions[i])
            paid[i].append([info[f"reward/{name}"] for name in ("extrinsic", "Move", "Novelty")])
            assert rewards[i] == info["reward/total"]
            assert rewards[i] == pytest.approx(0.5 * paid[i][-1][0] + sum(paid[i][-1][1:]), abs=1e-6)
    for i, length in enumerate(LENGTHS):
        np.testing.assert_allclose(paid[i], alone(length, did[i], 5 + i, scale, False), atol=1e-5)
    env.close()


@pytest.mark.parametrize("reward", [lambda: Extrinsic() + Normalise(Novelty()), lambda: Normalise(RND(hidden=(8,)))])
def test_ppo_learns_the_same_whether_paid_at_once_or_at_the_end(reward):
    models = {}
    for when in ("step", "rollout"):
        env = vector(reward(), when)
        model = models[when] = ppo(env)
        model.learn(3 * 16 * 3, callback=RewardCallback())
        state = env.live.reward.state_dict()
        moments = next(v for k, v in state.items() if k.endswith("moments.count"))
        assert moments == pytest.approx(3 * 16 * 3, abs=1e-2), "it observed every step once"
    torch.testing.assert_close(weights(models["step"]), weights(models["rollout"]), rtol=1e-4, atol=1e-5)
    unpaid = ppo(walks())
    unpaid.learn(3 * 16 * 3)
    assert not torch.allclose(weights(models["step"]), weights(unpaid), atol=1e-4)


@pytest.mark.parametrize("when", ["step", "rollout"])
def test_a_rollout_that_is_broken_off_is_taken_up_again(when: str):
    class Stop(RewardCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 20

    env = vector(Novelty() + Extrinsic(), when)
    model = ppo(env)
    model.learn(4 * 16 * 3, callback=Stop())
    assert env.live.steps == 4, "20 steps: one rollout of 16, and these"
    model.learn(2 * 16 * 3, callback=RewardCallback())
    assert env.live.steps == 0
    assert (model.rollout_buffer.rewards != 0).mean() > 0.9, "novelty pays every step"


def test_the_log_tells_raw_normalised_and_weighted_values_apart(tmp_path):
    model = ppo(vector(Extrinsic() + 0.25 * Normalise(Move())))
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(4 * 16 * 3, callback=RewardCallback(), log_interval=1)
    with (tmp_path / "progress.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)][1:]
    assert len(rows) == 3
    for row in rows:
        raw, out = (row[f"reward/stage/Normalise(Move)/{k}/mean"] for k in ("in", "out"))
        assert raw > 0
        assert raw != pytest.approx(out)
        assert row["reward/term/Normalise(Move)/mean"] == pytest.approx(0.25 * out, rel=1e-4)
        total = row["reward/extrinsic/mean"] + row["reward/term/Normalise(Move)/mean"]
        assert row["reward/total/mean"] == pytest.approx(total, rel=1e-3, abs=1e-5)
        assert "reward/Move/scale" in row
        assert "rollout/ep_rew_mean" in row


def test_the_reward_is_saved_with_the_model(tmp_path):
    def reward():
        return Normalise(RND(hidden=(8,))) + Novelty() + Extrinsic()

    env = vector(reward())
    model = ppo(env)
    model.learn(2 * 16 * 3, callback=RewardCallback())
    model.save(tmp_path / "model")
    other = VecPaidBy(walks(), reward(), seed=9)
    loaded = sb3.PPO.load(tmp_path / "model", env=other)
    assert not same(env, other)
    assert restore(loaded) is other
    assert same(env, other)
    third = VecPaidBy(walks(), reward(), seed=9)
    loaded = sb3.PPO.load(tmp_path / "model", env=third)
    loaded.save(tmp_path / "again")  # untouched: the state is passed on
    loaded = sb3.PPO.load(tmp_path / "again", env=third)
    seen = []

    class Look(RewardCallback):
        def _on_rollout_start(self):
            seen.append(same(env, third))

    loaded.learn(2 * 16 * 3, callback=Look(), reset_num_timesteps=False)
    assert seen == [True, False], "restored when learning begins, and then learned on"


def same(one: VecPaidBy, other: VecPaidBy) -> bool:
    return snapshot(one.live.reward.state_dict()) == snapshot(other.live.reward.state_dict())


@pytest.mark.parametrize("algorithm", ["SAC", "DQN", "DQN dictionary"])
def test_replayed_steps_are_paid_by_the_reward_of_now(algorithm: str):
    dictionary, box = algorithm.endswith("dictionary"), algorithm == "SAC"
    buffer = RewardDictReplayBuffer if dictionary else RewardReplayBuffer
    env = vector(0.5 * Extrinsic() + Move(), box=box, plain_dictionary=dictionary)
    model = getattr(sb3, algorithm.split()[0])(
        "MultiInputPolicy" if dictionary else "MlpPolicy", env, replay_buffer_class=buffer, learning_starts=20,
        buffer_size=300, batch_size=32, seed=0, device="cpu", train_freq=4,
    )  # fmt: skip
    first = float(env.live.reward.state_dict()["rewards.1.scale"])
    model.learn(60 * 3, callback=RewardCallback())
    scale = float(env.live.reward.state_dict()["rewards.1.scale"])
    assert scale == pytest.approx(first * 0.9**3, rel=1e-5), "60 steps are three full rollouts of 16"
    before, extrinsic = env.live.reward.state_dict(), model.replay_buffer.extrinsic
    batch = model.replay_buffer.sample(64)
    at, after = ((o["obs"] if dictionary else o) for o in (batch.observations, batch.next_observations))
    action = 2 * batch.actions[:, 0] if box else batch.actions[:, 0].float()
    known = 0.5 * after[:, 0] / 2 + scale * (after - at).abs().sum(1) + 0.1 * action
    torch.testing.assert_close(batch.rewards[:, 0], known, rtol=1e-4, atol=1e-4)
    assert extrinsic.any()
    assert before.keys() == env.live.reward.state_dict().keys()
    collected = model.replay_buffer.rewards.collected
    assert collected[:16].any()
    assert not np.isin(batch.rewards.numpy(), collected).all(), "not what was paid when they were collected"


def test_rewards_of_episodes_keep_what_was_paid(tmp_path):
    env = vector(Novelty())
    model = sb3.DQN(
        "MlpPolicy", env, replay_buffer_class=RewardReplayBuffer, learning_starts=10, buffer_size=300, seed=0
    )
    model.learn(60 * 3, callback=RewardCallback())
    rewards = model.replay_buffer.sample(64).rewards
    assert rewards.min() > 0
    assert np.isin(rewards.numpy(), model.replay_buffer.rewards.collected).all()
    model.save_replay_buffer(tmp_path / "buffer")
    model.load_replay_buffer(tmp_path / "buffer")
    with pytest.raises(RuntimeError, match="does not know its reward"):
        model.replay_buffer.sample(4)
    model.learn(30, callback=RewardCallback(), reset_num_timesteps=False)


def test_normalised_environments_are_scored_raw():
    env = VecNormalize(vector(Move()), norm_reward=False)
    model = sb3.DQN(
        "MlpPolicy", env, replay_buffer_class=RewardReplayBuffer, learning_starts=10, buffer_size=300, seed=0
    )
    model.learn(60, callback=RewardCallback())
    paid = env.venv.live
    batch = model.replay_buffer.sample(16)  # not normalised without env=
    scale = float(paid.reward.scale)
    known = scale * (batch.next_observations - batch.observations).abs().sum(1) + 0.1 * batch.actions[:, 0]
    torch.testing.assert_close(batch.rewards[:, 0], known, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_done_says_why():
    with pytest.raises(ValueError, match="wrap once"):
        VecPaidBy(VecNormalize(vector(Move())), "Extrinsic()")
    with pytest.raises(ValueError, match="wrap once"):
        VecPaidBy(DummyVecEnv([lambda: PaidBy(Walk(), "Extrinsic()")]), "Extrinsic()")
    with pytest.raises(ValueError, match="'step' or 'rollout'"):
        vector(Move(), "never")
    with pytest.raises(RuntimeError, match=r"pass callback=RewardCallback\(\)"):
        ppo(vector(Move())).learn(100)
    with pytest.raises(ValueError, match="PPO has no reward of guerdon: wrap it in VecPaidBy"):
        ppo(walks()).learn(100, callback=RewardCallback())
    with pytest.raises(ValueError, match="reads a caption"):
        vector(CountGate(Extrinsic())).reset()
    options = {"learning_starts": 2, "buffer_size": 30, "device": "cpu"}
    with pytest.raises(ValueError, match="is for PPO and A2C"):
        sb3.DQN("MlpPolicy", vector(Move(), "rollout"), **options).learn(9, callback=RewardCallback())
    options["replay_buffer_class"] = RewardReplayBuffer
    with pytest.raises(ValueError, match="optimize_memory_usage=False"):
        sb3.DQN("MlpPolicy", vector(Move()), optimize_memory_usage=True, **options)
    stacked = sb3.DQN("MlpPolicy", VecFrameStack(vector(Move()), 2), **options)
    with pytest.raises(ValueError, match="put VecPaidBy around the wrapper"):
        stacked.learn(9, callback=RewardCallback())
    env = vector(Move(), broken=True)
    env.reset()
    with pytest.raises(ValueError, match="Move: observation 'obs' is NaN or infinite"):
        env.step(np.ones(3, int))


def test_without_it_the_adapter_says_what_to_install():
    code = "import sys; sys.modules['stable_baselines3'] = None; import guerdon.adapters.sb3"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'guerdon[sb3]'" in ended.stderr
