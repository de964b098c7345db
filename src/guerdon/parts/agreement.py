"""How far those who answered the same questions agree: raw agreement, Cohen's and Fleiss' kappa."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence


def raw_agreement(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """The share of places at which two raters gave the same answer; NaN of no places.

    Raises:
        ValueError: one of them answered more often than the other.
    """
    if len(first) != len(second):
        raise ValueError(f"two raters answer the same items, not {len(first)} and {len(second)}")
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first) if first else math.nan


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """``(p_o - p_e) / (1 - p_e)``: agreement of two raters beyond what their habits alone would give.

    p_o is `raw_agreement`, p_e the sum over answers of the product of both raters' shares. 1 is full agreement, 0
    what chance gives, below 0 less than that. NaN where it is not defined: no items, or both only ever gave one and
    the same answer.

    Cohen (1960), "A coefficient of agreement for nominal scales".
    """
    observed, n = raw_agreement(first, second), len(first)
    shares = Counter(first), Counter(second)
    expected = sum(shares[0][answer] * shares[1][answer] for answer in shares[0]) / n**2 if n else math.nan
    return _beyond(observed, expected)


def fleiss_kappa(ratings: Sequence[Sequence[Hashable]]) -> float:
    """Agreement beyond chance of any number of raters, who need not be the same for each item.

    `ratings` holds the answers to each item; items with fewer than two say nothing about agreement and are left out.
    With n_ij the times item i was given answer j, and n_i in all: ``P_i = sum_j n_ij (n_ij - 1) / (n_i (n_i - 1))``,
    p_o the mean of P_i, p_e the sum of the squared shares of the answers among all, and kappa as in `cohen_kappa`.
    Fleiss has one n for all items; with several, each item counts alike in p_o and each answer in p_e.

    Fleiss (1971), "Measuring nominal scale agreement among many raters".
    """
    counts = [Counter(answers) for answers in ratings if len(answers) > 1]
    if not counts:
        return math.nan
    sizes = [counted.total() for counted in counts]
    same = [sum(n * (n - 1) for n in c.values()) / (size * (size - 1)) for c, size in zip(counts, sizes, strict=True)]
    total = sum(counts, Counter())
    expected = sum((n / sum(sizes)) ** 2 for n in total.values())
    return _beyond(sum(same) / len(same), expected)


def _beyond(observed: float, expected: float) -> float:
    return (observed - expected) / (1 - expected) if expected < 1 else math.nan
