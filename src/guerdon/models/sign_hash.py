"""SimHash: close observations share a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.models.observation_net import CHUNK, ObservationInput
from guerdon.models.seeded import seeded
from guerdon.types import Spec


class SignHash(nn.Module):
    """The signs of random projections of an observation as the bits of a number: ``sgn(A x)``, A normal [bits, size].

    x is all that the observation says as one vector: numbers as they are, bytes divided by 255, one of n as indicators,
    symbols of a map as numbers. Two observations share a bit with the chance 1 - angle / pi. Nothing is standardised:
    moments that move would move the numbers of what was counted.

    Args:
        spec: of the task.
        bits: more tell more observations apart; 1 to 62.
        keys: of the observation; None means all.
        device, generator: as in `Reward.build`.
        reader: who hashes, for errors.
    """

    def __init__(
        self, spec: Spec, *, bits: int, keys: Sequence[str] | None = None, device: torch.device | str = "cpu",
        generator: torch.Generator | None = None, reader: str = "SignHash",
    ) -> None:  # fmt: skip
        super().__init__()
        self.given = ObservationInput(spec.observation_space, keys=keys, standardise=False, reader=reader)
        grids = [*self.given.images, *self.given.symbols]
        sizes = {"numbers": self.given.width} | {k: int(np.prod(self.given.space[k].shape)) for k in grids}  # type: ignore
        with seeded(generator):
            drawn = {key: torch.randn(size, bits) for key, size in sizes.items() if size}
        self.directions = nn.ParameterDict({k: nn.Parameter(a.to(device), False) for k, a in drawn.items()})
        self.register_buffer("place", 2 ** torch.arange(bits, device=device))

    def of(self, obs: Mapping[str, Tensor]) -> Tensor:
        """int64 [m, n] of observations [m, n, ...]."""
        flat = {key: obs[key].flatten(0, 1) for key in self.given.keys}
        shape = obs[self.given.keys[0]].shape[:2]
        parts = [self._hash({k: x[i : i + CHUNK] for k, x in flat.items()}) for i in range(0, shape.numel(), CHUNK)]
        return torch.cat(parts).view(shape) if parts else torch.zeros(shape, dtype=torch.int64)

    def _hash(self, obs: dict[str, Tensor]) -> Tensor:
        x = self.given(obs)
        sides = torch.stack([x[key].float().flatten(1) @ a for key, a in self.directions.items()]).sum(0) > 0
        return (sides * self.place).sum(-1)  # type: ignore[operator]
