"""From any observation to features: what curiosity and novelty are measured in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from guerdon.models.encoders import ACTION_MASK, BigMap, SymbolMap, orthogonal
from guerdon.parts.running_moments import RunningMoments

Prepared = dict[str, Tensor]
"""What networks take: "numbers" [n, d], and a tensor [n, ...] for each image and each map of symbols, by key."""

CHUNK = 256  # images in one pass


class ObservationInput(nn.Module):
    """Observations made ready for networks, and the running moments that standardise them.

    Numbers and images become (x - mean) / std of all that `observe` was shown, clipped to +-`clip`: per number, and per
    pixel and channel. Whole numbers of open range (NetHack's status line) pass a signed log first. Before anything was
    observed, numbers stay as they are, and bytes are divided by 255. One of n becomes n indicators, never standardised;
    maps of symbols (NetHack's glyphs) go to embeddings as they are.

    Args:
        space: of one environment.
        keys: of the space, to look at; None means all. Leave out what never comes again, such as a clock.
        standardise: False hands on numbers as they are, and bytes divided by 255.
        clip: of standardised values (5: Burda et al., 2018).
        reader: who looks, for errors.

    Raises:
        ValueError: a key that the space lacks. TypeError: a space that nothing here can read.
    """

    def __init__(
        self, space: spaces.Space | None, *, keys: Sequence[str] | None = None, standardise: bool = True,
        clip: float = 5.0, reader: str = "ObservationInput",
    ) -> None:  # fmt: skip
        super().__init__()
        if not isinstance(space, spaces.Dict):
            raise TypeError(f"{reader} needs the spaces of a task's observations, got {space}")
        found = [key for key in space if key != ACTION_MASK]
        if missing := [key for key in keys or () if key not in found]:
            raise ValueError(f"{reader}: observations have no {', '.join(missing)}, but {', '.join(found)}")
        self.space, self.keys, self.clip, self.reader = space, tuple(keys or found), clip, reader
        self.images = [k for k in self.keys if isinstance(s := space[k], spaces.Box) and len(s.shape) == 3]
        self.symbols = [k for k in self.keys if is_symbols(k, space[k])]
        self.categories = [k for k in self.keys if isinstance(space[k], spaces.Discrete | spaces.MultiDiscrete)]
        rest = [k for k in self.keys if k not in {*self.images, *self.symbols, *self.categories}]
        if unread := [k for k in rest if not isinstance(space[k], spaces.Box | spaces.MultiBinary)]:
            raise TypeError(f"{reader} cannot read {unread[0]!r} of {space[unread[0]]}: pass keys= without it")
        self.numbers = rest
        self.width = sum(map(self._size, [*self.numbers, *self.categories]))
        shapes = {k: tuple(space[k].shape) for k in self.images}  # type: ignore[arg-type]
        if self.numbers:
            shapes["numbers"] = (sum(map(self._size, self.numbers)),)
        self.moments = nn.ModuleDict({k: RunningMoments(s) for k, s in shapes.items()} if standardise else {})

    @property
    def chunk(self) -> int:
        """How many observations to look at in one pass: as fits a core's cache."""
        return CHUNK if self.images or self.symbols else 64 * CHUNK

    def _size(self, key: str) -> int:
        space = self.space[key]
        if isinstance(space, spaces.Discrete):
            return int(space.n)
        return int(space.nvec.sum() if isinstance(space, spaces.MultiDiscrete) else np.prod(space.shape))  # type: ignore

    def forward(self, obs: Mapping[str, Tensor]) -> Prepared:
        """`obs` [n, ...] by key. Raises ValueError for other shapes than the space's, NaN and infinities."""
        made: Prepared = {}
        numbers = [self._standard("numbers", self._plain(obs))] if self.numbers else []
        numbers += [self._indicators(key, obs[key]) for key in self.categories]
        if numbers:
            made["numbers"] = numbers[0] if len(numbers) == 1 else torch.cat(numbers, -1)
        for key in self.images:
            image = self._standard(key, self.checked(key, obs[key]))
            made[key] = image.movedim(-1, 1) if channels_last(self.space[key]) else image
        return made | {key: self.checked(key, obs[key]) for key in self.symbols}

    @torch.no_grad()
    def observe(self, obs: Mapping[str, Tensor], mask: Tensor | None = None) -> None:
        """Takes observations [n, ...] into the moments; with `mask` [n] only those where it is True."""
        if not self.moments:
            return
        if self.numbers:
            self.moments["numbers"].update(self._plain(obs), mask)  # type: ignore[operator]
        for key in self.images:
            image = self.checked(key, obs[key]) if mask is None else self.checked(key, obs[key])[mask]
            for part in image.split(CHUNK):
                if part.dtype != torch.uint8:
                    self.moments[key].update(part)  # type: ignore[operator]
                    continue
                x = part.float()  # sums of 256 bytes and of their squares are whole numbers below 2^24: exact
                mean, square = x.sum(0).double() / len(x), x.square_().sum(0).double() / len(x)
                self.moments[key].merge(len(x), mean, square - mean.square())  # type: ignore[operator]

    def _plain(self, obs: Mapping[str, Tensor]) -> Tensor:
        flat = []
        for key in self.numbers:
            x = self.checked(key, obs[key]).float().flatten(1)
            flat.append(x.sign() * x.abs().log1p() if is_open(self.space[key]) else x)
        return flat[0] if len(flat) == 1 else torch.cat(flat, -1)

    def _standard(self, key: str, x: Tensor) -> Tensor:
        moments: Any = self.moments[key] if key in self.moments else None  # noqa: SIM401 - a ModuleDict has no get
        if moments is None or moments.count < 1:
            return x.float() / 255 if x.dtype == torch.uint8 else x.float()
        scale = torch.where(moments.var > 1e-12, moments.var, 1.0).rsqrt()  # what never changed is 0, until it does
        shift, scale = (-moments.mean * scale).float(), scale.float()
        return torch.addcmul(shift, x.float(), scale).clamp_(-self.clip, self.clip)

    def _indicators(self, key: str, x: Tensor) -> Tensor:
        space = self.space[key]
        x = self.checked(key, x).long()
        if isinstance(space, spaces.Discrete):
            return F.one_hot(x - int(space.start), int(space.n)).float()
        start = np.asarray(space.start).ravel()  # type: ignore[attr-defined]
        ones = [
            F.one_hot(one - int(s), int(n))
            for one, s, n in zip(x.flatten(1).unbind(1), start, space.nvec.ravel(), strict=True)  # type: ignore
        ]
        return torch.cat(ones, -1).float()

    def checked(self, key: str, x: Tensor) -> Tensor:
        """`x` [n, ...] as it is. Raises ValueError for another shape than the space's of `key`, NaN and infinities."""
        shape = tuple(self.space[key].shape or ())
        if tuple(x.shape[1:]) != shape:
            raise ValueError(f"{self.reader}: observation {key!r} has shape {list(x.shape[1:])}, not {list(shape)}")
        if x.is_floating_point() and x.numel() and not bool(torch.stack(x.aminmax()).isfinite().all()):
            raise ValueError(f"{self.reader}: observation {key!r} holds NaN or infinity; clean it in the environment")
        return x


class ObservationNet(nn.Module):
    """Features [n, `size`] of prepared observations: convolutions and embeddings, then one stack of dense layers.

    Images of 36 pixels and more pass 32 filters 8/4, 64 4/2, 64 3/1 (Mnih et al., 2015), smaller ones three of 3 x 3;
    maps of symbols an embedding. All of it and the numbers, side by side, go through the dense layers `hidden` and a
    last one without activation. Orthogonal weights of gain sqrt 2 (Burda et al., 2018).
    """

    def __init__(self, given: ObservationInput, size: int, *, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        wide = hidden[0] if hidden else size
        self.images = nn.ModuleDict({k: convolutions(given.space[k]) for k in given.images})  # type: ignore[arg-type]
        maps: Any = {k: SymbolMap if np.prod(given.space[k].shape) <= 400 else BigMap for k in given.symbols}  # type: ignore
        self.maps = nn.ModuleDict({k: kind(given.space[k], wide) for k, kind in maps.items()})
        widths = [given.width + wide * len(maps) + sum(int(m.size) for m in self.images.values()), *hidden]  # type: ignore
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [orthogonal(nn.Linear(a, b)), nn.ReLU()]
        self.dense = nn.Sequential(*layers, orthogonal(nn.Linear(widths[-1], size)))
        self.size = size

    def forward(self, x: Prepared) -> Tensor:
        found = [x["numbers"]] if "numbers" in x else []
        found += [net(x[key]) for key, net in [*self.images.items(), *self.maps.items()]]
        return self.dense(found[0] if len(found) == 1 else torch.cat(found, -1))


def convolutions(space: spaces.Box) -> nn.Sequential:
    """Convolutions over one image, flattened; ``size`` is how many numbers come out."""
    c, h, w = (space.shape[-1], *space.shape[:-1]) if channels_last(space) else space.shape
    plan = (
        [(32, 8, 4, 0), (64, 4, 2, 0), (64, 3, 1, 0)]
        if min(h, w) >= 36
        else [(16, 3, 1, 1), (32, 3, 2, 1), (32, 3, 2, 1)]
    )
    layers: list[nn.Module] = []
    channels = c
    for filters, kernel, stride, padding in plan:
        layers += [orthogonal(nn.Conv2d(channels, filters, kernel, stride, padding)), nn.LeakyReLU()]
        channels = filters
    net = nn.Sequential(*layers, nn.Flatten())
    with torch.no_grad():
        net.size = net(torch.zeros(1, c, h, w)).shape[1]
    return net


def channels_last(space: spaces.Space) -> bool:
    """Whether an image's last dimension is its channels: [H, W, C] rather than [C, H, W]."""
    assert space.shape is not None
    return space.shape[-1] <= 4 < space.shape[0]


def is_symbols(key: str, space: spaces.Space) -> bool:
    """Whether an observation is a map of symbols, as NetHack's glyphs, characters and colours are."""
    return isinstance(space, spaces.Box) and len(space.shape) == 2 and key.startswith(("glyphs", "chars", "colors"))


def is_open(space: spaces.Space) -> bool:
    """Whether these are whole numbers of open range, such as NetHack's status line."""
    return isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer) and float(space.high.max()) > 1e4


def next_obs(obs: Mapping[str, Tensor], keys: Sequence[str]) -> dict[str, Tensor]:
    """What each of [T, B] steps led to, flat: [T * B, ...] by key, from observations [T + 1, B, ...]."""
    return {key: obs[key][1:].flatten(0, 1) for key in keys}
