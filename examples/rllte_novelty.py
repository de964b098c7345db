"""A reward of guerdon where RLLTE's reward modules go, with RLLTE's PPO.

    python examples/rllte_novelty.py
    python examples/rllte_novelty.py --steps 300 --length 32          # seconds, to see that everything fits together

RLLTE 1.0.1 wants NumPy below 2: run this in an environment that has it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import gymnasium as gym
import tyro
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics
from rllte.agent import PPO
from rllte.env.utils import Gymnasium2Torch

from guerdon.adapters.rllte import RewardModule


@dataclass
class Args:
    """What to train, and on what."""

    env: str = "MountainCar-v0"
    """any Gymnasium id with a plain observation"""
    reward: str = "Normalise(RND(), episodic=False)"
    """any reward of rollouts; RLLTE adds it to the task's own"""
    envs: int = 8
    """environments at a time"""
    steps: int = 200_000
    """of all environments"""
    length: int = 128
    """steps of a rollout, after which the reward learns"""
    seed: int = 0
    """of everything"""


def main(args: Args) -> RewardModule:
    """Trains; returns the reward module."""
    envs = SyncVectorEnv([functools.partial(gym.make, args.env) for _ in range(args.envs)])
    env = Gymnasium2Torch(RecordEpisodeStatistics(envs), "cpu")
    agent = PPO(env=env, device="cpu", num_steps=args.length, seed=args.seed)
    module = RewardModule(env, args.reward, seed=args.seed)
    agent.set(reward=module)
    agent.train(num_train_steps=args.steps)
    return module


if __name__ == "__main__":
    for name, rows in main(tyro.cli(Args)).metrics.items():
        print(f"{name:30}", *(f"{value:.4g}" for _, value in rows[-5:]))
