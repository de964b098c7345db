"""Answer, or say that it cannot be known: what each is worth, how well both are done, and data to learn it from."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guerdon.parts.answers import answer_classes, rows_of_groups


def abstention_reward(
    unanswerable: Tensor,
    right: Tensor,
    abstained: Tensor,
    confidence: Tensor,
    *,
    right_pay: float = 1.0,
    abstain_pay: float = 1.0,
    hallucination: float = 1.0,
    miss: float = 0.5,
    flat: bool = False,
) -> Tensor:
    """[B] float32: what an answer with confidence c is worth.

        answerable:    right  +right_pay * w(c)    wrong  -hallucination * c          abstained  -miss
        unanswerable:  abstained  +abstain_pay     answered  -hallucination * (1 + c)

    w(c) is c, or 1 if `flat`. All inputs are [B]: `unanswerable`, `right` and `abstained` 0 or 1, `confidence` in
    [0, 1]; `unanswerable` NaN is not scored. Raises ValueError for other values, and where a row abstains and is right.
    """
    u, ok, abstains, c = (x.float() for x in (unanswerable, right, abstained, confidence))
    if not u.shape == ok.shape == abstains.shape == c.shape or u.ndim != 1:
        raise ValueError(f"abstention_reward needs four [B], got {[list(x.shape) for x in (u, ok, abstains, c)]}")
    for name, x in (("unanswerable", u[~u.isnan()]), ("right", ok), ("abstained", abstains)):
        if not bool(((x == 0) | (x == 1)).all()):
            raise ValueError(f"abstention_reward: {name} must be 0 or 1")
    if not bool(((c >= 0) & (c <= 1)).all()):
        raise ValueError("abstention_reward: confidence must be in [0, 1]")
    if bool((ok * abstains).any()):
        raise ValueError("abstention_reward: a response cannot both abstain and be right")
    answerable = torch.where(ok == 1, right_pay * (torch.ones_like(c) if flat else c), -hallucination * c)
    answerable = torch.where(abstains == 1, -miss, answerable)
    nothing_there = torch.where(abstains == 1, abstain_pay, -hallucination * (1 + c))
    return torch.where(u.isnan(), torch.nan, torch.where(u == 1, nothing_there, answerable))


def abstention_threshold(
    *, right_pay: float = 1.0, abstain_pay: float = 1.0, hallucination: float = 1.0, miss: float = 0.5, m: float = 0.0
) -> float:
    """q*: answering pays more than abstaining exactly where the chance of a right answer is above it.

        q* = ((1 - m)(abstain_pay + 2 hallucination) + m (hallucination - miss))
             / (right_pay + miss + abstain_pay + 2 hallucination)

    For the flat table with confidence 1, where m is the chance that an answer is there and would be got wrong.
    """
    lost = abstain_pay + 2 * hallucination
    return ((1 - m) * lost + m * (hallucination - miss)) / (right_pay + miss + lost)


def proper_score(confidence: Tensor, right: Tensor) -> Tensor:
    """[B] -(c - ok)^2: in expectation highest at c = P(ok), unlike terms linear in c, which drive c to 0 or 1."""
    return -((confidence.float() - right.float()) ** 2)


class AbstentionMetrics(NamedTuple):
    """Shares in [0, 1]; NaN where there is nothing to take a share of."""

    accuracy: float  # right on answerable questions, or abstained on unanswerable ones
    f1: float  # of abstaining, as a detector of unanswerable questions
    hallucination: float  # of unanswerable questions, those answered
    needless: float  # of answerable questions, those abstained on
    coverage: float  # of all questions, those answered


def abstention_metrics(unanswerable: Tensor, right: Tensor, abstained: Tensor) -> AbstentionMetrics:
    """The metrics of abstention, from 0 or 1 of each response [B]."""
    u, ok, abstains = (x.bool() for x in (unanswerable, right, abstained))
    hits, either = int((u & abstains).sum()), int(u.sum()) + int(abstains.sum())

    def share(part: Tensor, whole: Tensor) -> float:
        return int((part & whole).sum()) / int(whole.sum()) if bool(whole.any()) else math.nan

    every = torch.ones_like(u)
    return AbstentionMetrics(
        accuracy=share((u & abstains) | (~u & ok & ~abstains), every),
        f1=2 * hits / either if either else math.nan,
        hallucination=share(~abstains, u),
        needless=share(abstains, ~u),
        coverage=share(~abstains, every),
    )


def risk_coverage(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Coverage [n] and risk [n], the share of wrong ones among the 1, 2, ... n most confident answers."""
    order = confidence.argsort(descending=True, stable=True)
    count = torch.arange(1, len(order) + 1)
    return count / max(1, len(order)), (1 - right.float()[order]).cumsum(0) / count


def abstention_mixture(
    rows: Sequence[Mapping[str, Any]],
    n: int,
    *,
    seed: int,
    unanswerable: str = "unanswerable",
    answer: str = "answer",
    phrase: str = "unknown",
    share: float = 0.5,
    weight: float = 1.0,
) -> list[dict[str, Any]]:
    """`n` examples for supervised training, of which `share` are drawn from the unanswerable rows.

    A row becomes itself with "solution" (its answer, or the phrase) and "weight" (1, or `weight`, lambda_abs, where
    it is unanswerable). With weight 0 or share 0 what is left is plain question answering. Rows that say neither are
    left out. Raises ValueError if a kind that is wanted is missing.
    """
    chance = random.Random(seed)
    kinds = {u: [row for row in rows if row[unanswerable] == u] for u in (0, 1)}
    many = round(n * share)
    picked = []
    for u, count in ((0, n - many), (1, many)):
        if count and not kinds[u]:
            raise ValueError(f"abstention_mixture needs rows with {unanswerable}={u}, and there are none")
        text = (lambda row: str(row[answer])) if u == 0 else (lambda row: phrase)
        chosen = [chance.choice(kinds[u]) for _ in range(count)]
        picked += [{**row, "solution": text(row), "weight": weight if u else 1.0} for row in chosen]
    chance.shuffle(picked)
    return picked


def abstains(text: str, phrase: str) -> bool:
    """Whether a response is the phrase and nothing else, whatever its case, white space and punctuation."""
    return letters(text) == letters(phrase)


def letters(text: str) -> str:
    """The words of a text in lower case, one space between them."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def agreement(answers: Sequence[str | None], group: Tensor | None) -> Tensor:
    """[N]: 1 - H / log G, with H the entropy of the answers among the G rows of a group; 1 for a group of one row.

    Rows without an answer are a class of their own.
    """
    c = torch.ones(len(answers))
    for rows in rows_of_groups(group, len(answers)):
        classes = torch.tensor(answer_classes([answers[i] for i in rows]))
        p = classes.unique(return_counts=True)[1] / len(rows)
        if len(rows) > 1:
            c[rows] = 1 + float((p * p.log()).sum()) / math.log(len(rows))
    return c.clamp(0.0, 1.0)
