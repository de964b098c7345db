"""ConfidenceGate: a learned reward is not believed where its states are unlike all that it was checked on."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.reward_encoder import RewardEncoder
from guerdon.models.seeded import seed_from
from guerdon.parts.group_advantages import row_rewards
from guerdon.parts.state_centroids import StateCentroids
from guerdon.types import (
    About,
    Completions,
    Experience,
    Labels,
    Pairs,
    Reward,
    Rollout,
    Scored,
    Spec,
    as_reward,
    check_score,
)


class ConfidenceGate(Reward):
    """A reward, and NaN ("not scored") where the encoder's state is farther than d_tau from every known centroid.

    Inference-time probing of MRMBench: d(h) = min_i ||h' - c_i||_2 over the centroids of validation states, h' being h
    standardised on them; a sample with d > d_tau is left out of the policy's update. Here it is NaN, which learners
    keep out of means and gradients; `drop_rate` says how many. [N] for
    Completions (tokens' scores are summed first), [T, B] for a Rollout; padding stays 0.

    `update` takes validation experience, finds the centroids by k-means and sets d_tau to a quantile of d there; the
    reward inside is not taught. Until then nothing is held back.

    Args:
        reward: what is gated.
        encoder: whose states are looked at; None: those of the reward's own encoder (`BradleyTerry`, `RewardModel`).
        k: centroids (10: our choice; the paper has one to three for each labelled dimension, see `StateCentroids`).
        quantile: of validation samples that pass (0.95: our choice).
        threshold: d_tau itself, in place of the quantile; infinity lets everything pass.

    Raises:
        ValueError: k below 1, a quantile outside of 0..1, or a negative threshold.
    """

    about: ClassVar[About] = About(
        rewards="another reward, where it can be trusted",
        paper="MRMBench: probing preference representations (Wang et al., 2025)",
        link="https://github.com/wangclnlp/MRMBench",
        scores="any",
        example="ConfidenceGate(Extrinsic(), encoder=Observations(standardise=False), k=2)",
        claim="mrmbench",
    )

    def __init__(
        self, reward: Any, *, encoder: RewardEncoder | None = None, k: int = 10, quantile: float = 0.95,
        threshold: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if k < 1 or not 0 <= quantile <= 1 or (threshold is not None and not threshold >= 0):
            raise ValueError(
                f"ConfidenceGate: k >= 1, quantile in 0..1, threshold >= 0; got {k}, {quantile}, {threshold}"
            )
        self.reward, self.encoder, self.k = as_reward(reward), encoder, k
        self.quantile, self.threshold = quantile, threshold

    @property
    def name(self) -> str:
        return f"ConfidenceGate({self.reward.name})"

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        super().build(spec, device=device, generator=generator)
        if self.encoder is not None:
            self.encoder.build(spec, device=device, generator=generator, reader=self.name)
        elif not isinstance(getattr(self.reward, "encoder", None), RewardEncoder):
            raise ValueError(f"{self.name}: {self.reward.name} has no encoder of its own, so name one with encoder=")
        self.centroids = StateCentroids(k=self.k, quantile=self.quantile).to(device)
        self.seed = seed_from(generator) % 2**31

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        inner = self.reward.evaluate(experience, **needed)
        value = inner.value
        if isinstance(experience, Completions):
            value = row_rewards(value, experience.mask.bool())
        if len(self.centroids.points):
            trusted = self.centroids.trusted(self._states(experience)).view(value.shape)
            value = torch.where(trusted, value, torch.nan)
        return inner.then(self.name, check_score(value, experience, self.name))

    @torch.no_grad()
    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Sets centroids and threshold from validation experience; passes over everything else."""
        if not isinstance(experience, (Completions, Rollout)):
            return {}
        states = self._states(experience)
        if isinstance(experience, Rollout):
            states = states[experience.valid.bool().flatten()]
        if len(states) < self.k:
            return {}
        self.centroids.fit({"all": (states, torch.zeros(len(states)))}, seed=self.seed)
        if self.threshold is not None:
            self.centroids.threshold.fill_(self.threshold)
        return {"threshold": float(self.centroids.threshold)}

    def drop_rate(self, scored: Scored) -> float:
        """The share of what was scored inside that is not scored here."""
        before = scored.stages[f"{self.name}/in"]
        before = before.sum(1) if before.ndim > scored.value.ndim else before
        known = ~before.isnan()
        return float((scored.value.isnan() & known).sum() / known.sum().clamp(min=1))

    @torch.no_grad()
    def _states(self, experience: Experience) -> Tensor:
        encoder: Any = self.reward.encoder if self.encoder is None else self.encoder
        return encoder(experience).flatten(0, -2).float()
