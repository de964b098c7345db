"""A reward of guerdon as imitation's reward function, in its own wrapper, with Stable-Baselines3's PPO.

    python examples/imitation_novelty.py
    python examples/imitation_novelty.py --steps 300 --length 32      # seconds, to see that everything fits together

imitation 1.0.1 wants Gymnasium 0.29 and Stable-Baselines3 2.2: run this in an environment that has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from guerdon.adapters.imitation import RewardFunction


@dataclass
class Args:
    """What to train, and on what."""

    env: str = "MountainCar-v0"
    """any Gymnasium id with a plain observation"""
    reward: str = "Normalise(RND(), episodic=False)"
    """any reward of rollouts that does without the task's own"""
    envs: int = 8
    """environments at a time"""
    steps: int = 200_000
    """of all environments"""
    length: int = 128
    """steps of a rollout, after which the reward learns"""
    seed: int = 0
    """of everything"""


def main(args: Args) -> RewardFunction:
    """Trains; returns the reward function."""
    venv = make_vec_env(args.env, n_envs=args.envs, seed=args.seed)
    function = RewardFunction(args.reward, venv=venv, rollout=args.length, seed=args.seed)
    env = RewardVecEnvWrapper(venv, function)
    model = PPO("MlpPolicy", env, n_steps=args.length, batch_size=256, seed=args.seed, verbose=1, device="cpu")
    model.learn(args.steps, callback=env.make_log_callback())
    return function


if __name__ == "__main__":
    for name, number in main(tyro.cli(Args)).logs.items():
        print(f"{name:40} {number:.4g}")
