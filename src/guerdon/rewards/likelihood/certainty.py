"""Certainty rewards: the policy is paid for being sure of what it writes. No label, no judge.

Each sharpens what the policy already believes: accuracy rises while the policy's confident answers are mostly right,
and falls after ("How Far Can Unsupervised RLVR Scale LLM Training?", 2026). Their own mean always rises: choose no
checkpoint by it; `guerdon collapse-step` says where to stop. Formulas over logits are in `guerdon.parts.certainty`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.answers import find_answer
from guerdon.parts.certainty import mean_over_tokens, own_scores
from guerdon.types import About, Completions, LanguageModel, Reward

_NEEDS = frozenset({"policy"})


class SelfCertainty(Reward):
    """How far the policy's next-token distributions are from uniform, on average over an answer's tokens.

        r = (1/L) sum_t KL(U || p_t) = -(1/(L V)) sum_t sum_v log p_t(v) - log V

    [N] float32 in nats, at least 0; a completion without a generated token is NaN. Differentiable where the policy is.
    V is every token of the policy's vocabulary. Collapses gradually.

    Zhao et al., "Learning to Reason without External Rewards" (INTUITOR), 2025.
    """

    about: ClassVar[About] = About(
        rewards="next-token distributions far from uniform",
        paper="Learning to Reason without External Rewards (Zhao et al., 2025)",
        link="https://arxiv.org/abs/2505.19590",
        scores="Completions",
    )
    needs: ClassVar[frozenset[str]] = _NEEDS

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        scores = own_scores(experience, policy, also=("self_certainty",))
        assert scores.self_certainty is not None
        return mean_over_tokens(scores.self_certainty, scores.mask)


class TokenEntropy(Reward):
    """Minus the entropy of the policy's next-token distributions, on average over an answer's tokens.

        r = -(1/L) sum_t H(p_t)

    [N] float32 in nats, in [-log V, 0]; a completion without a generated token is NaN. Differentiable where the policy
    is, so minus its mean is also the direct loss of entropy minimisation. Collapses into repetition.

    Prabhudesai et al., "Maximizing Confidence Alone Improves Reasoning" (RENT), 2025; Agarwal et al., "The Unreasonable
    Effectiveness of Entropy Minimization in LLM Reasoning" (EM-RL), 2025.
    """

    about: ClassVar[About] = About(
        rewards="next-token distributions of low entropy",
        paper="Maximizing Confidence Alone Improves Reasoning (Prabhudesai et al., 2025)",
        link="https://arxiv.org/abs/2505.22660",
        scores="Completions",
    )
    needs: ClassVar[frozenset[str]] = _NEEDS

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        scores = own_scores(experience, policy, also=("entropy",))
        assert scores.entropy is not None
        return -mean_over_tokens(scores.entropy, scores.mask)


class TrajectoryEntropy(Reward):
    """The log-probability of an answer under the policy: an estimate of minus the entropy of whole answers.

        r = (1/L) sum_t log p_t(y_t)      or, with per_token False, the sum

    [N] float32 in nats, at most 0; a completion without a generated token is NaN. Temperature 1. The mean pays for
    padding an answer with tokens likelier than it (repetition), the sum for fewer tokens.

    Agarwal et al., "The Unreasonable Effectiveness of Entropy Minimization in LLM Reasoning" (EM-RL), 2025. Accounts of
    it differ on the 1/L, so both are here.

    Args:
        per_token: the mean over tokens; False: their sum.
    """

    about: ClassVar[About] = About(
        rewards="answers that are likely under the policy (log)",
        paper="The Unreasonable Effectiveness of Entropy Minimization in LLM Reasoning (Agarwal et al., 2025)",
        link="https://arxiv.org/abs/2505.15134",
        scores="Completions",
    )
    needs: ClassVar[frozenset[str]] = _NEEDS

    def __init__(self, *, per_token: bool = True) -> None:
        super().__init__()
        self.per_token = per_token

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        scores = own_scores(experience, policy)
        mean = mean_over_tokens(scores.log_prob, scores.mask)
        return mean if self.per_token else mean * scores.mask.sum(1)


class Probability(Reward):
    """The probability of an answer under the policy.

        r = prod_t p_t(y_t) = exp(sum_t log p_t(y_t))

    [N] float32 in [0, 1]; 0 where the product is below what float32 holds, which answers of a hundred tokens mostly
    are; a completion without a generated token is NaN. Temperature 1. Never more than the exponential of
    `TrajectoryEntropy`. Collapses into short answers.

    Li et al., "Confidence Is All You Need: Few-Shot RL Fine-Tuning of Language Models" (RLSC), 2025.
    """

    about: ClassVar[About] = About(
        rewards="answers that are likely under the policy (product)",
        paper="Confidence Is All You Need: Few-Shot RL Fine-Tuning of Language Models (Li et al., 2025)",
        link="https://arxiv.org/abs/2506.06395",
        scores="Completions",
    )
    needs: ClassVar[frozenset[str]] = _NEEDS

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        scores = own_scores(experience, policy)
        total = torch.where(scores.mask, scores.log_prob, 0.0).sum(1)
        return torch.where(scores.mask.any(1), total.exp(), torch.nan)


class Disparity(Reward):
    """How clearly the policy prefers one token where it states its final answer.

        r = mean over the answer's tokens of p_t^(1) - p_t^(2)      (largest minus second largest probability)

    [N] float32 in [0, 1]. An answer that cannot be found is worth 0 (our choice: a policy unsure what to answer); one
    that is longer than the policy's context, with its prompt, is NaN. Text and prompt are tokenised as a whole, so a
    token that reaches over the answer's border counts as the answer's.

    van Niekerk et al., "Post-Training Large Language Models via Reinforcement Learning from Self-Feedback" (RLSF),
    2025. There, answers are ranked within a prompt by it and a reward model learns the ranks; here it is the reward.

    Args:
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
    """

    about: ClassVar[About] = About(
        rewards="a clear preference where the final answer is stated",
        paper="Post-Training Large Language Models via RL from Self-Feedback (van Niekerk et al., 2025)",
        link="https://arxiv.org/abs/2507.21931",
        scores="Completions",
    )
    needs: ClassVar[frozenset[str]] = _NEEDS

    def __init__(self, *, how: str | Sequence[str] = "boxed") -> None:
        super().__init__()
        self.how = how

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        values: list[float | None] = []
        before, spans = [], []
        for prompt, text in zip(experience.prompt, experience.text, strict=True):
            if (found := find_answer(text, self.how)) is None:
                values.append(0.0)
                continue
            start = policy.render(prompt)
            prefix, span = policy.split(start + text, len(start) + found[0], len(start) + found[1])
            fits = len(prefix) + len(span) <= policy.max_length
            values.append(None if fits else math.nan)
            if fits:
                before.append(prefix)
                spans.append(span)
        if not spans:
            return torch.tensor(values, device=experience.ids.device)
        scores = policy.score(before, spans, also=("margin",))
        assert scores.margin is not None
        measured = mean_over_tokens(scores.margin, scores.mask)
        known = torch.tensor([math.nan if v is None else v for v in values], device=measured.device)
        at = torch.tensor([v is None for v in values], device=measured.device)
        return known.masked_scatter(at, measured)
