"""Is a reward good for picking? The best of N by a reward, along N, and how far a benchmark foretells it.

Best-of-N as in Kim et al., 2024 (https://arxiv.org/abs/2410.01729); over-optimisation as in Gao et al., "Scaling Laws
for Reward Model Overoptimization", 2022 (https://arxiv.org/abs/2210.10760).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import pearsonr, spearmanr

POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def pick(
    scores: Sequence[float], answers: Sequence[Hashable], *, same: Callable[[Hashable], Hashable] = lambda a: a
) -> int:
    """The place of the top-scored sample; among those that tie, the first with the answer that most of them give.

    Args:
        scores: of the samples; exact equality ties.
        answers: of the samples.
        same: what of two equal answers is equal, such as a canonical form.

    Raises:
        ValueError: no samples, other counts, or a score that is NaN.
    """
    if not len(scores) or len(scores) != len(answers) or any(math.isnan(s) for s in scores):
        raise ValueError(f"pick needs a score, not NaN, for each of some answers: {len(scores)} and {len(answers)}")
    top = [i for i, score in enumerate(scores) if score == max(scores)]
    votes: dict[Hashable, list[int]] = {}
    for i in top:
        votes.setdefault(same(answers[i]), []).append(i)
    return max(votes.values(), key=len)[0]


class Curve(NamedTuple):
    """What becomes of the pick as N grows; one entry a value of `n`."""

    n: tuple[int, ...]
    kl: tuple[float, ...]  # log n - (n - 1) / n: of best-of-n from the policy that samples (an upper bound)
    proxy: tuple[float, ...]  # mean score of the pick, by the reward that picks
    gold: tuple[float, ...]  # mean worth of the pick: its accuracy, or another reward's score

    @property
    def lost(self) -> float:
        """How much of the best mean worth along the curve is gone at its end: 0 without over-optimisation."""
        return max(self.gold) - self.gold[-1]


def best_of_n(
    scores: Sequence[Sequence[float]],
    gold: Sequence[Sequence[float]],
    *,
    answers: Sequence[Sequence[Hashable]] | None = None,
    ns: Sequence[int] = POWERS,
    same: Callable[[Hashable], Hashable] = lambda a: a,
) -> Curve:
    """The curve over the first n samples of each prompt, for those `ns` that every prompt has.

    Args:
        scores: prompt by prompt, of the samples in the order in which they were drawn, by the reward that picks.
        gold: what each is worth: 1 and 0 for right and wrong, or a reward that is trusted.
        answers: of the samples, for the vote among ties; by default each sample is an answer of its own.
        ns: sizes.
        same: see `pick`.

    Raises:
        ValueError: no prompts, other counts, no size that fits, or a NaN.
    """
    counts = [len(row) for row in scores]
    if not counts or counts != [len(row) for row in gold]:
        raise ValueError("best_of_n needs scores and gold of the same samples of at least one prompt")
    if not (fits := tuple(n for n in ns if 0 < n <= min(counts))):
        raise ValueError(f"no size of {list(ns)} fits: a prompt has {min(counts)} samples")
    if any(math.isnan(value) for row in gold for value in row):
        raise ValueError("a sample's gold is NaN: leave its prompt out")
    given = answers or [range(count) for count in counts]
    picks = [[pick(row[:n], said[:n], same=same) for n in fits] for row, said in zip(scores, given, strict=True)]

    def mean(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
        return tuple(np.mean([[row[i] for i in at] for row, at in zip(values, picks, strict=True)], axis=0).tolist())

    return Curve(fits, tuple(math.log(n) - (n - 1) / n for n in fits), mean(scores), mean(gold))


class Agreement(NamedTuple):
    """Correlations over reward models."""

    pearson: float
    spearman: float


def agreement(benchmark: Sequence[float], outcome: Sequence[float]) -> Agreement:
    """How far a benchmark's scores of reward models foretell what the models do (best-of-N accuracy, a win rate).

    NaN where one of them does not vary. Raises ValueError for fewer than three models, or other counts.
    """
    if len(benchmark) != len(outcome) or len(benchmark) < 3:
        raise ValueError(f"agreement needs three models or more, got {len(benchmark)} and {len(outcome)}")
    if np.ptp(benchmark) == 0 or np.ptp(outcome) == 0:
        return Agreement(math.nan, math.nan)
    return Agreement(*(float(measure(benchmark, outcome)[0]) for measure in (pearsonr, spearmanr)))  # type: ignore[arg-type]
