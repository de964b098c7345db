"""VeriFree: the probability that the policy would have given the reference answer."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from guerdon.parts.span_scores import ANSWER_TAGS, over_spans, score_references
from guerdon.types import About, Completions, LanguageModel, Reward


class VeriFree(Reward):
    """The probability of the reference answer, to its end, after the chain of thought: exact match without sampling.

        r = pi(y*|x,z) = prod_t pi(y*_t|x,z,y*_<t) = E_y[1[y = y*]]

    [N] float32 in [0, 1]; the closing tag is part of y*. A response without an answer slot, or too long for the
    policy's context with the reference in it, is worth 0. `loss` is the second part of its gradient, r grad log
    pi(y*|x,z): supervised learning weighted by the reward. Use it on-policy, with
    ``GroupAdvantage(baseline="leave-one-out", spread="none")``.

    Zhou et al., "Reinforcing General Reasoning without Verifiers" (VeriFree), 2025. It pays little for long answers,
    and nothing once one token of them cannot be foreseen: see `RLPR` and `AnswerLikelihood`.

    Args:
        answer: the column with the reference.
        tags: around an answer.
    """

    about: ClassVar[About] = About(
        rewards="chains after which the reference answer is probable, as a whole",
        paper="Reinforcing General Reasoning without Verifiers (Zhou et al., 2025)",
        link="https://arxiv.org/abs/2505.21493",
        scores="Completions",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"policy"})

    def __init__(self, *, answer: str = "answer", tags: tuple[str, str] = ANSWER_TAGS) -> None:
        super().__init__()
        self.answer, self.tags = answer, tags

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        scores = score_references(policy, experience, self.answer, name=self.name, tags=self.tags, closing=True)
        return over_spans(scores, "product", empty=0.0, name=self.name)

    def loss(self, experience: Completions, policy: LanguageModel) -> Tensor:
        return -self.score(experience, policy=policy).mean()
