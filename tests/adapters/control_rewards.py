"""Rewards and a small world for the tests of the control adapters; other environments can import them, too."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from guerdon.types import Reward, Rollout


class Move(Reward):
    """Pays how far a step went, and 0.1 of the action: by obs[t], action[t] and obs[t + 1] alone. Learns its scale."""

    scale: Tensor

    def build(self, spec: Any, *, device: Any = "cpu", generator: Any = None) -> None:
        self.register_buffer("scale", torch.rand((), generator=generator, device=device))

    def score(self, experience: Rollout) -> Tensor:
        at = experience.obs["obs"].float().flatten(2)
        action = experience.action.float().flatten(2).sum(-1) if experience.action.ndim > 2 else experience.action
        return self.scale * (at[1:] - at[:-1]).abs().sum(-1) + 0.1 * action

    def update(self, experience: Any) -> dict[str, float]:
        self.scale.mul_(0.9)
        return {"Move/scale": float(self.scale)}


class Novelty(Reward):
    """Pays the N-th sight of a place in an episode 1 / N, by a memory of each environment that outlives rollouts."""

    episodic: ClassVar[bool] = True

    def build(self, spec: Any, *, device: Any = "cpu", generator: Any = None) -> None:
        self.memory: list[dict[tuple, int]] = [{} for _ in range(spec.num_envs)]

    def _walk(self, rollout: Rollout) -> tuple[Tensor, list[dict[tuple, int]]]:
        if rollout.shape[1] != len(self.memory):
            raise ValueError(f"Novelty was built for {len(self.memory)} environments, got {rollout.shape[1]}")
        memory, paid = [dict(m) for m in self.memory], torch.zeros(rollout.shape)
        ended = rollout.terminated | rollout.truncated
        for t in range(rollout.shape[0]):
            for b in range(rollout.shape[1]):
                if rollout.valid[t, b]:
                    place = tuple(rollout.obs["obs"][t + 1, b].flatten().round().int().tolist())
                    memory[b][place] = memory[b].get(place, 0) + 1
                    paid[t, b] = 1 / memory[b][place]
                if ended[t, b]:
                    memory[b] = {}
        return paid, memory

    def score(self, experience: Rollout) -> Tensor:
        return self._walk(experience)[0]

    def observe(self, rollout: Rollout) -> None:
        self.memory = self._walk(rollout)[1]

    def get_extra_state(self) -> Any:
        return [[(list(place), n) for place, n in m.items()] for m in self.memory]

    def set_extra_state(self, state: Any) -> None:
        self.memory = [{tuple(place): n for place, n in m} for m in state]


class Walk(gym.Env):
    """A walk on a short line, which shows place and time: cut after `length` steps, over at 3 or -3."""

    def __init__(
        self,
        length: int = 5,
        *,
        box: bool = False,
        dictionary: bool = False,
        plain_dictionary: bool = False,
        caption: bool = False,
        broken: bool = False,
    ) -> None:
        self.length, self.caption, self.broken = length, caption, broken
        self.texts, self.dictionary = dictionary, dictionary or plain_dictionary
        plain = spaces.Box(-100, 100, (2,), np.float32)
        texts = {"mission": spaces.Text(9)} if dictionary else {}
        self.observation_space = spaces.Dict({"obs": plain, **texts}) if self.dictionary else plain
        self.action_space = spaces.Box(-2, 2, (1,), np.float32) if box else spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.time, self.place = 0, float(self.np_random.integers(-1, 2))
        return self._shown()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.time += 1
        self.place += float(np.sum(action)) - (0 if isinstance(self.action_space, spaces.Box) else 1)
        shown, info = self._shown()
        return shown, self.place / 2, abs(self.place) >= 3, self.time >= self.length, info

    def _shown(self) -> tuple[Any, dict]:
        shown = np.array([np.nan if self.broken and self.time == 1 else self.place, self.time], np.float32)
        info = {"caption": f"at {self.place:.0f}"} if self.caption else {}
        return ({"obs": shown, **({"mission": "go"} if self.texts else {})} if self.dictionary else shown), info
