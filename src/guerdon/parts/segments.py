"""Segments of behaviour as models of preference read them: where they went, what they were paid in, how they ended."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.types import Rollout


class Segments(NamedTuple):
    """B segments of T steps."""

    features: Tensor  # [B, m]: the sum of f over valid steps
    valid: Tensor  # [T, B] long
    alive: Tensor  # [T+1, B]: 1, and 0 from the state on that a termination led to; float64
    state: Tensor | None = None  # [T+1, B] long, where states are numbered
    action: Tensor | None = None  # [T, B] long

    @property
    def length(self) -> Tensor:
        """[B]: valid steps."""
        return self.valid.sum(0)

    def beside(self, other: Segments) -> Segments:
        """These and then others, [2 B], padded to one number of steps."""
        steps = max(len(self.valid), len(other.valid))

        def joined(a: Tensor, b: Tensor) -> Tensor:
            return torch.cat([F.pad(x, (0, 0, 0, steps - len(s.valid))) for x, s in ((a, self), (b, other))], 1)

        state = None if self.state is None or other.state is None else joined(self.state, other.state)
        action = None if self.action is None or other.action is None else joined(self.action, other.action)
        features = torch.cat([self.features, other.features])
        return Segments(features, joined(self.valid, other.valid), joined(self.alive, other.alive), state, action)

    def numbered(self, rollout: Rollout, key: str, count: int, reader: str) -> Segments:
        """With the numbers of states and actions. Raises ValueError if a segment holds more than one episode."""
        valid, over = self.valid.bool(), (rollout.terminated | rollout.truncated).bool()
        if bool((valid[1:] & (~valid[:-1] | over[:-1])).any()):
            raise ValueError(f"{reader}: a segment goes on after its episode ended; values need one episode in each")
        state, action = read_numbers(rollout, key, count, reader)
        return self._replace(state=state, action=action)


def read_segments(rollout: Rollout, features: Tensor, reader: str) -> Segments:
    """Segments with features [T, B, m] of their steps. Raises ValueError for one without a first step."""
    valid = rollout.valid.bool()
    if not len(valid) or not bool(valid[0].all()):
        raise ValueError(f"{reader}: a segment has no first step, and so neither start nor end")
    total = torch.where(valid[..., None], features, 0.0).sum(0)
    ended = torch.cat([torch.zeros_like(valid[:1]), rollout.terminated.bool() & valid]).cumsum(0) > 0
    return Segments(total, valid.long(), (~ended).double())


def read_numbers(rollout: Rollout, key: str, count: int, reader: str) -> tuple[Tensor, Tensor]:
    """States ``obs[key]`` [T+1, B], whole numbers below `count`, and actions [T, B]; 0 where padding stands.

    Raises ValueError for missing states, another shape, and numbers out of range.
    """
    found = rollout.obs.get(key)
    if found is None or tuple(found.shape) != tuple(rollout.obs.batch_size):
        got = "are missing" if found is None else f"have shape {list(found.shape)}"
        raise ValueError(f"{reader} reads the number of each state in obs[{key!r}], [T+1, B]; they {got}")
    valid = rollout.valid.bool()
    nothing = torch.zeros_like(valid[:1])
    seen = torch.cat([valid, nothing]) | torch.cat([nothing, valid])
    state = torch.where(seen, found, 0)
    if bool(((state < 0) | (state >= count) | (state % 1 != 0)).any()):
        raise ValueError(
            f"{reader}: states are whole numbers of 0 to {count - 1}, got {float(state.min()):g} to "
            f"{float(state.max()):g}"
        )
    return state.long(), torch.where(valid, rollout.action, 0).long()
