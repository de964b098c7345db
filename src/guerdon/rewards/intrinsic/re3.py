"""RE3: a state is worth how far it is from its nearest ones, in the features of a random network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.random_features import StateMemory
from guerdon.types import About, Reward, Rollout, Spec


class RE3(Reward):
    """State entropy by nearest neighbours: ``r_t = log(1 + |f(obs[t+1]) - its k-th nearest in memory|)``.

    f is a random network that nobody trains; the memory holds the features of the last `capacity` states of all
    environments, up to the rollout before this one. [T, B] float32, at least 0, growing with the scale of f; invalid
    steps 0, terminal ones as any other. With fewer than k in memory the farthest of them counts, with none all is 0. A
    replayed step is paid by the memory of now, in which it may find itself. `observe` fills the memory; nothing learns.

    Seo et al., "State Entropy Maximization with Random Encoders", 2021. The release fills its memory first, so that a
    state's nearest is itself, and takes the (k+1)-th, or on MiniGrid the mean over 5 with itself; there it divides the
    distance by its running deviation before the logarithm, which is wrong from the second batch on, since the update of
    the mean has a plus for a times. RLLTE pays obs[t], seeks among the last 1000 steps of the same environment, takes
    the (k+1)-th of a storage that holds the state, and fails while it holds no more than k.

    Args:
        k: which neighbour (3: paper).
        average: take the mean of log(1 + distance) over the k nearest instead of the k-th.
        capacity: states held (10,000: release).
        features: of f (64: release on MiniGrid; 50 on DMC).
        hidden: dense layers, after the convolutions if there are any (RLLTE's for vectors).
        keys: of the observation; None means all.
        standardise: observations by their running moments; then features of a state drift with them (paper: raw).

    Raises:
        ValueError: k below 1; NaN or infinite observations, or ones of another shape than the space says.
    """

    about: ClassVar[About] = About(
        rewards="states far from their nearest neighbours in the features of a random network",
        paper="State Entropy Maximization with Random Encoders for Efficient Exploration (Seo et al., 2021)",
        link="https://arxiv.org/abs/2102.09430",
    )

    def __init__(
        self,
        *,
        k: int = 3,
        average: bool = False,
        capacity: int = 10_000,
        features: int = 64,
        hidden: Sequence[int] = (256,),
        keys: Sequence[str] | None = None,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"RE3 needs k >= 1 neighbours, got {k}")
        self.k, self.average, self.capacity, self.features = k, average, capacity, features
        self.hidden, self.keys, self.standardise = hidden, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = {key: value for key, value in self.config().items() if key not in ("k", "average")}
        self.states = StateMemory(spec, **options, device=device, generator=generator, reader=self.name)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        distance = self.states.distances(experience, self.k)
        worth = distance.log1p().mean(-1) if self.average else distance[..., -1].log1p()
        return worth.masked_fill(~experience.valid.bool(), 0.0)

    def observe(self, rollout: Rollout) -> None:
        self.states.observe(rollout)
