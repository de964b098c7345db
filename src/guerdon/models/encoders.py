"""From a mixed observation dictionary to one feature vector: one small encoder a key, chosen by the key's space."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

ACTION_MASK = "action_mask"
"""Observation key that holds which actions are allowed; it masks the policy and is not encoded."""


Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def orthogonal(layer: Layer, gain: float = 2**0.5) -> Layer:
    """The layer with orthogonal weights and zero bias, as usual for PPO."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class SymbolMap(nn.Module):
    """A grid of symbols (glyphs, characters, colours) around the agent: an embedding per cell, then one dense layer.

    The grid is centred on the agent, so a cell's place in it is meaningful and a dense layer over all cells serves
    better, and on a CPU faster, than a convolution.
    """

    def __init__(self, space: spaces.Box, width: int, embedding: int = 8) -> None:
        super().__init__()
        self.symbols = nn.Embedding(int(space.high.max()) + 1, embedding)
        self.dense = orthogonal(nn.Linear(int(np.prod(space.shape)) * embedding, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(self.symbols(x.int()).flatten(1)))


class BigMap(nn.Module):
    """A whole level of symbols: an embedding per cell and three strided convolutions."""

    def __init__(self, space: spaces.Box, width: int, embedding: int = 8) -> None:
        super().__init__()
        self.symbols = nn.Embedding(int(space.high.max()) + 1, embedding)
        self.convs = nn.Sequential(
            orthogonal(nn.Conv2d(embedding, 16, 3, 2, 1)), nn.ReLU(),
            orthogonal(nn.Conv2d(16, 32, 3, 2, 1)), nn.ReLU(),
            orthogonal(nn.Conv2d(32, 32, 3, 2, 1)), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        with torch.no_grad():
            n = self.convs(torch.zeros(1, embedding, *space.shape)).shape[1]
        self.dense = orthogonal(nn.Linear(n, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(self.convs(self.symbols(x.int()).movedim(-1, 1))))


class Image(nn.Module):
    """uint8 or float images [C, H, W] (or [H, W, C]): three strided convolutions."""

    def __init__(self, space: spaces.Box, width: int) -> None:
        super().__init__()
        self.last = space.shape[-1] <= 4 < space.shape[0]
        self.scale = 1 / 255 if space.dtype == np.uint8 and space.high.max() > 15 else 1.0
        c, h, w = (space.shape[-1], *space.shape[:-1]) if self.last else space.shape
        stride = 2 if min(h, w) > 16 else 1
        self.convs = nn.Sequential(
            orthogonal(nn.Conv2d(c, 16, 3, stride, 1)), nn.ReLU(),
            orthogonal(nn.Conv2d(16, 32, 3, 2, 1)), nn.ReLU(),
            orthogonal(nn.Conv2d(32, 32, 3, 2, 1)), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        with torch.no_grad():
            n = self.convs(torch.zeros(1, c, h, w)).shape[1]
        self.dense = orthogonal(nn.Linear(n, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float() * self.scale
        return torch.relu(self.dense(self.convs(x.movedim(-1, 1) if self.last else x)))


class Numbers(nn.Module):
    """A vector of numbers: two dense layers. Integers of open range (NetHack's status line) pass a signed log first."""

    def __init__(self, space: spaces.Box, width: int) -> None:
        super().__init__()
        integer = np.issubdtype(space.dtype, np.integer)
        self.log = integer and float(space.high.max()) > 1e4
        self.scale = 1 / 255 if integer and not self.log and space.high.max() > 16 else 1.0
        n = int(np.prod(space.shape))
        self.layers = nn.Sequential(
            orthogonal(nn.Linear(n, width)), nn.Tanh(), orthogonal(nn.Linear(width, width)), nn.Tanh()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.float().flatten(1)
        x = x.sign() * x.abs().log1p() if self.log else x * self.scale
        return self.layers(x)


class Category(nn.Module):
    """One of n: an embedding."""

    def __init__(self, space: spaces.Discrete, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(int(space.n), width)
        self.start = int(space.start)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x.long() - self.start)


def encoder(key: str, space: spaces.Space, width: int) -> nn.Module:
    """The encoder of one observation key. Raises TypeError for a space that none fits."""
    if isinstance(space, spaces.Discrete):
        return Category(space, width)
    if isinstance(space, spaces.Box):
        if key.startswith(("glyphs", "chars", "colors", "specials")) and len(space.shape) == 2:
            return SymbolMap(space, width) if np.prod(space.shape) <= 400 else BigMap(space, width)
        if len(space.shape) == 3:
            return Image(space, width)
        return Numbers(space, width)
    raise TypeError(f"no encoder for observation {key!r} of space {space}; give the policy your own `encoder`")


class DictEncoder(nn.Module):
    """Every key's features side by side, [n, `size`]; `keys` picks some of them, None means all.

    Raises:
        ValueError: a key that the space lacks.
    """

    def __init__(self, space: spaces.Dict, width: int = 64, keys: tuple[str, ...] | None = None) -> None:
        super().__init__()
        found = [k for k in space if k != ACTION_MASK]
        if keys and (missing := [k for k in keys if k not in found]):
            raise ValueError(f"observation has no {missing}; it has {found}")
        self.keys = tuple(keys or found)
        self.encoders = nn.ModuleDict({k: encoder(k, space[k], width) for k in self.keys})
        self.size = width * len(self.keys)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return torch.cat([self.encoders[k](obs[k]) for k in self.keys], -1)
