"""A reward model examined: what it gets right, how surely, what it likes besides, and where to look for the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch

from guerdon.compare import contrast_instructions, rewardbench2
from guerdon.compare.bias import Bias, Estimate, Preference, bias, estimate
from guerdon.compare.suites import Suite
from guerdon.parts.one_to_many import METRICS, Scores, accuracy, best_of
from guerdon.parts.questions import Question


@dataclass
class Subset:
    """One subset; values are None where no question of it was scored."""

    name: str
    questions: int
    scored: int  # with no unscored answer
    score: Estimate | None  # what the suite's protocol calls its score
    metrics: dict[str, float]
    tied: int  # scored questions whose best right and best wrong answer have the same score
    chance: float | None  # the score that equal chances for all answers would bring; None for Ties, where there is none


@dataclass
class Case:
    """A question that the model got wrong."""

    question: Question
    right: str  # the lowest-scored right answer
    wrong: str  # the highest-scored wrong one
    right_score: float
    wrong_score: float


@dataclass
class Audit:
    """Everything that was found. `as_dict` is what the JSON report holds."""

    suite: str
    protocol: str  # what `score` means, in words
    score: Estimate | None
    subsets: list[Subset]
    more: dict[str, Estimate]  # further figures of this suite alone
    answers: int
    unscored: int  # answers without a score; their questions are left out
    distinct: int  # different scores among the scored answers
    bias: Bias | None
    worst: list[Case]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values; an `Estimate` is {"value", "low", "high"}."""
        return _plain(self)

    def findings(self) -> list[str]:
        """What is worth knowing, in sentences; what the intervals do not bear out is left unsaid."""
        said = []
        told = [(s.name, s.score, s.chance) for s in self.subsets if s.score and s.chance is not None]
        lost = [name for name, score, chance in told if score.high < chance]
        level = [name for name, score, chance in told if score.low <= chance <= score.high]
        if lost:
            said.append(f"Worse than chance: {', '.join(lost)}.")
        if level:
            said.append(f"Not distinguishable from chance: {', '.join(level)}.")
        if self.bias and (longer := self.bias.longer) and not longer.excess.low <= 0 <= longer.excess.high:
            verb = "likes" if longer.excess.value > 0 else "dislikes"
            said.append(f"It {verb} length: the longer answer of a pair {_liked(longer)}.")
        if self.bias and self.bias.right_longer and self.bias.right_shorter:
            a, b = self.bias.right_longer, self.bias.right_shorter
            if a.low > b.high or b.low > a.high:
                said.append(
                    f"The right answer wins {a.value:.0%} of pairs where it is the longer, {b.value:.0%} where it is "
                    "the shorter."
                )
        for style in self.bias.styles[:3] if self.bias else []:
            if not style.excess.low <= 0 <= style.excess.high:
                said.append(f"Of {style.of}, the answer that has more {_liked(style)}.")
        scored, tied = sum(s.scored for s in self.subsets), sum(s.tied for s in self.subsets)
        if tied > 0.05 * scored:
            said.append(
                f"In {tied} of {scored} questions the best right and the best wrong answer have the same score; there "
                f"are {self.distinct} different scores of {self.answers - self.unscored} answers."
            )
        if self.unscored:
            left = sum(s.questions - s.scored for s in self.subsets)
            said.append(
                f"{self.unscored} of {self.answers} answers have no score; {left} questions are left out for it."
            )
        return said


PROTOCOLS = {
    "RewardBench 2": "mean of the subsets; a question counts 1/c where the right answer is one of c that score best; "
    "Ties by its own formula",
    "RewardMATH": "share of problems whose right solution leads all wrong ones",
    "contrast instructions": "C_res: the response of the instruction is scored above the other's; a tie is no win",
    "pairs": "share of questions whose right answer is scored higher; a tie counts a half",
}


