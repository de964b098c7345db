"""A slow copy of a network, for others to aim at."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class EMATarget(nn.Module):
    """A frozen copy of `module` that follows it by exponential averages: phi <- decay * phi + (1 - decay) * theta.

    It answers as the module does, without gradients. Buffers are copied, not averaged.

    Args:
        module: what to follow; its weights now are the first ones.
        decay: of the average, in [0, 1] (0.99: BYOL-Explore). 1 never moves, 0 is the module itself.

    Raises:
        ValueError: a decay outside [0, 1].
    """

    def __init__(self, module: nn.Module, *, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay lies in [0, 1], got {decay}")
        self.module, self.decay = copy.deepcopy(module).requires_grad_(False), decay

    @torch.no_grad()
    def forward(self, *given: Any) -> Any:
        return self.module(*given)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves towards `module`, which is of the same shape."""
        for mine, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs, 1 - self.decay)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
