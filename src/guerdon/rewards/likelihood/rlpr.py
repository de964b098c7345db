"""RLPR: the mean probability of the reference answer, in place of a verifier."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.span_scores import ANSWER_TAGS, Reduction, over_spans, score_references
from guerdon.parts.tag_format import THINK_TAGS, follows_format
from guerdon.types import About, Completions, LanguageModel, Reward

Shape = Literal["identity", "threshold", "sigmoid", "leaky"]
FLOOR = math.log(1e-6)  # what a malformed response is worth as a mean log-probability: 0 would be the best there is


def debias_clip(reward: Tensor, baseline: Tensor) -> Tensor:
    """What the chain of thought adds to what is known without it: clip(PR(z) - PR_0, 0, 1), of any equal shapes."""
    if reward.shape != baseline.shape:
        raise ValueError(f"debias_clip: {list(reward.shape)} rewards and {list(baseline.shape)} baselines")
    return (reward - baseline).clamp(0.0, 1.0)


def shape_reward(
    reward: Tensor, shape: Shape = "identity", *, threshold: float = 0.0, steepness: float = 6.0
) -> Tensor:
    """Bends a probability reward x.

    threshold  0 where x < threshold, else x      leaky  0.01 x where x < threshold, else x
    sigmoid    1 / (1 + exp(-steepness (2x - 1)))      identity  x
    """
    if shape == "sigmoid":
        return (steepness * (2 * reward - 1)).sigmoid()
    factors = {"identity": 1.0, "threshold": 0.0, "leaky": 0.01}
    if shape not in factors:
        raise ValueError(f"a shape is one of sigmoid, {', '.join(factors)}, not {shape!r}")
    return torch.where(reward < threshold, factors[shape] * reward, reward)


def format_mix(reward: Tensor, well_formed: Tensor, weight: float = 0.1) -> Tensor:
    """(1 - weight) r + weight f, with f = 1 where `well_formed`; for weight -1: r where well-formed, else -1."""
    if weight == -1:
        return torch.where(well_formed, reward, -1.0)
    if not 0 <= weight <= 1:
        raise ValueError(f"format_mix: the weight of the format is in [0, 1], or -1 for a penalty, not {weight}")
    return (1 - weight) * reward + weight * well_formed.float()


class RLPR(Reward):
    """The mean probability of the reference answer's tokens after the response's own chain of thought, debiased.

        PR(z) = (1/T) sum_t pi(y*_t | x, z, y*_<t)
        r = (1 - c) shape(clip(PR(z) - PR_0, 0, 1)) + c f

    The reference y* is put in the place of the response's own answer and the text tokenised again; PR_0 is the same of
    the reference directly after the prompt, so that a chain is paid for what it adds (reconstructed: the release reads
    it from the data and uses 0 where there is none); f is 1 if each of the four tags occurs once and in order.

    [N] float32 in [0, 1] (with `format_weight` -1 in [-1, 1]). A response without an answer slot, or too long for the
    policy's context with the reference in it, has PR = 0. The policy is that of the rollout, and no gradient flows
    through the reward: score before any update. Use `GroupAdvantage()`; with a verifier as well,
    ``RLPR() + MathVerify()`` and ``GroupAdvantage(per_term=True)``, which normalises each by itself; `EmaStdFilter`
    drops the prompts that teach little; `RepetitionPenalty` is the sixth step of the release.

    Yu et al., "RLPR: Extrapolating RLVR to General Domains without Verifiers", 2025. Where we differ: float32
    throughout (the release rounds to bfloat16), and a reference whose tokens cannot be found is an error.

    Args:
        reduction: mean_prob; product (VeriFree's), geo_mean, or mean_logp (nats, at most 0; a malformed response is
            log(1e-6) there; use it with debias=False and shape="identity").
        answer: the column with the reference.
        debias: whether PR_0 is subtracted and the result clipped; else PR itself is shaped (release without score A).
        shape: see `shape_reward`; the release's script has "threshold" at 0.
        threshold: of shape.
        steepness: of shape "sigmoid".
        format_weight: c; -1 for the variant that pays -1 for a broken format and nothing for a right one.
        think_tags: around the chain.
        tags: around the answer.
        closing: whether the closing tag counts among the reference's tokens.
    """

    about: ClassVar[About] = About(
        rewards="chains that make the reference answer's tokens more probable",
        paper="RLPR: Extrapolating RLVR to General Domains without Verifiers (Yu et al., 2025)",
        link="https://arxiv.org/abs/2506.18254",
        scores="Completions",
        claim="rlpr",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"policy"})

    def __init__(
        self,
        *,
        reduction: Reduction = "mean_prob",
        answer: str = "answer",
        debias: bool = True,
        shape: Shape = "threshold",
        threshold: float = 0.0,
        steepness: float = 6.0,
        format_weight: float = 0.1,
        think_tags: tuple[str, str] = THINK_TAGS,
        tags: tuple[str, str] = ANSWER_TAGS,
        closing: bool = False,
    ) -> None:
        super().__init__()
        self.reduction: Reduction = reduction
        self.shape: Shape = shape
        self.answer, self.debias, self.threshold, self.steepness = answer, debias, threshold, steepness
        self.format_weight, self.think_tags, self.tags, self.closing = format_weight, think_tags, tags, closing

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        with torch.no_grad():
            reward = self.probability(experience, policy)
            if self.debias:
                reward = debias_clip(reward, self.probability(experience, policy, chain=False))
            reward = shape_reward(reward, self.shape, threshold=self.threshold, steepness=self.steepness)
            formed = follows_format(experience.text, [*self.think_tags, *self.tags])
            return format_mix(reward, torch.tensor(formed, device=reward.device), self.format_weight)

    def probability(self, completions: Completions, policy: LanguageModel, *, chain: bool = True) -> Tensor:
        """PR(z) of each response, or, without `chain`, PR_0."""
        scores = score_references(
            policy, completions, self.answer, name=self.name, tags=self.tags, closing=self.closing, chain=chain
        )
        empty = FLOOR if self.reduction in ("mean_logp", "sum_logp") else 0.0
        return over_spans(scores, self.reduction, empty=empty, name=self.name)
