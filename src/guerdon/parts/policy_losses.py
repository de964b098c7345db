"""Losses of clipped policy-gradient methods, as functions of log-probabilities and advantages."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean of `value` where `mask` is True; 0 (with a graph) where nothing is."""
    return (value * mask).sum() / mask.sum().clamp(min=1)


def clipped_policy_loss(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO-clip per sample, to be minimised (Schulman et al., 2017).

    -min(rho A, clip(rho, 1 - clip, 1 + clip) A) with rho = exp(log_ratio), log_ratio held within +-20.
    """
    ratio = log_ratio.clamp(-20.0, 20.0).exp()
    return -torch.min(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)


def value_loss(value: Tensor, target: Tensor, old_value: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Half the squared error per sample; with `clip`, the worse of it and that of a value held near `old_value`."""
    loss = (value - target) ** 2
    if clip is not None:
        if old_value is None:
            raise ValueError("clipping the value loss needs old_value")
        near = old_value + (value - old_value).clamp(-clip, clip)
        loss = torch.max(loss, (near - target) ** 2)
    return 0.5 * loss


def normalise_advantage(advantage: Tensor, mask: Tensor, floor: float = 1e-3) -> Tensor:
    """Zero mean and unit standard deviation over `mask`; the deviation counts as at least `floor`."""
    mean = masked_mean(advantage, mask)
    std = masked_mean((advantage - mean) ** 2, mask).sqrt()
    return (advantage - mean) / std.clamp(min=floor)
