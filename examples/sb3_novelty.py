"""Stable-Baselines3 on a car that must first learn to leave its valley, paid by novelty.

    python examples/sb3_novelty.py                                    # PPO
    python examples/sb3_novelty.py --algorithm DQN                    # steps are scored again when they are replayed
    python examples/sb3_novelty.py --steps 300 --length 32            # seconds, to see that everything fits together

Logs hold the raw, normalised and weighted values of every term, and what the reward's own learning says. The reward's
state is in the model's file, and goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env

from guerdon.adapters.sb3 import RewardCallback, RewardReplayBuffer, VecPaidBy


@dataclass
class Args:
    """What to train, and on what."""

    env: str = "MountainCar-v0"
    """any Gymnasium id with a plain observation"""
    reward: str = "Extrinsic() + 0.5 * Normalise(RND(), episodic=False)"
    """any reward of rollouts: `guerdon list` names them"""
    algorithm: Literal["PPO", "DQN"] = "PPO"
    """PPO pays at once, DQN when a step is replayed"""
    envs: int = 8
    """environments at a time"""
    steps: int = 200_000
    """of all environments"""
    length: int = 128
    """steps of a rollout, after which the reward learns"""
    seed: int = 0
    """of everything"""
    out: Path = Path("runs/sb3_novelty")
    """where the model goes"""


def main(args: Args) -> Any:
    """Trains and saves; returns the model."""
    venv = make_vec_env(args.env, n_envs=args.envs, seed=args.seed)
    env = VecPaidBy(venv, args.reward, rollout=args.length, seed=args.seed)
    if args.algorithm == "PPO":
        model: Any = PPO("MlpPolicy", env, n_steps=args.length, batch_size=256, seed=args.seed, verbose=1, device="cpu")
    else:
        model = DQN("MlpPolicy", env, replay_buffer_class=RewardReplayBuffer, seed=args.seed, verbose=1, device="cpu")
    model.learn(args.steps, callback=RewardCallback())
    model.save(args.out / "model")
    return model


if __name__ == "__main__":
    main(tyro.cli(Args))
