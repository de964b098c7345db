"""Judges as what `guerdon audit` examines: ratings, rankings and comparisons, brought to a number an answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from guerdon.commands.audit_model import Kept, Mode, Scored, key_of

if TYPE_CHECKING:
    from guerdon.parts.one_to_many import Scores
    from guerdon.parts.questions import Question

CHATS = 64
"""Questions to a judge between two looks at the progress; what is answered is kept on disk."""


def ask_judge(
    judge: Any, questions: Sequence[Question], mode: Mode, kept: Kept, told: Callable[[int, int], None], *, seed: int
) -> Scored:
    """Scores from a judge, in one of three modes.

    "ratings" and "ranking" are RewardBench 2's, for judges that can be asked freely (``replies``). A judge that knows
    only its own question rates each prompt with its answer by that. "pairwise" compares the right answer with each
    wrong one, in an order drawn for each; see `guerdon.parts.one_to_many.compared`.
    """
    from guerdon.compare import rewardbench2

    if mode == "pairwise":
        return asyncio.run(_pairwise(judge, questions, kept, told, seed))
    if not hasattr(judge, "replies"):
        if mode == "ranking":
            raise ValueError(f"{judge.name} can only be asked its own question: use --judge-mode pairwise or ratings")
        return asyncio.run(_own_ratings(judge, questions, kept, told))
    import torch

    reasons: Counter[str] = Counter()
    size = {"ratings": 1024, "ranking": 2048}[mode]

    async def ask(chats: Sequence[list[dict[str, str]]]) -> list[str | None]:
        keys = [key_of(chat) for chat in chats]
        new = {k: c for k, c in zip(keys, chats, strict=True) if k not in kept.known}
        for chunk in _chunks(list(new.items())):
            told(len(kept.known), len(set(keys)))
            said = await judge.replies([chat for _, chat in chunk], max_tokens=size)
            kept.add({key: reply for (key, _), reply in zip(chunk, said, strict=True) if reply is not None})
        told(len(kept.known), len(set(keys)))
        found = [kept.known.get(key) for key in keys]
        silent = sum(reply is None for reply in found)
        reasons.update({"no answer": silent} if silent else {})
        return found

    if mode == "ratings":
        scores = asyncio.run(rewardbench2.ratings(questions, ask))
    else:
        generator = torch.Generator().manual_seed(seed)
        scores = asyncio.run(rewardbench2.rankings(questions, ask, generator=generator))
    values = _listed(scores)
    unread = sum(v == rewardbench2.INVALID for of in values for v in of) if mode == "ratings" else 0
    unread += sum(not any(of) for of in values) if mode == "ranking" else 0
    what = "replies have no rating at their end, and count as -1" if mode == "ratings" else "replies name no answer"
    return Scored(values, f"judge, {mode}", reasons, [f"{unread} {what}"] if unread else [])


async def _own_ratings(
    judge: Any, questions: Sequence[Question], kept: Kept, told: Callable[[int, int], None]
) -> Scored:
    from guerdon.compare.rewardbench2 import as_text

    items = [f"{as_text(q.prompt)}\n\n{a}" for q in questions for a in q.answers]
    labels, reasons = await _judged(judge, items, kept, told)
    it = iter(labels)
    values = [[float("nan") if (v := next(it)) is None else v for _ in q.answers] for q in questions]
    return Scored(values, "judge, its own ratings", reasons)


async def _pairwise(
    judge: Any, questions: Sequence[Question], kept: Kept, told: Callable[[int, int], None], seed: int
) -> Scored:
    import numpy as np

    from guerdon.compare.rewardbench2 import as_text
    from guerdon.parts.one_to_many import Scores, compared
    from guerdon.types import FIRST, SECOND, TIE

    if several := [q.key for q in questions if len(q.right) > 1]:
        raise ValueError(f"{several[0]} has several right answers: those need --judge-mode ratings")
    rng, items, sides = np.random.default_rng(seed), [], []
    for q in questions:
        for wrong in q.wrong:
            pair = [f"{as_text(q.prompt)}\n\n{a}" for a in (q.right[0], wrong)]
            sides.append(FIRST if rng.random() < 0.5 else SECOND)
            items.append((pair[0], pair[1]) if sides[-1] == FIRST else (pair[1], pair[0]))
    labels, reasons = await _judged(judge, items, kept, told)
    outcome, scores = iter(zip(labels, sides, strict=True)), []
    for q in questions:
        of = [(label, side) for label, side in (next(outcome) for _ in q.wrong)]
        if any(label is None for label, _ in of):
            scores.append(Scores([float("nan")], [float("nan")] * len(q.wrong)))
        elif len(of) == 1 and of[0][0] == TIE:
            scores.append(Scores([1.0], [1.0]))
        else:
            scores.append(compared([label == side for label, side in of]))
    return Scored(_listed(scores), "judge, pairwise", reasons)


async def _judged(
    judge: Any, items: Sequence[Any], kept: Kept, told: Callable[[int, int], None]
) -> tuple[list[float | None], Counter[str]]:
    """The judge's labels, and why some are missing."""
    reasons: dict[str, str] = {}
    keys = [key_of(item) for item in items]
    new = {key: item for key, item in zip(keys, items, strict=True) if key not in kept.known}
    for chunk in _chunks(list(new.items())):
        told(len(kept.known), len(set(keys)))
        labels = await judge.judge([item for _, item in chunk])
        kept.add({key: label.value for (key, _), label in zip(chunk, labels, strict=True) if label.value is not None})
        reasons |= {
            key: label.reason or "no label"
            for (key, _), label in zip(chunk, labels, strict=True)
            if label.value is None
        }
    told(len(kept.known), len(set(keys)))
    return [kept.known.get(key) for key in keys], Counter(reasons.values())


def _listed(scores: Sequence[Scores]) -> list[list[float]]:
    return [[float(x) for x in (*s.right, *s.wrong)] for s in scores]


def _chunks(items: list[Any]) -> Iterator[list[Any]]:
    return (items[i : i + CHATS] for i in range(0, len(items), CHATS))
