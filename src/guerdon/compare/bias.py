"""What a reward likes besides what is right: length and style, within the answers of one question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from guerdon.parts.one_to_many import Scores
from guerdon.parts.questions import Question

STYLES: dict[str, str] = {
    "list items": r"(?m)^\s*(?:[-*•]|\d+[.)])\s",
    "headings": r"(?m)^#{1,6}\s",
    "bold": r"\*\*[^*\n]+\*\*",
    "code": r"```|`[^`\n]+`",
    "line breaks": r"\n",
    "digits": r"\d",
    "exclamation marks": r"!",
    "questions": r"\?",
    "apologies and refusals": r"(?i)\b(?:sorry|apologi[sz]e|i can(?:no|['\u2019])t|i am unable|i'm unable|as an ai)\b",
}
"""What is counted in an answer."""

LEAST = 10
"""Questions below which a style is not spoken of."""


class Estimate(NamedTuple):
    """A value over questions and its 95 % interval, by a bootstrap that draws questions."""

    value: float
    low: float
    high: float


@dataclass
class Preference:
    """Pairs of a right and a wrong answer of which one has more of something. Shares in 0..1, a tie counts a half."""

    of: str
    questions: int  # with such pairs; each counts the same, however many it has
    liked: Estimate  # how often the one that has more is scored higher
    right: Estimate  # how often it is the right one
    excess: Estimate  # the difference: 0 for a reward that looks at what is right alone


@dataclass
class Bias:
    """Length and style of one model on one suite."""

    correlation: Estimate | None  # of score and log length, both minus their question's mean; None if nothing varies
    longer: Preference | None
    right_longer: Estimate | None  # share of pairs won where the right answer is the longer
    right_shorter: Estimate | None  # where it is the shorter
    styles: list[Preference]  # those that at least LEAST questions tell of, largest excess first


def bias(questions: Sequence[Question], scores: Sequence[Scores], *, seed: int = 0, draws: int = 2000) -> Bias:
    """What the scores [of questions with no unscored answer] like; lengths are in characters."""
    rng = np.random.default_rng(seed)
    lengths = [[len(a) for a in q.answers] for q in questions]
    longer = _preference("characters", lengths, questions, scores, rng, draws)
    styles = []
    for name, pattern in STYLES.items():
        counts = [[len(re.findall(pattern, a)) for a in q.answers] for q in questions]
        found = _preference(name, counts, questions, scores, rng, draws)
        if found and found.questions >= LEAST:
            styles.append(found)
    return Bias(
        correlation=_correlation(lengths, scores, rng, draws),
        longer=longer,
        right_longer=_won(lengths, questions, scores, 1, rng, draws),
        right_shorter=_won(lengths, questions, scores, -1, rng, draws),
        styles=sorted(styles, key=lambda p: -abs(p.excess.value)),
    )


def estimate(values: np.ndarray, rng: np.random.Generator, draws: int = 2000) -> Estimate:
    """The mean of values over questions [Q] and its interval."""
    drawn = rng.integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def _wins(question: Question, more: Sequence[int], scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Of all pairs of a right and a wrong answer [pairs]: who has more (1 right, -1 wrong, 0), and who won likewise."""
    n = len(question.right)
    right, wrong = np.asarray(more[:n], float), np.asarray(more[n:], float)
    lead = np.asarray(scores.right, float)[:, None] - np.asarray(scores.wrong, float)
    return np.sign(right[:, None] - wrong).ravel(), np.sign(lead).ravel()


def _preference(
    of: str, counts: list[list[int]], questions: Sequence[Question], scores: Sequence[Scores],
    rng: np.random.Generator, draws: int,
) -> Preference | None:  # fmt: skip
    liked, right = [], []
    for question, count, score in zip(questions, counts, scores, strict=True):
        more, won = _wins(question, count, score)
        if (more != 0).any():
            more, won = more[more != 0], won[more != 0]
            liked.append(float((0.5 + 0.5 * more * won).mean()))
            right.append(float((more > 0).mean()))
    if not liked:
        return None
    a, b = np.array(liked), np.array(right)
    return Preference(of, len(a), estimate(a, rng, draws), estimate(b, rng, draws), estimate(a - b, rng, draws))


def _won(
    lengths: list[list[int]], questions: Sequence[Question], scores: Sequence[Scores], sign: int,
    rng: np.random.Generator, draws: int,
) -> Estimate | None:  # fmt: skip
    shares = []
    for question, length, score in zip(questions, lengths, scores, strict=True):
        more, won = _wins(question, length, score)
        if (more == sign).any():
            shares.append(float((0.5 + 0.5 * won[more == sign]).mean()))
    return estimate(np.array(shares), rng, draws) if shares else None


def _correlation(
    lengths: list[list[int]], scores: Sequence[Scores], rng: np.random.Generator, draws: int
) -> Estimate | None:
    sums = []
    for length, score in zip(lengths, scores, strict=True):
        x, y = np.log1p(np.asarray(length, float)), np.asarray([*score.right, *score.wrong], float)
        x, y = x - x.mean(), y - y.mean()
        sums.append((x @ y, x @ x, y @ y))
    table = np.array(sums)
    if not (table.sum(0)[1:] > 0).all():
        return None
    drawn = table[rng.integers(len(table), size=(draws, len(table)))].sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = drawn[:, 0] / np.sqrt(drawn[:, 1] * drawn[:, 2])
    low, high = np.nanquantile(each, [0.025, 0.975])
    xy, xx, yy = table.sum(0)
    return Estimate(float(xy / np.sqrt(xx * yy)), float(low), float(high))
