"""What it costs to leave the reference: KL inside the reward."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.kl import kl_in_reward
from guerdon.types import About, Completions, LanguageModel, Reward


class ReferenceKL(Reward):
    """Charges every token for being likelier than the reference has it: r_t = -(log pi(y_t) - log pi_ref(y_t)).

    [N, L] float32 in nats, of either sign; its sum over an answer is minus an unbiased estimate (k1) of the KL. Write
    the weight in the expression: ``ExactMatch() + 0.05 * ReferenceKL()``. pi is the policy that sampled
    (`Completions.log_prob`). As in PPO for language models, REINFORCE++ and classic RLOO; the other place for KL is the
    loss, ``PolicyLoss(beta=...)``. Credit that sees whole answers (`GroupAdvantage`) sums it over each.

    Args:
        temperature: at which the completions were sampled.

    Raises:
        ValueError: the completions do not know their log-probabilities.
    """

    about: ClassVar[About] = About(
        rewards="staying close to the reference model",
        paper="Fine-Tuning Language Models from Human Preferences (Ziegler et al., 2019)",
        link="https://arxiv.org/abs/1909.08593",
        scores="Completions",
    )

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __init__(self, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def score(self, experience: Completions, *, reference: LanguageModel) -> Tensor:
        if experience.log_prob is None:
            raise ValueError("ReferenceKL needs Completions.log_prob, which the sampler sets")
        ref = reference.log_probs(experience, temperature=self.temperature)
        return kl_in_reward(torch.zeros_like(ref), experience.log_prob.to(ref), ref, experience.mask, beta=1.0)
