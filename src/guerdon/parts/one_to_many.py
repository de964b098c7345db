"""Right answers against wrong ones: what the scores of one question say of the reward that gave them.

A question has `right` scores C (at least one) and `wrong` scores W (at least one), in any order within each. Every
function below compares float64 values exactly, so scores that were rounded (float16, ten levels of a judge) tie.
Strictly increasing transforms change nothing, except for the Ties score, which positive affine maps alone leave as it
is.

RewardBench 2: Malik et al., 2025, https://arxiv.org/abs/2506.01937. RewardMATH: Kim et al., 2024,
https://arxiv.org/abs/2410.01729.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """The scores of one question."""

    right: Sequence[float]
    wrong: Sequence[float]


def accuracy(scores: Scores, *, ties: bool = False) -> float:
    """1 if every right answer leads every wrong one: min(C) > max(W), or >= with `ties`; else 0."""
    right, wrong = checked(scores)
    return float(right.min() >= wrong.max() if ties else right.min() > wrong.max())


def best_of(scores: Scores) -> float:
    """How often a best-scored answer, drawn among those that tie, is a right one: 1/c for one right among c best."""
    right, wrong = checked(scores)
    best = max(right.max(), wrong.max())
    hits = int((right == best).sum())
    return hits / (hits + int((wrong == best).sum()))


def rank(scores: Scores) -> int:
    """The place, from 1, of the first right answer by falling score; a wrong one of equal score stands before it."""
    right, wrong = checked(scores)
    return 1 + int((wrong >= right.max()).sum())


def reciprocal_rank(scores: Scores) -> float:
    """1 / rank; its mean over questions is the MRR."""
    return 1 / rank(scores)


def rank_score(scores: Scores) -> float:
    """(n - rank) / (n - 1) over n answers: 1 for the first place, 0 for the last."""
    n = len(scores.right) + len(scores.wrong)
    return (n - rank(scores)) / (n - 1)


def win_rate(scores: Scores) -> float:
    """The share of pairs of a right and a wrong answer that the right one wins; a tie is no win."""
    right, wrong = checked(scores)
    return float((right[:, None] > wrong).mean())


METRICS: dict[str, Callable[[Scores], float]] = {
    "accuracy": accuracy,
    "accuracy with ties": partial(accuracy, ties=True),
    "MRR": reciprocal_rank,
    "pairs won": win_rate,
}
"""Of one question, 0..1; of several, their mean."""


def compared(wins: Sequence[bool]) -> Scores:
    """One right answer compared with each wrong one, as scores: 1 + wins for the right, 1 for each that it beat.

    Each one that it lost to has len(wins) + 2, so that it is accurate if it won all, and its rank is 1 + losses.
    """
    if not wins:
        raise ValueError("a right answer must be compared with at least one wrong one")
    return Scores([1 + sum(map(bool, wins))], [1 if won else len(wins) + 2 for won in wins])


class Ties(NamedTuple):
    """RewardBench 2's score of questions with several right answers, and what it is made of; each 0..1 but the last."""

    score: float  # 0.3 tied + 0.3 ref + 0.2 preferred + 0.2 preferred_hard + 0.01 tiebreak; -0.01..1.01
    ref: float  # accuracy on questions with one right answer
    tied: float  # and on their twins with several
    preferred: float  # the twin's lead of right over wrong is more than its spread among right answers
    preferred_hard: float  # so is the smaller of its lead and the first one's
    tiebreak: float  # mean of tanh(smaller lead / spread - 1)


def ties_score(ref: Mapping[str, Scores], tied: Mapping[str, Scores]) -> Ties:
    """Whether right answers are scored closer to each other than to wrong ones.

    lead = min(C) - max(W), spread = max(C) - min(C). The accuracies are over all questions of their kind; the other
    terms over the questions that both have. A spread of 0 makes the tiebreak 1 for a positive lead, -1 for a negative
    one and 0 for none.

    Args:
        ref: by question, one right answer against wrong ones.
        tied: by question, several right answers.

    Raises:
        ValueError: a kind has no question, or none is in both.
    """
    both = [key for key in tied if key in ref]
    if not both:
        raise ValueError(
            f"the Ties score needs a question in both kinds: {len(ref)} ref and {len(tied)} tied, none twin"
        )
    lead = {kind: {key: _lead(scores) for key, scores in of.items()} for kind, of in (("ref", ref), ("tied", tied))}
    right = [checked(tied[key])[0] for key in both]
    spread = np.array([c.max() - c.min() for c in right])
    own = np.array([lead["tied"][key] for key in both])
    least = np.minimum(own, [lead["ref"][key] for key in both])
    with np.errstate(divide="ignore", invalid="ignore"):
        tiebreak = np.where((least == 0) & (spread == 0), 0.0, np.tanh(least / spread - 1))
    parts = (
        float(np.mean([x > 0 for x in lead["ref"].values()])),
        float(np.mean([x > 0 for x in lead["tied"].values()])),
        float((own > spread).mean()),
        float((least > spread).mean()),
        float(tiebreak.mean()),
    )
    return Ties(float(np.dot([0.3, 0.3, 0.2, 0.2, 0.01], parts)), *parts)


def checked(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong scores as float64 arrays. Raises ValueError for an empty one, NaN or infinities."""
    arrays = []
    for kind, values in (("right", scores.right), ("wrong", scores.wrong)):
        array = np.asarray(values, dtype=np.float64).reshape(-1)
        if not len(array):
            raise ValueError(f"a question needs a {kind} answer, and has none")
        if not np.isfinite(array).all():
            bad = next(x for x in array.tolist() if not math.isfinite(x))
            raise ValueError(f"a {kind} answer has the score {bad}: leave the question out, or score it again")
        arrays.append(array)
    return arrays[0], arrays[1]


def _lead(scores: Scores) -> float:
    right, wrong = checked(scores)
    return float(right.min() - wrong.max())
