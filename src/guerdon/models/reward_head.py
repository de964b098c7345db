"""From features to one number: the head of a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU, "tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "none": nn.Identity,
}  # fmt: skip
MONOTONE = ("tanh", "relu", "sigmoid", "none")
"""Activations that never fall."""


class RewardHead(nn.Module):
    """r = out(w . a(... a(W1 h + b1) ...) + b): features h [..., `size`] to rewards [...], in float32.

    - ``hidden=()`` is the linear head of most reward models.
    - ``hidden=(size,), activation="silu"`` is BaseReward's: r = w2 . SiLU(W1 h + b1), of 2025.
    - ``hidden=(6, 4, 2), activation="relu", output_activation="relu", inner=False`` is the layout of domain-rm's code
      (2024): an activation after the first layer, none between the others, and the same again at the end. The output
      then lies in the activation's range, and with ReLU all of it may die at 0.

    Args:
        size: of the features.
        hidden: widths of the layers in between.
        activation: after each of them: "silu", "tanh", "relu", "sigmoid" or "none".
        output_activation: of the reward itself; None for none.
        inner: False leaves out the activation after all hidden layers but the first.
        monotone: every weight counts by its absolute value, so that no feature ever lowers the reward; SiLU falls
            below -1.28 and is refused.
        bias: whether the last layer has an offset. It cancels in every comparison of single answers, but not in sums
            over segments of unequal length, nor before an output activation.

    Raises:
        ValueError: an unknown activation, a width below 1, SiLU with `monotone`.
    """

    def __init__(
        self, size: int, *, hidden: Sequence[int] = (), activation: str = "silu", output_activation: str | None = None,
        inner: bool = True, monotone: bool = False, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        out = output_activation or "none"
        for name in (activation, out):
            if name not in ACTIVATIONS:
                raise ValueError(f"no activation is called {name!r}; there are {', '.join(ACTIVATIONS)}")
        if min([size, *hidden]) < 1:
            raise ValueError(f"a reward head needs widths of at least 1, got {size} features and hidden {(*hidden,)}")
        if monotone and (out not in MONOTONE or (hidden and activation not in MONOTONE)):
            raise ValueError(f"a monotone head needs activations that never fall: {', '.join(MONOTONE)}")
        self.size, self.monotone = size, monotone
        widths = [size, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last = nn.Linear(widths[-1], 1, bias=bias)
        self.activations = nn.ModuleList(
            ACTIVATIONS[activation if inner or i == 0 else "none"]() for i in range(len(hidden))
        )
        self.out = ACTIVATIONS[out]()

    def forward(self, h: Tensor) -> Tensor:
        h = h.float()  # bfloat16 keeps 8 bits: too few to tell two good answers apart
        for layer, activation in zip(self.layers, self.activations, strict=True):
            h = activation(self._through(layer, h))
        return self.out(self._through(self.last, h).squeeze(-1))

    def _through(self, layer: nn.Module, h: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear)
        return F.linear(h, layer.weight.abs() if self.monotone else layer.weight, layer.bias)

    @property
    def linear(self) -> bool:
        """Whether it is one matrix product and nothing else, such as transformers' classifiers end with."""
        return not self.layers and isinstance(self.out, nn.Identity) and not self.monotone

    @torch.no_grad()
    def restart(self) -> None:
        """Draws the weights anew from torch's global generator; see `seeded`."""
        for layer in [*self.layers, self.last]:
            layer.reset_parameters()  # type: ignore[operator]
