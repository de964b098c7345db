"""Rewards for callers that hand over one completion at a time and want a number for each."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from typing import Any

from guerdon.expression import parse_scorer
from guerdon.parts.reward_scorer import RewardScorer
from guerdon.parts.scorer import Row, Score, Scorer
from guerdon.types import LanguageModel, Reward


class NoScore(ValueError):
    """A completion has no score, and the caller has no way to be told so; the message says why and what to do."""


def scorer(reward: Any, *, model: LanguageModel | None = None) -> Scorer:
    """What scores rows: of a reward, of a function (see `guerdon.parts.scorer`), or of either written as text.

    Text is a reward expression or ``module:function``; the same text is read once.
    """
    if isinstance(reward, str):
        return _read(reward) if model is None else Scorer(parse_scorer(reward, model=model))
    return Scorer(RewardScorer(reward, model=model) if isinstance(reward, Reward) else reward)


@functools.lru_cache(maxsize=32)
def _read(text: str) -> Scorer:
    return Scorer(parse_scorer(text))


def score(scorer: Scorer, row: Row) -> Score:
    """The score of one row, waited for."""
    made = scorer.call([row])
    if asyncio.iscoroutine(made):
        made = asyncio.run(_awaited(made))
    return scorer.read(made, 1)[0]


async def score_soon(scorer: Scorer, row: Row) -> Score:
    """The score of one row: awaited if the scorer waits, else computed in a thread."""
    if scorer.awaits:
        return scorer.read(await scorer.call([row]), 1)[0]
    return await asyncio.to_thread(score, scorer, row)


def name_of(scorer: Scorer) -> str:
    """What errors and logs call it."""
    return scorer.function.reward.name if isinstance(scorer.function, RewardScorer) else scorer.name


def number(score: Score, name: str, unscored: float | None) -> float:
    """The value of a score; where there is none, `unscored`. Raises NoScore if that is None, too."""
    if score.value is not None:
        return score.value
    if unscored is None:
        raise NoScore(
            f"{name} did not score a completion ({score.why()}), and this library knows no row without a score: "
            "unscored=0.0, say, pays that instead and counts it as not_scored"
        )
    return unscored


def report(score: Score) -> dict[str, float]:
    """What to log of a score: each of its terms (NaN where it did not score), and whether there is none."""
    terms: Mapping[str, Any] = score.terms
    known = {name: float("nan") if value is None else float(value) for name, value in terms.items()}
    return known | {"not_scored": float(score.value is None)}


async def _awaited(made: Any) -> Any:
    return await made
