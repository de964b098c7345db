"""Anneal: a weight that moves with experience."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from guerdon.types import About, Experience, Reward, Rollout, Scored, as_reward, check_score


class Anneal(Reward):
    """Weighs a reward by w, which moves from `start` to `end` over `steps` and stays there.

    With f = min(seen / steps, 1), w is::

        linear       start + f * (end - start)
        cosine       end + (start - end) * (1 + cos(pi * f)) / 2
        exponential  start * (end / start) ** f

    `unit` "steps" counts valid environment steps of all environments together, "updates" counts rollouts; both in
    `observe`, so w is constant within a rollout. Works on any experience and keeps its shape; terms keep their names,
    as under any weight.

    Raises:
        ValueError: no steps, an unknown `shape` or `unit`, or "exponential" between numbers without a common sign.
    """

    about: ClassVar[About] = About(
        rewards="another reward, under a weight that moves with experience",
        paper="a usual schedule: linear as in DQN's exploration, cosine as in SGDR (2017)",
        link="https://arxiv.org/abs/1608.03983",
        scores="any",
        example="Anneal(Extrinsic(), steps=1000000)",
    )

    def __init__(
        self,
        reward: Any,
        *,
        start: float = 1.0,
        end: float = 0.0,
        steps: int,
        shape: Literal["linear", "cosine", "exponential"] = "linear",
        unit: Literal["steps", "updates"] = "steps",
    ) -> None:
        super().__init__()
        if steps < 1 or shape not in ("linear", "cosine", "exponential") or unit not in ("steps", "updates"):
            raise ValueError(
                "Anneal needs steps >= 1, shape 'linear', 'cosine' or 'exponential', and unit 'steps' or 'updates', "
                f"got steps={steps}, shape={shape!r}, unit={unit!r}"
            )
        if shape == "exponential" and start * end <= 0:
            raise ValueError(f"an exponential weight cannot reach or cross 0: start={start}, end={end}")
        self.reward = as_reward(reward)
        self.start, self.end, self.steps, self.shape, self.unit = start, end, steps, shape, unit
        self.seen = 0

    @property
    def name(self) -> str:
        return f"Anneal({self.reward.name})"

    @property
    def weight(self) -> float:
        """The weight now."""
        f = min(self.seen / self.steps, 1.0)
        if self.shape == "linear":
            return self.start + f * (self.end - self.start)
        if self.shape == "cosine":
            return self.end + (self.start - self.end) * (1 + math.cos(math.pi * f)) / 2
        return self.start * (self.end / self.start) ** f

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        inner = self.reward.evaluate(experience, **needed)
        weight = self.weight
        scored = inner.then(self.name, check_score(weight * inner.value, experience, self.name))
        return scored._replace(terms={name: weight * term for name, term in inner.terms.items()})

    def observe(self, rollout: Rollout) -> None:
        super().observe(rollout)
        self.seen += int(rollout.valid.sum()) if self.unit == "steps" else 1

    def get_extra_state(self) -> int:
        return self.seen

    def set_extra_state(self, state: int) -> None:
        self.seen = state
