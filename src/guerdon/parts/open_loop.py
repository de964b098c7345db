"""Predictions made at one step of what is seen several steps later: which may be made, and whom they pay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.types import Rollout


def unbroken(rollout: Rollout, horizon: int) -> list[Tensor]:
    """For i = 1 ... min(horizon, T): [T - i + 1, B], whether the i steps from step t on lie within one episode.

    A span with an invalid step, or with an end of an episode before its last step, is broken. Raises ValueError for a
    horizon below 1.
    """
    if horizon < 1:
        raise ValueError(f"the horizon must be at least 1, got {horizon}")
    valid, ended = rollout.valid.bool(), (rollout.terminated | rollout.truncated).bool()
    steps, masks = len(valid), [valid]
    for i in range(2, min(horizon, steps) + 1):
        masks.append(masks[-1][:-1] & ~ended[i - 2 : steps - 1] & valid[i - 1 :])
    return masks[: min(horizon, steps)]


def paid_to_the_last(losses: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """[T, B]: u_s, the sum of every loss of a prediction of obs[s + 1], whenever it was made.

    losses[i - 1] [T - i + 1, B] is of what was predicted i steps ahead. Step s has min(K, s + 1) of them, fewer where a
    mask says no.
    """
    paid = torch.zeros_like(losses[0])
    for i, (loss, mask) in enumerate(zip(losses, masks, strict=True)):
        paid = paid + torch.nn.functional.pad(loss.masked_fill(~mask, 0.0), (0, 0, i, 0))
    return paid


def mean_over_starts(losses: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """The mean over steps t of the mean over i of the losses of predictions from t; 0 where there are none."""
    total, count = torch.zeros_like(losses[0]), torch.zeros_like(losses[0])
    for i, (loss, mask) in enumerate(zip(losses, masks, strict=True)):
        total = total + torch.nn.functional.pad(loss.masked_fill(~mask, 0.0), (0, 0, 0, i))
        count = count + torch.nn.functional.pad(mask.to(count), (0, 0, 0, i))
    return (total / count.clamp(min=1)).sum() / (count > 0).sum().clamp(min=1)
