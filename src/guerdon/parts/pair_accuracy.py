"""How often a reward agrees with comparisons."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from guerdon.types import FIRST, TIE


def told_right(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    """[N] float32: 1 where the better one has the higher score, 0 where the lower, 0.5 where both are equal.

    NaN where the comparison was a tie, or a score is missing (NaN): such pairs say nothing of who is right.
    """
    lead = torch.where(label == FIRST, first - second, second - first)
    right = (lead.sign() / 2 + 0.5).float()
    return right.masked_fill((label == TIE) | lead.isnan(), math.nan)  # the sign of NaN is 0


def accuracy(right: Tensor) -> float:
    """The mean of `told_right` over the pairs that say something; NaN if none does."""
    return float(right.nanmean())


def accuracy_plus(right: Tensor, sample: Sequence[Hashable]) -> float:
    """Acc+: the share of samples of which every pair is told right, strictly (MM-RLHF-Reward, 2025).

    Never above `accuracy` of untied scores, and equal to it where each sample has one pair. Pairs that say nothing are
    left out; NaN if none is left. Raises ValueError if there is not one sample id a pair.
    """
    if len(sample) != len(right):
        raise ValueError(f"accuracy_plus needs a sample for each of {len(right)} pairs, got {len(sample)}")
    won: dict[Hashable, bool] = {}
    for key, value in zip(sample, right.tolist(), strict=True):
        if not math.isnan(value):
            won[key] = won.get(key, True) and value == 1.0
    return sum(won.values()) / len(won) if won else math.nan
