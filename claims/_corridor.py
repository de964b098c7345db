"""Scaffolding of the claims on TextCorridor: a policy of one softmax a room, and its policy gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from tensordict import TensorDict

from guerdon.tasks.text_corridor import TextCorridorVector
from guerdon.types import Rollout


def collect(task: TextCorridorVector, policy: Policy, seed: int) -> tuple[Rollout, list[dict[str, float]]]:
    """One whole episode of every game, padded to the longest, and what each episode came to."""
    rng = np.random.default_rng(seed)
    chance = policy.cumulative()
    task.reset(seed=rng.integers(2**31))
    seen, actions, episodes = [task.recv(0)], [], []
    alive = np.ones(task.num_envs, bool)
    valid = []
    for draws in rng.random((task.steps, task.num_envs, 1)):
        actions.append((draws > chance[seen[-1].obs["room"]]).sum(1))
        task.send(0, actions[-1])
        step = task.recv(0)
        valid.append(alive.copy())
        episodes += [
            f for f, first in zip(step.finished, alive[step.terminated | step.truncated], strict=True) if first
        ]
        alive &= ~(step.terminated | step.truncated)
        seen.append(step)
        if not alive.any():
            break

    def stack(values: list) -> torch.Tensor:
        return torch.from_numpy(np.stack(values))

    room = stack([s.obs["room"] for s in seen])
    rollout = Rollout(
        obs=TensorDict({"room": room}, room.shape),
        action=stack(actions),
        extrinsic=stack([s.reward for s in seen[1:]]),
        terminated=stack([s.terminated for s in seen[1:]]),
        truncated=stack([s.truncated for s in seen[1:]]),
        valid=stack(valid),
        caption=stack([s.caption for s in seen]),
        caption_count=stack([s.caption_count for s in seen]),
    )
    return rollout, episodes


@dataclass
class Policy:
    """Softmax over four actions in each room, learned by Monte-Carlo policy gradient with Adam.

    Returns are discounted; the baseline is the batch's mean return in that room; advantages are divided by their
    standard deviation; entropy is paid for. No bootstrapping: a count-gated reward is not Markov in the room.
    """

    rooms: int
    gamma: float = 0.97
    rate: float = 0.1
    entropy: float = 0.01
    steps: int = 0
    logits: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.logits = np.zeros((self.rooms + 1, 4))
        self._mean, self._square = np.zeros_like(self.logits), np.zeros_like(self.logits)

    def probabilities(self) -> np.ndarray:
        """[rooms + 1, 4]."""
        p = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    def cumulative(self) -> np.ndarray:
        """[rooms + 1, 3]: a uniform draw takes as many steps over these as its action's number."""
        return self.probabilities().cumsum(1)[:, :3]

    def learn(self, rollout: Rollout, reward: torch.Tensor) -> None:
        """One Adam step on the rollout, paid `reward` [T, B]."""
        paid, valid = reward.numpy().astype(np.float64), rollout.valid.numpy()
        returns = np.zeros_like(paid)
        later = np.zeros(paid.shape[1])
        for t in reversed(range(len(paid))):
            returns[t] = later = np.where(valid[t], paid[t] + self.gamma * later, 0.0)

        room, action, returns = rollout.obs["room"][:-1].numpy()[valid], rollout.action.numpy()[valid], returns[valid]
        visits = np.bincount(room, minlength=self.rooms + 1)
        baseline = np.bincount(room, returns, self.rooms + 1) / np.maximum(visits, 1)
        advantage = returns - baseline[room]
        advantage /= advantage.std() + 1e-8

        p = self.probabilities()
        flat = np.bincount(room * 4 + action, advantage, 4 * (self.rooms + 1)).reshape(p.shape)
        gradient = flat - p * flat.sum(1, keepdims=True)  # of sum(advantage * log p)
        surprise = -np.log(p + 1e-12)
        gradient += self.entropy * visits[:, None] * p * (surprise - (p * surprise).sum(1, keepdims=True))
        gradient /= len(room)

        self.steps += 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.001 * (gradient**2 - self._square)
        mean, square = self._mean / (1 - 0.9**self.steps), self._square / (1 - 0.999**self.steps)
        self.logits += self.rate * mean / (np.sqrt(square) + 1e-8)
