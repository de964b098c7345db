"""RLLTE's own PPO, with rewards of ours where its reward modules go.

Its pins collide with ours: test_rllte.py runs this file in an environment that has it.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from adapters.control_rewards import Move, Novelty, Walk
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics
from rllte.agent import PPO
from rllte.env.utils import Gymnasium2Torch

from guerdon.adapters.rllte import KEYS, RewardModule
from guerdon.rewards.intrinsic import RND
from guerdon.rewards.shaping import Extrinsic, Normalise

LENGTHS = (2, 3, 5)


def walks() -> Gymnasium2Torch:
    makes = [functools.partial(Walk, length) for length in LENGTHS]
    return Gymnasium2Torch(RecordEpisodeStatistics(SyncVectorEnv(makes)), "cpu")


class Seen(RewardModule):
    """What the agent handed over, and got."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.seen, self.watched = [], 0

    def watch(self, *args, **options):
        self.watched += 1
        return super().watch(*args, **options)

    def compute(self, samples, sync=True):
        kept = {k: v.clone() for k, v in samples.items()}
        paid = super().compute(samples, sync)
        self.seen.append((kept, paid.clone()))
        return paid


def train(reward, tmp_path, monkeypatch) -> Seen:
    monkeypatch.chdir(tmp_path)
    env = walks()
    agent = PPO(env=env, device="cpu", num_steps=16, batch_size=16, n_epochs=1, seed=0)
    module = Seen(env, reward)
    agent.set(reward=module)
    agent.train(num_train_steps=3 * 16 * 3, eval_interval=1000, save_interval=1000)
    return module


def test_its_ppo_is_paid_and_the_reward_learns(tmp_path, monkeypatch):
    module = train(Move() + 0.5 * Extrinsic(), tmp_path, monkeypatch)
    assert module.watched == 48
    assert len(module.seen) == 3
    scale = float(module.live.reward.state_dict()["rewards.0.scale"]) / 0.9**3
    for samples, paid in module.seen:
        assert samples["terminateds"].shape == (17, 3), "its storage has those of the step before first"
        at, to = samples["observations"], samples["next_observations"]
        over = (samples["terminateds"] + samples["truncateds"])[1:] > 0
        known = scale * (to - at).abs().sum(-1) + 0.1 * samples["actions"][..., 0] + 0.5 * samples["rewards"]
        torch.testing.assert_close(paid, known.masked_fill(over, 0.0), rtol=1e-4, atol=1e-5)
        assert over.sum() > 9
        scale *= 0.9
    assert [call for call, _ in module.metrics["intrinsic_rewards"]] == [1, 2, 3]
    assert len(module.metrics["Move/scale"]) == 3


def test_rewards_with_state_and_episodes(tmp_path, monkeypatch):
    module = train(Normalise(RND(hidden=(8,), fraction=1.0)) + Novelty(), tmp_path, monkeypatch)
    valid = sum(int((s["terminateds"] + s["truncateds"])[1:].eq(0).sum()) for s, _ in module.seen)
    assert float(module.live.reward.state_dict()["rewards.0.moments.count"]) == pytest.approx(valid, abs=1e-2)
    for samples, paid in module.seen:
        seen: list[dict] = [{} for _ in LENGTHS]
        for t in range(16):
            for i in range(3):
                if (samples["terminateds"] + samples["truncateds"])[t + 1, i] > 0:
                    assert paid[t, i] == 0
                    seen[i] = {}
        assert (paid[samples["terminateds"][1:] + samples["truncateds"][1:] == 0] > 0).all()


def test_compute_is_pure_without_sync_and_update_learns():
    module = RewardModule(walks(), Normalise(Move()))
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(5, 3, 2, generator=generator)
    samples = {
        "observations": obs[:-1], "actions": torch.randint(3, (4, 3, 1), generator=generator).float(),
        "rewards": torch.zeros(4, 3), "terminateds": torch.zeros(4, 3), "truncateds": torch.zeros(4, 3),
        "next_observations": obs[1:],
    }  # fmt: skip
    assert tuple(samples) == KEYS
    first, again = (module.compute(samples, sync=False) for _ in range(2))
    assert torch.equal(first, again)
    module.update(samples)
    assert not torch.allclose(module.compute(samples, sync=False), first)
    with pytest.raises(ValueError, match=r"\['truncateds'\] are missing"):
        module.compute({k: v for k, v in samples.items() if k != "truncateds"})
    with pytest.raises(ValueError, match="NaN or infinite"):
        module.compute(samples | {"observations": obs[:-1] / 0})
    with pytest.raises(ValueError, match="'same_step' or 'next_step'"):
        RewardModule(walks(), "Extrinsic()", autoreset="never")


def test_next_step():
    module = RewardModule(walks(), Extrinsic(), autoreset="next_step")
    samples = {k: torch.zeros(3, 3) for k in KEYS} | {"rewards": torch.ones(3, 3)}
    samples |= {"observations": torch.zeros(3, 3, 2), "next_observations": torch.zeros(3, 3, 2)}
    samples["terminateds"][0, 0] = samples["truncateds"][2, 1] = 1.0
    assert module.compute(samples).tolist() == [[1, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert np.array(module.compute(samples)).tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 1]]
