"""Every novelty reward on every kind of observation and action."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

import guerdon.rewards.intrinsic as intrinsic
from guerdon.types import Reward, Rollout, Spec

STEPS, ENVS = 9, 3
NETHACK = {
    "glyphs": spaces.Box(0, 5976, (21, 79), np.int16),
    "blstats": spaces.Box(-(2**31), 2**31 - 1, (27,), np.int64),
}
OBSERVATIONS: dict[str, dict[str, spaces.Space]] = {
    "vector": {"obs": spaces.Box(-np.inf, np.inf, (5,), np.float32)},
    "image": {"obs": spaces.Box(0, 255, (4, 84, 84), np.uint8)},
    "MiniGrid": {"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)},
    "NetHack": NETHACK,
    "mixed": {"a": spaces.Box(-1, 1, (2,), np.float64), "b": spaces.MultiDiscrete([2, 3]), "c": spaces.MultiBinary(3)},
}
ACTIONS: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(4, start=1),
    "parts": spaces.MultiDiscrete([2, 3]),
    "continuous": spaces.Box(-2.0, 2.0, (2,), np.float32),
}
NAMES = [name for name in intrinsic.__all__ if name != "SubmodularReward"]  # its cells are of one kind of observation


def rollout(observed: spaces.Dict, acted: spaces.Space, seed: int) -> Rollout:
    observed.seed(seed)
    acted.seed(seed)
    seen = [[observed.sample() for _ in range(ENVS)] for _ in range(STEPS + 1)]
    obs = {k: torch.from_numpy(np.array([[np.asarray(x[k]) for x in row] for row in seen])) for k in observed}
    action = torch.from_numpy(np.array([[np.asarray(acted.sample()) for _ in range(ENVS)] for _ in range(STEPS)]))
    flags = {name: torch.zeros(STEPS, ENVS, dtype=torch.bool) for name in ("terminated", "truncated")}
    flags["terminated"][3, 1] = True
    valid = torch.ones(STEPS, ENVS, dtype=torch.bool)
    valid[4, 1] = False
    return Rollout(
        obs=TensorDict(obs, [STEPS + 1, ENVS]), action=action, extrinsic=torch.zeros(STEPS, ENVS), valid=valid, **flags
    )


def small(name: str) -> Reward:
    """The reward with networks that a test can afford."""
    made: Any = getattr(intrinsic, name)
    wanted = {"hidden": (16,), "features": 8, "batch_size": 8, "capacity": 50}
    known = made().config()
    return made(**{key: value for key, value in wanted.items() if key in known})


@pytest.mark.parametrize(
    ("observed", "acted"),
    [(name, "discrete") for name in OBSERVATIONS] + [("vector", "parts"), ("vector", "continuous")],
)
@pytest.mark.parametrize("name", NAMES)
def test_it_pays_and_learns(name: str, observed: str, acted: str) -> None:
    reward, space = small(name), spaces.Dict(OBSERVATIONS[observed])
    reward.build(Spec(space, ACTIONS[acted], num_envs=ENVS), generator=torch.Generator().manual_seed(0))
    for seed in range(2):
        seen = rollout(space, ACTIONS[acted], seed)
        with torch.no_grad():
            paid = reward.evaluate(seen).value
        assert paid.shape == (STEPS, ENVS)
        assert torch.isfinite(paid).all()
        assert paid[4, 1] == 0
        reward.observe(seen)
        logs = reward.update(seen)
        assert all(np.isfinite(x) for x in logs.values())
    assert paid[seen.valid].abs().sum() > 0, "random observations are never all known"
