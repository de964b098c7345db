"""Tensors that grow with the captions seen."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

_START = 1024


def grown(tensor: Tensor, size: int, fill: float = 0) -> Tensor:
    """`tensor`, or a longer copy if it has fewer than `size` rows. Doubles, so that growing costs O(1) a row."""
    if size <= len(tensor):
        return tensor
    longer = tensor.new_full((max(size, 2 * len(tensor), _START), *tensor.shape[1:]), fill)
    longer[: len(tensor)] = tensor
    return longer


class Memo(nn.Module):
    """A value for each id, worked out when first asked for. Not part of the saved state: it can be worked out again."""

    values: Tensor  # float32 [ids]; NaN where nobody asked yet

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(0), persistent=False)

    @torch.no_grad()
    def of(self, ids: Tensor, work_out: Callable[[Tensor], Tensor]) -> Tensor:
        """float32 [n], where this memo is. ``work_out(unknown)`` gets distinct ids and returns their values [m]."""
        ids = ids.to(self.values.device).long()
        self.values = grown(self.values, int(ids.max()) + 1 if len(ids) else 0, fill=math.nan)
        unknown = ids[self.values[ids].isnan()].unique()
        if len(unknown):
            self.values[unknown] = work_out(unknown).to(self.values)
        return self.values[ids]

    def forget(self) -> None:
        """All is unknown again."""
        self.values.fill_(math.nan)
