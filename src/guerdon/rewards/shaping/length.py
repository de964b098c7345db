"""A price for answers that are too short, against the collapse of chains of thought."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from guerdon.types import About, Completions, Reward


class ShortPenalty(Reward):
    """Charges for every token that an answer is shorter than `least`: r = rate * min(|z| - least, 0).

    [N] float32, at most 0; |z| counts the generated tokens. An empty answer costs the most, -rate * least.

    The length regulariser R_l of "Likelihood-Based Reward Designs for General LLM Reasoning", 2026 (l0 in 100 to 500;
    rate: the reward gained over the tokens lost in the first 40 steps). It stops chains from vanishing under
    log-likelihood rewards, at a cost of performance there.

    Args:
        least: tokens from which on nothing is charged.
        rate: charge a token.
    """

    about: ClassVar[About] = About(
        rewards="answers that are not too short",
        paper="Likelihood-Based Reward Designs for General LLM Reasoning (2026)",
        link="https://arxiv.org/abs/2602.03979",
        scores="Completions",
    )

    def __init__(self, *, least: int = 100, rate: float = 0.001) -> None:
        super().__init__()
        self.least, self.rate = least, rate

    def score(self, experience: Completions) -> Tensor:
        return self.rate * (experience.mask.bool().sum(1) - self.least).clamp(max=0).float()
