"""Features of a random network that nobody trains, and a memory of those of all states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.models.dynamics import encode
from guerdon.models.observation_net import ObservationInput, ObservationNet, next_obs
from guerdon.models.seeded import seeded
from guerdon.parts.knn_memory import LifelongMemory
from guerdon.parts.recall import Recall
from guerdon.types import Rollout, Spec


class RandomFeatures(nn.Module):
    """A frozen random network f: close observations have close features, of any kind of observation.

    Args:
        spec: of the task.
        features: size of f.
        hidden: dense layers, after the convolutions if there are any.
        keys, standardise: as in `ObservationInput`. Standardised, the features of an observation drift with the moments
            of the stream, and so away from those that a memory holds.
        device, generator: as in `Reward.build`.
        reader: whose network it is, for errors.
    """

    def __init__(
        self, spec: Spec, *, features: int, hidden: Sequence[int], keys: Sequence[str] | None = None,
        standardise: bool = False, device: torch.device | str = "cpu", generator: torch.Generator | None = None,
        reader: str = "RandomFeatures",
    ) -> None:  # fmt: skip
        super().__init__()
        self.given = ObservationInput(spec.observation_space, keys=keys, standardise=standardise, reader=reader)
        with seeded(generator):
            self.net = ObservationNet(self.given, features, hidden=hidden)
        self.requires_grad_(False)
        self.to(device)

    @torch.no_grad()
    def of(self, rollout: Rollout) -> Tensor:
        """[T+1, B, features] of all observations."""
        return encode(self.net, self.given, rollout.obs)

    def observe(self, rollout: Rollout) -> None:
        """Takes what the valid steps led to into the moments, if there are any."""
        self.given.observe(next_obs(rollout.obs, self.given.keys), rollout.valid.bool().flatten())


class StateMemory(nn.Module):
    """How far states are from those of earlier rollouts, in random features.

    Args:
        spec: of the task.
        capacity: states held, of all environments together; then the oldest make way.
        options: of `RandomFeatures`.
    """

    def __init__(
        self, spec: Spec, *, capacity: int, features: int, device: torch.device | str = "cpu", **options: Any
    ) -> None:
        super().__init__()
        self.net = RandomFeatures(spec, features=features, device=device, **options)
        self.memory = LifelongMemory(features, capacity).to(device)
        self.recall: Recall[Tensor] = Recall()

    @torch.no_grad()
    def distances(self, rollout: Rollout, k: int) -> Tensor:
        """[T, B, j] ascending, from what each step led to, to the j = min(k, m) nearest of m held; one 0 if m is 0."""
        queries, found = self._features(rollout)[1:], min(k, len(self.memory))
        if not found:
            return queries.new_zeros(*rollout.shape, 1)
        return self.memory.nearest(queries.flatten(0, 1), found)[0].sqrt().view(*rollout.shape, found)

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> None:
        """Takes in what the valid steps led to, once per rollout, after `distances`."""
        self.memory.add(self._features(rollout)[1:][rollout.valid.bool()])
        self.net.observe(rollout)
        self.recall.forget()

    def _features(self, rollout: Rollout) -> Tensor:
        return self.recall.of(rollout, self, lambda: self.net.of(rollout))
