"""JEPO: what a chain adds to the likelihood of the answer under its whole group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.group_advantages import on_tokens
from guerdon.parts.span_scores import group_logmeanexp, leave_one_out_logmeanexp
from guerdon.types import About, Completions, Scored


def jepo_advantages(log_likelihood: Tensor, group: Tensor) -> Tensor:
    """[N]: A_i = log (1/G) sum_j pi_j - log (1/(G-1)) sum_{j != i} pi_j, from log pi(a*|p,z_i), [N] as `group`.

    NaN rows are not scored: they are in no mean and get 0, and so does a row that no scored other is left to. Raises
    ValueError for a group of one answer.
    """
    numbers, count = group.unique(return_counts=True)
    if bool((count < 2).any()):
        alone = numbers[count < 2][0].item()
        raise ValueError(f"group {alone} has one answer, and JEPO compares answers: sample at least two a prompt")
    advantage = group_logmeanexp(log_likelihood, group) - leave_one_out_logmeanexp(log_likelihood, group)
    return advantage.nan_to_num(nan=0.0)


@dataclass(frozen=True, kw_only=True)
class JEPOAdvantage:
    """[N, L]: the group's log-mean likelihood minus that without the answer, on all of the answer's tokens.

    Takes log-likelihoods of the reference answer, unscaled: the score of ``AnswerLikelihood(kind="jepo")``, whose loss
    has the supervised part (the same bound's gradient, weighted by softmax within the group).

    Tang et al., "Beyond Verifiable Rewards: Scaling Reinforcement Learning for Language Models to Unverifiable Data"
    (JEPO), 2025; the formula is that of "Likelihood-Based Reward Designs for General LLM Reasoning", 2026.
    """

    about: ClassVar[About] = About(
        rewards="what a chain adds to its group's bound on the answer's likelihood",
        paper="Likelihood-Based Reward Designs for General LLM Reasoning (2026)",
        link="https://arxiv.org/abs/2602.03979",
        scores="Completions",
        claim="likelihood_rewards",
    )

    def __call__(self, completions: Completions, scored: Scored) -> Tensor:
        """Raises ValueError for groups that are missing or of one answer, or scores that are not [N]."""
        value, group = scored.value, completions.group
        if group is None or value.shape != group.shape:
            has = "no groups" if group is None else f"groups {list(group.shape)}"
            raise ValueError(f"JEPOAdvantage needs one log-likelihood an answer, got {list(value.shape)}, {has}")
        if bool((value > 0).any()):
            raise ValueError("JEPOAdvantage got a positive log-likelihood: use AnswerLikelihood(kind='jepo') alone")
        with torch.no_grad():
            return on_tokens(jepo_advantages(value, group), completions.mask)
