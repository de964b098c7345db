"""Q-learning finds the one prize of a frozen lake, since novelty pays it on the way.

    python examples/gymnasium_novelty.py                              # a lake of 8 x 8, with a count of each place
    python examples/gymnasium_novelty.py --reward "Extrinsic()"       # nothing but the prize: it finds it rarely
    python examples/gymnasium_novelty.py --steps 300 --envs 4         # seconds, to see that everything fits together

The wrapper is one line, and works with any loop that steps Gymnasium environments; infos tell what was paid for what.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import tyro

from guerdon.adapters.gymnasium import VectorPaidBy


@dataclass
class Args:
    """What to learn, and how."""

    reward: str = "Extrinsic() + 0.1 * PseudoCount()"
    """any reward of rollouts: `guerdon list` names them"""
    map: str = "8x8"
    """of the lake: 4x4 or 8x8"""
    envs: int = 8
    """lakes at a time"""
    steps: int = 5000
    """of each lake"""
    epsilon: float = 0.1
    """chance of a random step"""
    lr: float = 0.3
    """of the table"""
    gamma: float = 0.97
    """discount"""
    seed: int = 0
    """of everything"""


def main(args: Args) -> dict[str, float]:
    """Learns a table of values; returns what was found and paid."""
    lake = gym.make_vec("FrozenLake-v1", num_envs=args.envs, map_name=args.map, is_slippery=False)
    env = VectorPaidBy(lake, args.reward, seed=args.seed)
    rng = np.random.default_rng(args.seed)
    value = np.zeros((env.single_observation_space.n, env.single_action_space.n))  # type: ignore[attr-defined]
    at, _ = env.reset(seed=args.seed)
    prizes, paid, over = 0.0, 0.0, np.zeros(args.envs, bool)
    for _ in range(args.steps):
        best = (value[at] + 1e-9 * rng.random(value[at].shape)).argmax(1)
        action = np.where(rng.random(args.envs) < args.epsilon, rng.integers(value.shape[1], size=args.envs), best)
        to, reward, terminated, truncated, infos = env.step(action)
        prizes += infos["reward/extrinsic"].sum()
        paid += infos["reward/total"].sum()
        target = reward + args.gamma * np.where(terminated, 0.0, value[to].max(1))
        for i in np.flatnonzero(~over):  # a step that only resets teaches nothing
            value[at[i], action[i]] += args.lr * (target[i] - value[at[i], action[i]])
        at, over = to, terminated | truncated
    visited = float((value != 0).any(1).mean())
    return {"prizes": prizes, "paid": paid, "places visited": visited, **env.logs}


if __name__ == "__main__":
    for name, number in main(tyro.cli(Args)).items():
        print(f"{name:30} {number:.4g}")
