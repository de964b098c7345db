"""CRew: confidence in a solution's own final answer as a reward, and what it is good for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.answers import Vote, find_answer, majority, rows_of_groups
from guerdon.parts.pair_mining import Mined, mine_pairs
from guerdon.parts.span_scores import Span, over_spans, score_spans
from guerdon.types import About, Completions, LanguageModel, Prompt, Reward


def answer_confidence(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    solutions: Sequence[str],
    *,
    how: str | Sequence[str] = "boxed",
) -> Tensor:
    """[N] in (0, 1]: mean probability of the final answer's tokens after question and rationale; NaN without an answer.

    NaN, too, where the solution is longer than the model's context. The last answer counts, without what delimits it.
    """
    found = [find_answer(text, how) for text in solutions]
    spans = [Span(text, *at) if at else None for text, at in zip(solutions, found, strict=True)]
    return over_spans(score_spans(model, prompts, spans), "mean_prob", empty=torch.nan, name="answer_confidence")


def best_of_n(score: Tensor, group: Tensor | None = None) -> list[int]:
    """The row with the highest score of each group; NaN counts as the lowest, ties go to the lowest row."""
    ranked = score.nan_to_num(nan=-torch.inf)
    return [max(rows, key=lambda i: (float(ranked[i]), -i)) for rows in rows_of_groups(group, len(score))]


def weighted_vote(answers: Sequence[str | None], score: Tensor, group: Tensor | None = None) -> list[Vote]:
    """Of each group, the answer with the largest sum of scores; equal scores make it the majority vote.

    The weights of a group are its scores over their sum (normaliser reconstructed); NaN weighs nothing. Raises
    ValueError for a negative score.
    """
    weight = score.nan_to_num(nan=0.0).tolist()
    groups = rows_of_groups(group, len(score))
    return [majority([answers[i] for i in rows], weights=[weight[i] for i in rows]) for rows in groups]


def picks_the_right_one(score: Tensor, right: Tensor, group: Tensor) -> float:
    """Share of groups, of one right solution each, in which its score is strictly the highest; NaN is lowest."""
    ranked, hits = score.nan_to_num(nan=-torch.inf), []
    for rows in rows_of_groups(group, len(score)):
        own = [i for i in rows if right[i]]
        if len(own) != 1:
            raise ValueError(f"group {int(group[rows[0]])} must have one right solution, and has {len(own)}")
        hits.append(all(ranked[own[0]] > ranked[i] for i in rows if i != own[0]))
    return sum(hits) / len(hits)


def confidence_gap_pairs(
    confidence: Tensor, right: Tensor, group: Tensor, *, per_question: int | None = 1, limit: int | None = None
) -> list[Mined]:
    """CRew-DPO's pairs, a right solution before a wrong one of the same question, the largest gap in confidence first.

    The gap is signed, confidence(right) - confidence(wrong) (sign reconstructed), so that `limit` drops questions on
    which wrong solutions are the more confident. Rows with NaN (no answer) take no part. The paper does not say
    whether its top K is of a question or of all: `per_question` and `limit` offer both.
    """
    return mine_pairs(confidence, group, right=right.bool(), per_group=per_question, limit=limit)


def low_confidence_correct(confidence: Tensor, right: Tensor, group: Tensor, k: int = 1) -> list[int]:
    """The `k` right solutions of each question that the model is least sure of, as data to train a weaker one on.

    Rows with NaN are left out; ties go to the lowest row.
    """
    kept = []
    for rows in rows_of_groups(group, len(confidence)):
        usable = [i for i in rows if right[i] and not confidence[i].isnan()]
        kept += sorted(usable, key=lambda i: (float(confidence[i]), i))[:k]
    return kept


class CRew(Reward):
    """How sure a model is of a solution's final answer, after its rationale.

        r = (1/|a|) sum_{t in a} pi(a_t | question, rationale, a_<t)

    a is the last answer in the solution, without what delimits it. [N] float32 in (0, 1]; 0 without an answer (as it
    is ranked), NaN where the solution is longer than the model's context. Solutions may be another model's: prompts go
    through the scoring model's own template.

    The model is frozen ("reference"): a policy that is paid by its own confidence sharpens what it believes, right or
    wrong, and can collapse. For closed questions only. It sees whether the answer follows from the rationale, not
    whether the rationale is right: after a slip on the way the answer is given with confidence (see the claim), so that
    picking the best of many samples by it can be worse than picking at random.

    Du et al., "Confidence as a Reward: Transforming LLMs into Reward Models", 2025. There it ranks solutions and mines
    DPO pairs (`best_of_n`, `weighted_vote`, `confidence_gap_pairs`); paying a policy with it is ours.

    Args:
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
    """

    about: ClassVar[About] = About(
        rewards="solutions whose final answer a model is sure of",
        paper="Confidence as a Reward: Transforming LLMs into Reward Models (Du et al., 2025)",
        link="https://arxiv.org/abs/2510.13501",
        scores="Completions",
        claim="crew",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __init__(self, *, how: str | Sequence[str] = "boxed") -> None:
        super().__init__()
        self.how = how

    def score(self, experience: Completions, *, reference: LanguageModel) -> Tensor:
        confidence = answer_confidence(reference, experience.prompt, experience.text, how=self.how)
        stated = [find_answer(text, self.how) is not None for text in experience.text]
        return torch.where(torch.tensor(stated, device=confidence.device), confidence, 0.0)
