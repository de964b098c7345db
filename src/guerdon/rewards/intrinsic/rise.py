"""RISE: RE3 with Renyi's entropy, which does not vanish as fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.random_features import StateMemory
from guerdon.types import About, Reward, Rollout, Spec


class RISE(Reward):
    """Renyi state entropy by nearest neighbours: ``r_t = |f(obs[t+1]) - its k-th nearest in memory| ** (1 - alpha)``.

    f, the memory and what happens while it is short are as in `RE3`, of which it is the generalisation: Renyi's entropy
    of order alpha becomes Shannon's as alpha goes to 1. [T, B] float32, at least 0, growing with the scale of f;
    invalid steps 0, terminal ones as any other. `observe` fills the memory; nothing learns.

    Yuan, Pun and Wang, "Renyi State Entropy Maximization for Exploration Acceleration in Reinforcement Learning", 2022.
    Made from its abstract and the first author's code, which takes a random network where the paper trains a
    variational autoencoder, and a given k where the paper searches one. That code seeks among the steps of the same
    rollout and environment (RLeXplore) or among the last 1000 of it (RLLTE, whose RISE is not exported and whose
    observations stay unnormalised, since the result of ``normalize`` is dropped); ours among all environments' before
    the rollout. [reconstructed]: the memory.

    Args:
        alpha: order of the entropy, in [0, 1) (0.5: the author's code).
        k: which neighbour (5: the author's code).
        average: take the mean over the k nearest instead of the k-th.
        capacity, features, hidden, keys, standardise: as in `RE3`.

    Raises:
        ValueError: alpha outside [0, 1), k below 1; NaN or infinite observations, or ones of another shape.
    """

    about: ClassVar[About] = About(
        rewards="states far from their nearest neighbours, by a power that Renyi's entropy sets",
        paper="Renyi State Entropy Maximization for Exploration Acceleration in RL (Yuan et al., 2022)",
        link="https://arxiv.org/abs/2203.04297",
    )

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        k: int = 5,
        average: bool = False,
        capacity: int = 10_000,
        features: int = 64,
        hidden: Sequence[int] = (256,),
        keys: Sequence[str] | None = None,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= alpha < 1 or k < 1:
            raise ValueError(f"RISE needs 0 <= alpha < 1 and k >= 1, got {alpha} and {k}")
        self.alpha, self.k, self.average, self.capacity, self.features = alpha, k, average, capacity, features
        self.hidden, self.keys, self.standardise = hidden, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = {key: value for key, value in self.config().items() if key not in ("alpha", "k", "average")}
        self.states = StateMemory(spec, **options, device=device, generator=generator, reader=self.name)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        worth = self.states.distances(experience, self.k).pow(1 - self.alpha)
        return (worth.mean(-1) if self.average else worth[..., -1]).masked_fill(~experience.valid.bool(), 0.0)

    def observe(self, rollout: Rollout) -> None:
        self.states.observe(rollout)
