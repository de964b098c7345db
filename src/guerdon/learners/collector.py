"""Rollouts from a task and a policy: one group of games moves while the policy thinks about the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.learners.clock import Clock
from guerdon.models.policy import ActorCritic, as_tensors
from guerdon.types import Rollout, VectorTask


class Collected(NamedTuple):
    """A rollout with what only its own policy knows of it."""

    rollout: Rollout
    value: Tensor  # [T+1, B, S]
    starts: Tensor  # bool [T, B], True where obs[t] begins an episode
    finished: list[dict[str, float]]


class Collector:
    """Steps a task with a policy for `length` steps at a time.

    Args:
        task: the games; `recv` of one group overlaps with inference for the other.
        policy: acts and values.
        length: T, steps per rollout and game.
        generator: draws the actions.
        clock: told how long was spent waiting for games, in inference and in copying.
    """

    def __init__(
        self,
        task: VectorTask,
        policy: ActorCritic,
        *,
        length: int,
        generator: torch.Generator,
        clock: Clock | None = None,
    ) -> None:
        self.task, self.policy, self.length, self.generator = task, policy, length, generator
        self.clock = clock or Clock()
        self.device = policy.actor.weight.device
        size = task.num_envs // task.groups
        self.columns = [slice(g * size, (g + 1) * size) for g in range(task.groups)]
        self._now: dict[str, np.ndarray] | None = None

    def start(self, seed: int) -> None:
        """Resets every game; the next `collect` begins there."""
        self.task.reset(seed=seed)
        self._now = {k: v[0] for k, v in self._buffers(0).items()}
        for g, cols in enumerate(self.columns):
            self._write(self._now, self.task.recv(g), (cols,))
        self._starts = torch.ones(self.task.num_envs, dtype=torch.bool)
        self._state = self.policy.initial_state(self.task.num_envs)

    def _buffers(self, length: int) -> dict[str, np.ndarray]:
        """Arrays [T+1, B, ...] of what comes with every observation."""
        shape = (length + 1, self.task.num_envs)
        space = self.task.single_observation_space
        buffers = {f"obs/{k}": aligned(shape + s.shape, s.dtype) for k, s in space.items()}  # type: ignore[operator]
        if self.task.captions is not None:
            buffers |= {k: aligned(shape, np.int32) for k in ("caption", "caption_count")}
        return buffers

    def _write(self, buffers: dict[str, np.ndarray], step: Any, where: tuple) -> None:
        for k, v in step.obs.items():
            buffers[f"obs/{k}"][where] = v
        if "caption" in buffers:
            buffers["caption"][where] = step.caption
            buffers["caption_count"][where] = step.caption_count

    @torch.no_grad()
    def collect(self) -> Collected:
        """The next T steps of every game. Raises RuntimeError before `start`."""
        if self._now is None:
            raise RuntimeError("call start(seed) before collect()")
        length, n = self.length, self.task.num_envs
        buffers = self._buffers(length)
        for k, v in self._now.items():
            buffers[k][0] = v
        flags = {k: aligned((length, n), bool) for k in ("terminated", "truncated", "valid")}
        paid = aligned((length, n), np.float32)
        discrete = isinstance(self.task.single_action_space, spaces.Discrete)
        action_shape = self.task.single_action_space.shape or ()
        actions = torch.empty((length, n, *action_shape), dtype=torch.int64 if discrete else torch.float32)
        log_prob = torch.empty(length, n)
        value = torch.empty(length + 1, n, self.policy.critic.out_features)
        starts = torch.zeros(length, n, dtype=torch.bool)
        starts[0] = self._starts
        state = self._state
        if state is not None:
            state = torch.where(self._starts.to(self.device)[:, None], 0.0, state)
            starts[0] = False  # the state at t = 0 already knows
        first_state = None if state is None else state.clone()
        finished: list[dict[str, float]] = []
        observed = {k.removeprefix("obs/"): v for k, v in buffers.items() if k.startswith("obs/")}
        self.clock.lap("copy")
        for t in range(length + 1):
            for g, cols in enumerate(self.columns):
                if t > 0:
                    step = self.task.recv(g)
                    self.clock.lap("games")
                    self._write(buffers, step, (t, cols))
                    paid[t - 1, cols] = step.reward
                    for k, v in flags.items():
                        v[t - 1, cols] = getattr(step, k)
                    finished.extend(step.finished)
                    if state is not None and t < length and not step.valid.all():
                        begins = torch.from_numpy(~step.valid)
                        starts[t, cols] = begins
                        state[cols] = torch.where(begins.to(self.device)[:, None], 0.0, state[cols])
                    self.clock.lap("copy")
                out = self.policy(
                    as_tensors({k: v[t, cols] for k, v in observed.items()}, self.device), _part(state, cols)
                )
                value[t, cols] = out.value.cpu()
                if t == length:
                    self.clock.lap("inference")
                    continue
                action, logp = self.policy.sample(out.logits, self.generator)
                actions[t, cols], log_prob[t, cols] = action.cpu(), logp.cpu()
                if state is not None:
                    state[cols] = out.state
                self.clock.lap("inference")
                self.task.send(g, actions[t, cols].numpy())
                self.clock.lap("games")
        self._now = {k: v[length] for k, v in buffers.items()}
        self._starts = torch.from_numpy(~flags["valid"][-1])
        self._state = state
        known: dict[str, Any] = {k: torch.from_numpy(v) for k, v in flags.items()}
        known |= {k: torch.from_numpy(buffers[k]) for k in ("caption", "caption_count") if k in buffers}
        rollout = Rollout(
            obs=TensorDict({k: torch.from_numpy(v) for k, v in observed.items()}, [length + 1, n]),
            action=actions,
            extrinsic=torch.from_numpy(paid),
            log_prob=log_prob,
            state=first_state,
            **known,
        )
        self.clock.lap("copy")
        return Collected(rollout, value, starts, finished)


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An empty array where PyTorch puts its tensors, on 64 bytes: elsewhere a product's last bits may vary by place."""
    return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype).numpy()


def _part(state: Tensor | None, cols: slice) -> Tensor | None:
    return None if state is None else state[cols]
