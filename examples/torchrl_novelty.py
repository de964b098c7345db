"""PPO of TorchRL's parts on a car that must first learn to leave its valley, paid by novelty.

    python examples/torchrl_novelty.py
    python examples/torchrl_novelty.py --steps 512 --length 64        # seconds, to see that everything fits together

The transform writes what the reward pays beside the task's own reward, and lets it learn every `length` steps. TorchRL
0.14 wants tensordict below 0.15: run this in an environment that has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import tyro
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, SerialEnv, TransformedEnv
from torchrl.modules import OneHotCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from guerdon.adapters.torchrl import PaidTransform


@dataclass
class Args:
    """What to train, and on what."""

    env: str = "MountainCar-v0"
    """any Gymnasium id with a plain observation and discrete actions"""
    reward: str = "Extrinsic() + 0.5 * Normalise(RND(), episodic=False)"
    """any reward of rollouts: `guerdon list` names them"""
    envs: int = 8
    """environments at a time"""
    steps: int = 200_000
    """of all environments"""
    length: int = 128
    """steps of a rollout, after which the reward learns"""
    epochs: int = 4
    """passes over a rollout"""
    lr: float = 3e-4
    """of Adam"""
    seed: int = 0
    """of everything"""


def main(args: Args) -> dict[str, float]:
    """Trains; returns the last log."""
    torch.manual_seed(args.seed)
    base = SerialEnv(args.envs, lambda: GymEnv(args.env))
    env = TransformedEnv(base, PaidTransform(args.reward, rollout=args.length, seed=args.seed))
    env.set_seed(args.seed)
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    act = nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, actions))
    actor = ProbabilisticActor(
        TensorDictModule(act, ["observation"], ["logits"]), in_keys=["logits"], spec=env.action_spec,
        distribution_class=OneHotCategorical, return_log_prob=True,
    )  # fmt: skip
    critic = ValueOperator(nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, 1)), in_keys=["observation"])
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=critic)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01)
    for part in (advantage, loss):
        part.set_keys(reward="intrinsic_reward")  # what the whole expression pays; "reward" stays the task's own
    optimiser = torch.optim.Adam(loss.parameters(), args.lr)
    logs: dict[str, float] = {}
    batch = args.envs * args.length
    for data in Collector(env, actor, frames_per_batch=batch, total_frames=args.steps // batch * batch):
        for _ in range(args.epochs):
            with torch.no_grad():
                advantage(data)
            for rows in data.reshape(-1)[torch.randperm(batch)].split(256):
                losses = loss(rows)
                total = sum(value for name, value in losses.items() if name.startswith("loss_"))
                optimiser.zero_grad()
                total.backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimiser.step()
        logs = env.transform.logs
        print(*(f"{name} {value:.3g}" for name, value in logs.items() if name.endswith("/mean")), sep="  ")
    return logs


if __name__ == "__main__":
    main(tyro.cli(Args))
