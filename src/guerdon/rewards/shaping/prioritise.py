"""Prioritise: of a reward that is never quite 0, only what is above the usual."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.types import About, Experience, Reward, Rollout, Scored, Spec, as_reward, check_score


class Prioritise(Reward):
    """Divides a reward by its running deviation and pays what is above the running mean: max(u / s - m, 0).

    s = sqrt(E[u^2] - E[u]^2) and m = E[u] / s, with E an average over rollouts that forgets exponentially, corrected
    for its start. About half of a steady reward is paid exactly 0. It advances in `observe` only, after the rollout
    was scored with what was before it, by the mean over valid and scored steps. Nothing is paid until `warmup` rollouts
    were observed: before that neither s nor the reward's own networks say much. Works on any experience and keeps its
    shape; NaN stays NaN, padding 0. A reward that never varied pays 0.

    Args:
        reward: what to prioritise.
        momentum: of the average (BYOL-Explore 0.99).
        warmup: rollouts, at least 1 (10: our choice).
        clip: False leaves out the second half, the mean and the clip: u / s.

    Raises:
        ValueError: a momentum outside [0, 1), or a warmup below 1.
    """

    about: ClassVar[About] = About(
        rewards="another reward, as far as it is above its running mean",
        paper="BYOL-Explore: Exploration by Bootstrapped Prediction (Guo et al., 2022), section 3",
        link="https://arxiv.org/abs/2206.08332",
        scores="any",
        example="Prioritise(Extrinsic(), warmup=1)",
        claim="byol_hindsight",
    )
    mean: Tensor
    square: Tensor
    rollouts: Tensor

    def __init__(self, reward: Any, *, momentum: float = 0.99, warmup: int = 10, clip: bool = True) -> None:
        super().__init__()
        if not 0 <= momentum < 1 or warmup < 1:
            raise ValueError(f"Prioritise needs momentum in [0, 1) and warmup >= 1, got {momentum} and {warmup}")
        self.reward, self.momentum, self.warmup, self.clip = as_reward(reward), momentum, warmup, clip

    @property
    def name(self) -> str:
        return f"Prioritise({self.reward.name})"

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        super().build(spec, device=device, generator=generator)
        for name in ("mean", "square"):  # of u and of u^2, not yet corrected for their start at 0
            self.register_buffer(name, torch.zeros((), dtype=torch.float64, device=device))
        self.register_buffer("rollouts", torch.zeros((), dtype=torch.int64, device=device))

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        if not hasattr(self, "rollouts"):
            raise RuntimeError(f"{self.name} is not built: call build(spec) first")
        inner = self.reward.evaluate(experience, **needed)
        mean, spread = self.moments()
        if int(self.rollouts) < self.warmup or spread == 0:
            value = torch.where(inner.value.isnan(), inner.value, 0.0)
        else:
            value = ((inner.value - mean) / spread).clamp(min=0) if self.clip else inner.value / spread
        return inner.then(self.name, check_score(value, experience, self.name))

    def moments(self) -> tuple[float, float]:
        """The running mean and deviation of the reward, (0, 0) before the first rollout."""
        weight = 1 - self.momentum ** int(self.rollouts)
        if not weight:
            return 0.0, 0.0
        mean, square = float(self.mean) / weight, float(self.square) / weight
        variance = square - mean**2
        return mean, variance**0.5 if variance > 1e-12 * square else 0.0

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> None:
        values = self.reward.evaluate(rollout).value  # before the inner reward's own state moves on
        super().observe(rollout)
        counted = values[rollout.valid.bool() & ~values.isnan()].double()
        if len(counted):
            self.mean.lerp_(counted.mean(), 1 - self.momentum)
            self.square.lerp_(counted.square().mean(), 1 - self.momentum)
            self.rollouts += 1
