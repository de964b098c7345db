"""What environments show and take, as tensors: checked at the door, copied, in the form that rewards are built for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor


class Arrays:
    """Reads observations and actions of one environment's spaces.

    A plain observation gets the key "obs"; a Dict keeps its keys, less those without a fixed shape (texts).

    Args:
        observation_space: a Box, Discrete, MultiDiscrete or MultiBinary, or a Dict of these.
        action_space: Discrete, MultiDiscrete or Box.
        reader: who reads, for errors.

    Raises:
        TypeError: other spaces.
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, reader: str) -> None:
        self.plain = not isinstance(observation_space, spaces.Dict)
        entries = {"obs": observation_space} if self.plain else dict(observation_space.items())  # type: ignore[attr-defined]
        kept = {k: s for k, s in entries.items() if s.shape is not None and not isinstance(s, spaces.Text)}
        if not kept or any(not isinstance(s, _FIXED) for s in kept.values()):
            raise TypeError(f"{reader} cannot read {observation_space}: flatten it first (FlattenObservation)")
        if not isinstance(action_space, (spaces.Discrete, spaces.MultiDiscrete, spaces.Box)):
            raise TypeError(f"{reader} knows actions that are Discrete, MultiDiscrete or a Box, not {action_space}")
        self.observation_space, self.action_space, self.reader = spaces.Dict(kept), action_space, reader

    def obs(
        self, shown: Any, count: int | None, *, rows: Tensor | None = None, before: Any = None
    ) -> dict[str, Tensor]:
        """`shown` [count, ...] by key; with `rows` [count] only those, the others as they were `before`."""
        if self.plain == isinstance(shown, Mapping):
            raise ValueError(f"{self.reader}: observations are not of the space {self.observation_space}")
        given = {"obs": shown} if self.plain else shown
        if missing := [key for key in self.observation_space if key not in given]:
            raise ValueError(f"{self.reader}: observations lack {', '.join(missing)}")
        made = {}
        for key, space in self.observation_space.items():
            value = _tensor(given[key], space.dtype)
            n = value.shape[:1] if count is None else (count,)
            if value.ndim == 0 or value.shape != (*n, *space.shape):  # type: ignore[misc]
                wanted = [*n, *space.shape]  # type: ignore[misc]
                raise ValueError(
                    f"{self.reader}: observation {key!r} must have shape {wanted}, got {list(value.shape)}"
                )
            if rows is not None and before is not None:
                value = torch.where(rows.view(-1, *[1] * (value.ndim - 1)), value, before[key])
            if value.is_floating_point() and not bool(value.isfinite().all()):
                bad = int((~value.isfinite()).sum())
                raise ValueError(f"{self.reader}: observation {key!r} is NaN or infinite at {bad} places")
            made[key] = value
        return made

    def action(self, done: Any, count: int) -> Tensor:
        """`done` [count, ...]: int64 for Discrete and MultiDiscrete, float32 for a Box."""
        space = self.action_space
        value = _tensor(done, np.float32 if isinstance(space, spaces.Box) else np.int64)
        wanted = (count, *space.shape)  # type: ignore[misc]
        if value.shape == (*wanted, 1):  # a discrete action in a column of its own, as replay buffers keep it
            value = value.squeeze(-1)
        if value.shape != wanted:
            raise ValueError(f"{self.reader}: actions must have shape {list(wanted)}, got {list(value.shape)}")
        return value

    def no_action(self, count: int) -> Tensor:
        """Zeros, for a step in which nobody acted."""
        return self.action(np.zeros((count, *self.action_space.shape)), count)  # type: ignore[misc]


_FIXED = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def _tensor(value: Any, dtype: Any) -> Tensor:
    """A copy on the CPU: environments may write into what they have shown."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return torch.from_numpy(np.array(value, dtype=dtype))


def stack(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One tensor a key, with the rows along its first dimension."""
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def where(mask: Tensor, yes: dict[str, Tensor], no: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows [B, ...] of `yes` where `mask` [B] is True, those of `no` elsewhere."""
    return {k: torch.where(mask.view(-1, *[1] * (no[k].ndim - 1)), yes[k], no[k]) for k in no}


def array(value: Tensor) -> np.ndarray:
    """A copy that is the caller's to change."""
    return value.cpu().numpy().copy()
