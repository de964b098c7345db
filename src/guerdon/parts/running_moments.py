"""Mean and variance of a stream, batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningMoments(nn.Module):
    """Mean and variance of all values so far, combined batch by batch (parallel Welford) in float64.

    It starts at mean 0 and variance 1 with a pseudo-count, so that it is of use before the first batch.

    Args:
        shape: of one value; a batch may have any leading dimensions.
        correction: 1 combines the batches' sample variances (divided by n - 1), as ONI does; 0 their population
            variances, which makes the result that of all data at once. A batch of one value has variance 0 either way.
        pseudo_count: the weight of the start, in values.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = (), *, correction: int = 0, pseudo_count: float = 1e-4) -> None:
        super().__init__()
        self.shape, self.correction = shape, correction
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(pseudo_count, dtype=torch.float64))

    @torch.no_grad()
    def update(self, values: Tensor, mask: Tensor | None = None) -> None:
        """Takes in `values` [..., *shape]; with `mask` [...] only those where it is True. No value: no change."""
        lead = values.shape[: values.ndim - len(self.shape)]
        if values.shape[len(lead) :] != self.shape or (mask is not None and mask.shape != lead):
            got = f"values {list(values.shape)}" + ("" if mask is None else f" with mask {list(mask.shape)}")
            raise ValueError(f"moments of shape {list(self.shape)} cannot take in {got}")
        batch = values[mask] if mask is not None else values.reshape(-1, *self.shape)
        n = len(batch)
        if n == 0:
            return
        batch = batch.to(self.mean)
        mean = batch.mean(0)
        self.merge(n, mean, batch.var(0, correction=self.correction) if n > 1 else torch.zeros_like(mean))

    @torch.no_grad()
    def merge(self, n: int, mean: Tensor, var: Tensor) -> None:
        """Takes in n values of which only mean and variance (of `correction`) are left, [*shape] each in float64."""
        total, delta = self.count + n, mean - self.mean
        self.var.copy_((self.var * self.count + var * n + delta**2 * (self.count * n / total)) / total)
        self.mean.add_(delta * (n / total))
        self.count.copy_(total)

    def normalise(self, values: Tensor, *, epsilon: float = 0.0) -> Tensor:
        """``(values - mean) / sqrt(var + epsilon)``, in the type of `values`. A spread of 0 leaves values at 0."""
        spread = (self.var + epsilon).sqrt()
        centred = values - self.mean
        return torch.where(spread > 0, centred / spread, 0.0).to(values.dtype)
