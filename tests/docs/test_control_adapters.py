"""The page about control libraries: its blocks for the libraries that are here run."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "control_adapters.md").read_text(encoding="utf-8")


def block(title: str) -> str:
    return re.search(rf"## {title}\n.*?```python\n(.*?)```", PAGE, re.S)[1]


def test_gymnasium():
    found = block("Gymnasium").replace("obs, rewards", "env.reset()\nobs, rewards")
    space: dict = {"gym": gym, "actions": np.zeros(8, int)}
    exec(found, space)
    infos = space["infos"]
    np.testing.assert_allclose(infos["reward/total"], infos["reward/extrinsic"] + infos["reward/Normalise(RND)"])


def test_stable_baselines3():
    sb3 = pytest.importorskip("stable_baselines3")
    env_util = pytest.importorskip("stable_baselines3.common.env_util")
    found = (
        block("Stable-Baselines3")
        .replace("200_000", "200")
        .replace('"MlpPolicy", env)', '"MlpPolicy", env, n_steps=8)')
    )
    space: dict = {"PPO": sb3.PPO, "DQN": sb3.DQN, "make_vec_env": env_util.make_vec_env}
    exec(found, space)
    assert space["model"].replay_buffer.size() >= 25
