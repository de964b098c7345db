"""E3B: a step is worth how far its features point where the episode has not been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.dynamics import ActionFeatures
from guerdon.parts.elliptical import EllipticalMemory
from guerdon.parts.episodes import RunningEpisodes
from guerdon.parts.recall import Recall
from guerdon.types import About, Reward, Rollout, Spec


class E3B(Reward):
    """Elliptical episodic bonus, with features phi that an inverse model teaches.

        r_t = phi(obs[t+1])^T C^-1 phi(obs[t+1]),    C = ridge I + sum of phi phi^T over what the episode showed before

    Counts for continuous states: with one-hot features and ridge 1 it is 1 / (n + 1) after n visits. The episode's
    first observation is in C, and is not paid. [T, B] float32, at least 0 and at most |phi|^2 / ridge, on no fixed
    scale; invalid steps 0, terminal ones as any other. `observe` takes a rollout into C, `update` trains phi. The bonus
    belongs to its place in an episode: it scores rollouts of `num_envs` columns only.

    Henaff et al., "Exploration via Elliptical Episodic Bonuses", 2022. C^-1 is kept in float64 and taken over whole
    rollouts at once, see `EllipticalMemory`; equal to the paper's rank-1 updates. It differs from the authors' code in
    its networks, and in that the code pays a step for the features of obs[t], the first of an episode 0. RLLTE pays
    obs[t] as well, so before it is known what the step led to, and keeps C^-1 in float32. The authors' code can divide
    by the running deviation of the bonus: ``Normalise(E3B(), gamma=0.0)``.

    Args:
        ridge: lambda (0.1: paper and both codes).
        features: size of phi (128: RLLTE; authors 1024).
        hidden: dense layers of phi's network, after the convolutions if there are any (RLLTE's for vectors).
        lr: of Adam (RLLTE's 1e-3; authors 1e-4).
        batch_size, epochs: of the training (RLLTE's).
        keys: of the observation; None means all.
        standardise: observations by their running moments (our choice; paper raw).

    Raises:
        ValueError: another number of environments than it was built for; NaN or infinite observations, or ones of
            another shape. FloatingPointError: features too long for float64 beside the ridge.
    """

    about: ClassVar[About] = About(
        rewards="features that point where the episode has not been: an episodic count for any observation",
        paper="Exploration via Elliptical Episodic Bonuses (Henaff et al., 2022)",
        link="https://arxiv.org/abs/2210.05805",
    )
    episodic: ClassVar[bool] = True

    def __init__(
        self,
        *,
        ridge: float = 0.1,
        features: int = 128,
        hidden: Sequence[int] = (256,),
        lr: float = 1e-3,
        batch_size: int = 256,
        epochs: int = 1,
        keys: Sequence[str] | None = None,
        standardise: bool = True,
    ) -> None:
        super().__init__()
        if not ridge > 0:
            raise ValueError(f"E3B's ridge must be above 0, got {ridge}")
        self.ridge, self.features, self.hidden, self.lr = ridge, features, hidden, lr
        self.batch_size, self.epochs, self.keys, self.standardise = batch_size, epochs, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = {key: value for key, value in self.config().items() if key != "ridge"}
        self.net = ActionFeatures(spec, **options, device=device, generator=generator, reader=self.name)
        self.memory = EllipticalMemory(spec.num_envs, self.features, self.ridge).to(device)
        self.episodes = RunningEpisodes(spec.num_envs, self.name).to(device)
        self.recall: Recall[tuple[Tensor, Tensor]] = Recall()

    @torch.no_grad()
    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        return self._walk(experience)[0][1:].masked_fill(~experience.valid.bool(), 0.0)

    def _walk(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        visits = self.episodes.visits(rollout)
        return self.recall.of(rollout, self, lambda: self.memory.walk(self.net.encode(rollout.obs), visits))

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> None:
        self.memory.inverse.copy_(self._walk(rollout)[1])
        self.net.observe(rollout)
        self.episodes.advance(rollout)
        self.recall.forget()

    def update(self, experience: Any) -> dict[str, float]:
        """Trains phi on a Rollout, and passes over anything else."""
        losses = self.net.learn(experience) if isinstance(experience, Rollout) else {}
        self.recall.forget()
        return {f"{self.name}/{name}_loss": loss for name, loss in losses.items()}
