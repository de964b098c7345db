"""RLLTE's E3B, pseudo-counts and RE3 and ours, on the same features; run by test_memories_rllte.py where RLLTE is.

RLLTE pays a step for the observation it began with, ours for the one it led to: so memories are compared, not rewards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from rllte.xplore import reward as rllte

from guerdon.parts.elliptical import EllipticalMemory
from guerdon.parts.episodes import Visits
from guerdon.parts.kernel_count import KernelCount
from guerdon.parts.knn_memory import EpisodicMemory, LifelongMemory

STEPS, ENVS, SIZE = 60, 3, 5


class Steps(VectorEnv):
    """What RLLTE's constructors want to know of a task."""

    def __init__(self) -> None:
        self.num_envs = ENVS
        self.single_observation_space = self.observation_space = spaces.Box(-np.inf, np.inf, (SIZE,), np.float32)
        self.single_action_space = self.action_space = spaces.Discrete(4)


@pytest.fixture
def samples() -> dict[str, torch.Tensor]:
    """Steps of several episodes: RLLTE forgets after a step that ends one."""
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(STEPS + 1, ENVS, SIZE, generator=g)
    ends = (torch.rand(STEPS, ENVS, generator=g) < 0.1).float()
    return {
        "observations": obs[:-1], "actions": torch.randint(4, (STEPS, ENVS), generator=g),
        "rewards": torch.zeros(STEPS, ENVS), "terminateds": ends, "truncateds": torch.zeros(STEPS, ENVS),
        "next_observations": obs[1:],
    }  # fmt: skip


def made(kind: str, samples: dict[str, torch.Tensor], **options: Any) -> Any:
    """RLLTE's reward, having watched the samples."""
    reward = getattr(rllte, kind)(Steps(), obs_norm_type="none", rwd_norm_type="none", **options)
    if kind == "PseudoCounts":
        reward.dist_rms.mean = torch.tensor([0.7])  # 0 at first, by which every distance would be infinite
    for t in range(STEPS):
        reward.watch(*(value[t] for value in samples.values()))
    return reward


def visits(samples: dict[str, torch.Tensor]) -> Visits:
    """What RLLTE looks at: the observations steps began with, all of them."""
    begins = torch.cat([torch.zeros(1, ENVS), samples["terminateds"][:-1]]).long()
    episode, step = begins.cumsum(0), torch.arange(STEPS)[:, None]
    ordinal = step - torch.where(begins.bool(), step, 0).cummax(0).values
    return Visits(torch.ones(STEPS, ENVS, dtype=torch.bool), episode, ordinal)


def features(network: Any, samples: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return network(samples["observations"].flatten(0, 1)).view(STEPS, ENVS, -1)


def test_elliptical_bonus(samples: dict[str, torch.Tensor]) -> None:
    theirs = made("E3B", samples, ridge=0.1, latent_dim=16)
    bonus, _ = EllipticalMemory(ENVS, 16, 0.1).walk(features(theirs.encoder, samples), visits(samples))
    torch.testing.assert_close(theirs.compute(samples, sync=False), bonus, rtol=1e-3, atol=1e-5)  # theirs in float32


def test_kernel_of_the_nearest_in_the_episode(samples: dict[str, torch.Tensor]) -> None:
    theirs = made("PseudoCounts", samples, k=4)
    paid = torch.tensor([[float(x) for x in column] for column in theirs.n_eps]).T
    seen, kernel = visits(samples), KernelCount(epsilon=1e-4)
    kernel.advance(torch.full((1, 1, 1), 0.7), torch.ones(1, 1, dtype=torch.bool))
    nearest = EpisodicMemory(ENVS, 32, 1000).nearest(features(theirs.encoder.encode, samples), seen, 4)
    ours = kernel.similarity(nearest, seen.there, running=False).reciprocal()
    torch.testing.assert_close(paid, ours.masked_fill(seen.ordinal == 0, 0.0), rtol=1e-4, atol=1e-6)  # theirs pays 0


def test_distance_to_the_kth_neighbour(samples: dict[str, torch.Tensor]) -> None:
    theirs = made("RE3", samples, k=3, latent_dim=16)
    paid, found = theirs.compute(samples), features(theirs.random_encoder, samples)
    for b in range(ENVS):  # each among its own steps, itself the nearest
        memory = LifelongMemory(16, 1000)
        memory.add(found[:, b])
        torch.testing.assert_close(paid[:, b], memory.nearest(found[:, b], 4)[0][:, 3].sqrt().log1p())


def test_rlltes_ngu_cannot_score(samples: dict[str, torch.Tensor]) -> None:
    with pytest.raises(AttributeError, match="mrs"):
        made("NGU", samples).compute(samples)
