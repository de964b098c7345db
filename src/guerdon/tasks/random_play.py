"""Rollouts of actions drawn at random: what there is to see before anything was learned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from tensordict import TensorDict

from guerdon.types import Rollout, VectorTask


def random_rollouts(task: VectorTask, length: int, *, seed: int = 0) -> Iterator[Rollout]:
    """For ever: the next `length` steps of every game, actions drawn evenly from the action space.

    The games are reset first, with `seed`. Where observations have an "action_mask", only allowed actions are drawn.
    """
    n, size = task.num_envs, task.num_envs // task.groups
    columns = [slice(g * size, (g + 1) * size) for g in range(task.groups)]
    space = task.single_action_space
    space.seed(seed)
    task.reset(seed=seed)
    shown = {k: np.zeros((n, *s.shape), s.dtype) for k, s in task.single_observation_space.items()}  # type: ignore
    captioned = task.captions is not None
    words = {k: np.zeros(n, np.int32) for k in ("caption", "caption_count")} if captioned else {}

    def see(g: int) -> object:
        step = task.recv(g)
        for key, array in shown.items():
            array[columns[g]] = step.obs[key]
        for key, array in words.items():
            array[columns[g]] = getattr(step, key)
        return step

    def act(g: int) -> np.ndarray:
        masks = shown["action_mask"][columns[g]] if "action_mask" in shown else [None] * size
        return np.stack([space.sample(None if m is None else m.astype(np.int8)) for m in masks])

    for g in range(task.groups):
        see(g)
    while True:
        seen: dict[str, list[np.ndarray]] = {k: [v.copy()] for k, v in (shown | words).items()}
        told = {k: np.zeros((length, n), bool) for k in ("terminated", "truncated", "valid")}
        paid, actions = np.zeros((length, n), np.float32), []
        for t in range(length):
            drawn = [act(g) for g in range(task.groups)]
            for g, chosen in enumerate(drawn):
                task.send(g, chosen)
            for g, cols in enumerate(columns):
                step = see(g)
                paid[t, cols] = step.reward  # type: ignore[attr-defined]
                for key, array in told.items():
                    array[t, cols] = getattr(step, key)
            actions.append(np.concatenate(drawn))
            for key, array in (shown | words).items():
                seen[key].append(array.copy())
        whole = {k: torch.from_numpy(np.stack(v)) for k, v in seen.items()}
        yield Rollout(
            obs=TensorDict({k: whole[k] for k in shown}, [length + 1, n]),
            action=torch.from_numpy(np.stack(actions)),
            extrinsic=torch.from_numpy(paid),
            **{k: torch.from_numpy(v) for k, v in told.items()},  # type: ignore[arg-type]
            **{k: whole[k] for k in words},  # type: ignore[arg-type]
        )