def audit(
    suite: Suite, values: Sequence[Sequence[float]], *, worst: int = 20, seed: int = 0, draws: int = 2000
) -> Audit:
    """What scores of all answers say; `values[i]` are those of ``suite.questions[i].answers``, NaN for unscored.

    Intervals draw questions (of Ties, twins) anew. With several subsets, the score of RewardBench 2 is their mean.

    Args:
        suite: what was asked.
        values: the scores.
        worst: cases to keep, those whose wrong answer leads the right one by most.
        seed: of the bootstrap.
        draws: of it.

    Raises:
        ValueError: another number of scores than of answers, an infinite score, or every answer of every question
            unscored.
    """
    if len(values) != len(suite.questions):
        raise ValueError(f"{len(suite.questions)} questions, and scores of {len(values)}")
    every = [q.scores(v) for q, v in zip(suite.questions, values, strict=True)]
    flat = np.array([x for of in values for x in of], float)
    if np.isinf(flat).any():
        raise ValueError(f"{int(np.isinf(flat).sum())} scores are infinite")
    whole = [i for i, of in enumerate(values) if not np.isnan(np.array(of, float)).any()]
    if not whole:
        raise ValueError(
            f"no question has all of its answers scored ({int(np.isnan(flat).sum())} of {len(flat)} are not)"
        )
    rng = np.random.default_rng(seed)
    questions, scores = [suite.questions[i] for i in whole], [every[i] for i in whole]
    subsets, known = [], []
    for name in suite.subsets:
        at = [i for i, q in enumerate(questions) if q.subset == name]
        of = [questions[i] for i in at], [scores[i] for i in at]
        drawn = _drawn(suite.form, *of, rng, draws) if at else None
        known += [drawn] if drawn else []
        subsets.append(_subset(name, sum(q.subset == name for q in suite.questions), *of, drawn))
    if suite.form == "RewardBench 2":
        total = _interval(*(np.mean([d[k] for d in known], 0) for k in (0, 1))) if known else None
    else:
        total = estimate(np.array([_worth(suite.form)(s) for s in scores]), rng, draws)
    return Audit(
        suite=suite.form,
        protocol=PROTOCOLS[suite.form],
        score=total,
        subsets=subsets,
        more=_consistency(questions, scores, rng, draws) if suite.form == "contrast instructions" else {},
        answers=len(flat),
        unscored=int(np.isnan(flat).sum()),
        distinct=len(np.unique(flat[~np.isnan(flat)])),
        bias=bias(questions, scores, seed=seed, draws=draws) if suite.texts else None,
        worst=_worst(questions, scores, worst),
        notes=list(suite.notes),
    )


def _worth(form: str) -> Callable[[Scores], float]:
    """What one question counts in the score of a suite."""
    return accuracy if form in ("RewardMATH", "contrast instructions") else best_of


def _drawn(
    form: str, questions: list[Question], scores: list[Scores], rng: np.random.Generator, draws: int
) -> tuple[float, np.ndarray] | None:
    """The score of a subset, and of each bootstrap sample of it; None where Ties has no twins."""
    if form == "RewardBench 2" and questions[0].subset == rewardbench2.TIES:
        by: dict[str, list[int]] = {}
        for i, question in enumerate(questions):
            by.setdefault(question.key.partition(":")[2], []).append(i)
        twins = [at for at in by.values() if len(at) == 2]
        if not twins:
            return None
        of = [rewardbench2.ties([questions[i] for i in at], [scores[i] for i in at]).score for at in twins]
        values, value = np.array(of), rewardbench2.ties(questions, scores).score  # its terms are means over twins
    else:
        values = np.array([_worth(form)(s) for s in scores])
        value = float(values.mean())
    return value, values[rng.integers(len(values), size=(draws, len(values)))].mean(1)


def _interval(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def _subset(
    name: str, count: int, questions: list[Question], scores: list[Scores], drawn: tuple[float, np.ndarray] | None
) -> Subset:
    several = any(len(q.answers) > 2 for q in questions)  # of one right and one wrong, the other two say nothing new
    shown = list(METRICS.items())[: 4 if several else 2] if scores else []
    metrics = {key: float(np.mean([metric(s) for s in scores])) for key, metric in shown}
    tied = sum(max(s.right) == max(s.wrong) for s in scores)
    shares = [len(q.right) / len(q.answers) for q in questions if name != rewardbench2.TIES]
    chance = float(np.mean(shares)) if shares else None
    return Subset(name, count, len(questions), None if drawn is None else _interval(*drawn), metrics, tied, chance)


def _liked(of: Preference) -> str:
    return (
        f"is scored higher in {of.liked.value:.0%} of pairs and is right in {of.right.value:.0%} "
        f"({100 * of.excess.value:+.0f} points, {100 * of.excess.low:+.0f} to {100 * of.excess.high:+.0f})"
    )


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Estimate):
        return value._asdict()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _consistency(
    questions: list[Question], scores: list[Scores], rng: np.random.Generator, draws: int
) -> dict[str, Estimate]:
    """C_res and C_ins over the items whose both sides were scored."""
    by: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        by.setdefault(question.key.removesuffix(" mirrored"), []).append(i)
    both = [at for at in by.values() if len(at) == 2]
    if not both:
        return {}
    values = torch.tensor([[scores[i].right[0], scores[i].wrong[0]] for at in both for i in at], dtype=torch.float64)
    rewards = contrast_instructions.from_scores(values)
    each = np.array([contrast_instructions.consistency(item[None])[:2] for item in rewards])
    return {"C_res": estimate(each[:, 0], rng, draws), "C_ins": estimate(each[:, 1], rng, draws)}


def _worst(questions: list[Question], scores: list[Scores], count: int) -> list[Case]:
    found = []
    for question, of in zip(questions, scores, strict=True):
        low, high = int(np.argmin(of.right)), int(np.argmax(of.wrong))
        if of.right[low] <= of.wrong[high]:
            found.append(Case(question, question.right[low], question.wrong[high], of.right[low], of.wrong[high]))
    return sorted(found, key=lambda case: case.right_score - case.wrong_score)[:count]
