"""Clip: a reward kept between two bounds."""

from __future__ import annotations

from typing import Any, ClassVar

from guerdon.types import About, Experience, Reward, Scored, as_reward, check_score


class Clip(Reward):
    """Keeps a reward in [low, high]: ``min(max(r, low), high)``, step by step.

    Works on any experience and keeps the inner reward's shape. Unscored (NaN) stays unscored; padding stays 0 even
    where 0 is out of bounds. None is no bound. Its usual form is DQN's [-1, 1], and ONI's for the task's reward.

    Raises:
        ValueError: no bound at all, or `low` above `high`.
    """

    about: ClassVar[About] = About(
        rewards="another reward, kept between two bounds",
        paper="Human-level control through deep reinforcement learning (Mnih et al., 2015)",
        link="https://doi.org/10.1038/nature14236",
        scores="any",
        example="Clip(Extrinsic(), low=-1.0, high=1.0)",
    )

    def __init__(self, reward: Any, *, low: float | None = None, high: float | None = None) -> None:
        super().__init__()
        if (low is None and high is None) or (low is not None and high is not None and low > high):
            raise ValueError(f"Clip needs low <= high and at least one of them, got low={low}, high={high}")
        self.reward = as_reward(reward)
        self.low, self.high = low, high

    @property
    def name(self) -> str:
        return f"Clip({self.reward.name})"

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        inner = self.reward.evaluate(experience, **needed)
        return inner.then(self.name, check_score(inner.value.clamp(self.low, self.high), experience, self.name))
