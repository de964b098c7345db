"""The plain agent of action values for control: one level, any reward, many games side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.learners.double_dqn import DoubleDQN, annealed, mlp
from guerdon.types import Reward, Rollout, Spec, Step, VectorTask


class Flat:
    """A dictionary of observations as one row of numbers: bounded ones scaled to [-1, 1], discrete ones as one-hot.

    Args:
        space: of one game.
        keys: which entries; all by default.

    Raises:
        TypeError: an entry that is neither Box nor Discrete.
    """

    def __init__(self, space: spaces.Dict, keys: tuple[str, ...] | None = None) -> None:
        self.spaces = {key: space[key] for key in (tuple(space) if keys is None else keys)}
        self.size, self._scale = 0, {}
        for key, entry in self.spaces.items():
            if isinstance(entry, spaces.Discrete):
                self.size += int(entry.n)
                continue
            if not isinstance(entry, spaces.Box):
                raise TypeError(f"observation {key!r} is {entry}: only Box and Discrete lie flat; choose `keys`")
            self.size += int(np.prod(entry.shape))
            low, high = entry.low.astype(np.float32), entry.high.astype(np.float32)
            bounded = np.isfinite(low) & np.isfinite(high) & (low < high)
            low, high = np.where(bounded, low, np.float32(-1)), np.where(bounded, high, np.float32(1))
            self._scale[key] = (low + high) / 2, (high - low) / 2

    def __call__(self, obs: dict[str, np.ndarray]) -> Tensor:
        """[B, size] float32 of observations [B, ...]."""
        columns = []
        for key, entry in self.spaces.items():
            if isinstance(entry, spaces.Discrete):
                columns.append(np.eye(int(entry.n), dtype=np.float32)[np.asarray(obs[key]) - int(entry.start)])
            else:
                middle, half = self._scale[key]
                columns.append(((obs[key] - middle) / half).reshape(len(obs[key]), -1))
        return torch.from_numpy(np.concatenate(columns, 1).astype(np.float32, copy=False))


class DQN:
    """Double DQN on a task, paid by any reward. Actions are Discrete.

    Every `length` steps of all games the rollout is scored, the reward sees it (`observe`, `update`), and its valid
    transitions go to the replay with the score they got then; then there are `length` updates.

    Args:
        keys: observations the agent sees; all by default.
        learner: the values; its defaults are our choice.
        hidden: width of the two hidden layers.
        epsilon: chance of a random action, at first and in the end.
        epsilon_steps: steps of all games over which it falls.
        length: steps of each game a round.
    """

    def __init__(
        self,
        *,
        keys: tuple[str, ...] | None = None,
        learner: DoubleDQN | None = None,
        hidden: int = 64,
        epsilon: tuple[float, float] = (1.0, 0.05),
        epsilon_steps: int = 10_000,
        length: int = 8,
    ) -> None:
        self.keys, self.learner, self.hidden = keys, learner or DoubleDQN(), hidden
        self.epsilon, self.epsilon_steps, self.length = epsilon, epsilon_steps, length
        self.steps = 0

    def build(self, task: VectorTask, reward: Reward, *, seed: int = 0) -> DQN:
        """Makes networks and reward for the task. Raises TypeError if its actions are not Discrete."""
        actions = task.single_action_space
        if not isinstance(actions, spaces.Discrete) or actions.start != 0:
            raise TypeError(f"DQN needs actions that are Discrete from 0, the task has {actions}")
        self.flat, self.reward = Flat(task.single_observation_space, self.keys), reward
        generator = torch.Generator().manual_seed(seed)
        spec = Spec(task.single_observation_space, actions, task.captions, task.num_envs)
        reward.build(spec, generator=generator)
        inputs, outputs = self.flat.size, int(actions.n)
        self.learner.build(lambda: mlp(inputs, outputs, self.hidden), generator=generator)
        return self

    def act(self, obs: dict[str, np.ndarray], epsilon: float = 0.0) -> np.ndarray:
        """Actions [B] for observations [B, ...]."""
        return self.learner.explore(self.learner.values(self.flat(obs)), epsilon).numpy()

    def train(
        self, task: VectorTask, *, steps: int, seed: int = 0, watch: Callable[[Step], Any] | None = None
    ) -> list[dict[str, float]]:
        """Plays `steps` steps in all and learns from them; what the episodes told. `watch` sees every step."""
        if task.groups != 1:
            raise ValueError(f"DQN steps all games at once: make the task with groups=1, not {task.groups}")
        task.reset(seed=seed)
        now, told, end = task.recv(0), [], self.steps + steps
        while self.steps < end:
            shown, steps_of_all, actions = [_copied(now)], [], []
            for _ in range(self.length):
                epsilon = annealed(self.steps, self.epsilon_steps, *self.epsilon)
                actions.append(self.act(now.obs, epsilon))
                task.send(0, actions[-1])
                now = task.recv(0)
                shown.append(_copied(now))
                steps_of_all.append([x.copy() for x in (now.reward, now.terminated, now.truncated, now.valid)])
                told += now.finished
                self.steps += task.num_envs
                if watch is not None:
                    watch(now)
            self._learn(shown, np.stack(actions), [np.stack(x) for x in zip(*steps_of_all, strict=True)])
        return told

    def _learn(self, shown: list[dict[str, np.ndarray]], actions: np.ndarray, rest: list[np.ndarray]) -> None:
        obs = TensorDict({key: torch.as_tensor(np.stack([row[key] for row in shown])) for key in shown[0]})
        reward, terminated, truncated, valid = (torch.as_tensor(x) for x in rest)
        shape = (len(shown), actions.shape[1])
        rollout = Rollout(
            obs=obs.auto_batch_size_(2), action=torch.as_tensor(actions), extrinsic=reward, terminated=terminated,
            truncated=truncated, valid=valid,
        )  # fmt: skip
        with torch.no_grad():
            score = self.reward.score(rollout).nan_to_num(0.0)
        self.reward.observe(rollout)
        self.reward.update(rollout)
        flat = torch.stack([self.flat(row) for row in shown]).reshape(*shape, -1)
        self.learner.store(
            flat[:-1][valid], rollout.action[valid], score[valid].float(), flat[1:][valid],
            self.learner.gamma * (~terminated[valid]).float(),
        )  # fmt: skip
        for _ in range(self.length):
            self.learner.update()


def _copied(step: Step) -> dict[str, np.ndarray]:
    return {key: value.copy() for key, value in step.obs.items()}
