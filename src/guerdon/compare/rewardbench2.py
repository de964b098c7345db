"""RewardBench 2: one right and three wrong answers a prompt in five domains, and prompts with many right answers.

Malik et al., "RewardBench 2: Advancing Reward Model Evaluation", 2025, https://arxiv.org/abs/2506.01937. The results of
the five domains are `parts.one_to_many.best_of`, of Ties `ties_score`; the final score is the plain mean of the
subsets. Language models judge in two modes, both of which come down to scores: by `ratings` of each answer, or by a
`ranking` of all of one prompt.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import torch

from guerdon.parts.one_to_many import Scores, Ties, best_of, ties_score
from guerdon.parts.questions import Question
from guerdon.types.protocols import Prompt

SUBSETS = ("Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties")
TIES = "Ties"
INVALID = -1
"""The rating of a reply without one."""

Ask = Callable[[Sequence[list[dict[str, str]]]], Awaitable[list[str | None]]]
"""Chats to replies, in order; None where nothing was answered."""


def read_records(rows: Sequence[Mapping[str, Any]], where: str = "RewardBench 2") -> list[Question]:
    """Questions of records {id, prompt, chosen, rejected, num_correct, total_completions, subset}.

    Raises:
        ValueError: a field is missing, a list is empty, a total is wrong, or the subset is none of SUBSETS.
    """
    found = []
    for i, row in enumerate(rows):
        key = f"{where}, record {row.get('id', i)}"
        if missing := [name for name in ("id", "prompt", "chosen", "rejected", "subset") if name not in row]:
            raise ValueError(f"{key} has no {' and no '.join(missing)}")
        if row["subset"] not in SUBSETS:
            near = difflib.get_close_matches(str(row["subset"]), SUBSETS, n=1, cutoff=0.4)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{key} is of the subset {row['subset']!r}{hint}; there are {', '.join(SUBSETS)}")
        chosen, rejected = _texts(row["chosen"], key), _texts(row["rejected"], key)
        for name, count in (("num_correct", len(chosen)), ("total_completions", len(chosen) + len(rejected))):
            if row.get(name) not in (None, count):
                raise ValueError(f"{key} says {name} {row[name]}, but holds {count}")
        if row["subset"] == TIES:
            _twin(str(row["id"]))
        found.append(Question(str(row["id"]), row["prompt"], chosen, rejected, row["subset"]))
    return found


def subset_score(questions: Sequence[Question], scores: Sequence[Scores]) -> float:
    """The score of one subset: the mean of `best_of`, or `ties_score` of Ties. 0..1 (Ties: -0.01..1.01)."""
    if questions[0].subset == TIES:
        return ties(questions, scores).score
    return float(np.mean([best_of(s) for s in scores]))


def ties(questions: Sequence[Question], scores: Sequence[Scores]) -> Ties:
    """The Ties score of questions whose keys are "ref:<n>" and "tied:<n>"."""
    kinds: dict[str, dict[str, Scores]] = {"ref": {}, "tied": {}}
    for question, of in zip(questions, scores, strict=True):
        kind, number = _twin(question.key)
        kinds[kind][number] = of
    return ties_score(kinds["ref"], kinds["tied"])


def summary(questions: Sequence[Question], scores: Sequence[Scores]) -> dict[str, float]:
    """The score of each subset that is there, and "average", their unweighted mean."""
    by: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        by.setdefault(question.subset, []).append(i)
    found = {name: subset_score([questions[i] for i in at], [scores[i] for i in at]) for name, at in by.items()}
    return found | {"average": float(np.mean(list(found.values())))}


def parse_rating(reply: str | None) -> int:
    """The whole number 1..10 that a reply ends with, else -1."""
    found = re.search(r"(?<![\d.,/-])(10|[1-9])$", (reply or "").strip())
    return int(found[1]) if found else INVALID


def parse_ranking(reply: str | None, n: int = 4, *, take: Literal["letter", "last"] = "letter") -> int | None:
    """Which of `n` answers a reply names best by [[A]], [[B]], ...; None where no tag is in it.

    Of several tags the first in the order of the alphabet counts, wherever it stands, as in the authors' code: a judge
    that mentions [[A]] while it thinks is read as A. `take` "last" takes the one that stands last.
    """
    tags = [f"[[{chr(ord('A') + i)}]]" for i in range(n)]
    at = [(reply or "").rfind(tag) for tag in tags]
    if max(at) < 0:
        return None
    return at.index(max(at)) if take == "last" else next(i for i, place in enumerate(at) if place >= 0)


async def ratings(
    questions: Sequence[Question], ask: Ask, *, invalid: Literal["lowest", "worst-case", "raise"] = "lowest"
) -> list[Scores]:
    """Scores from a judge that rates each answer alone, 1..10. Ties are asked about with a prompt of their own.

    Where nothing was answered the score is NaN, so that a server's failure is not the judge's; the authors count -1.

    Args:
        questions: what is judged.
        ask: answers chats; at temperature 0 with 1024 tokens, in the authors' runs.
        invalid: what a reply without a rating is. "lowest": -1 (the authors'), which helps a model where the answer was
            a wrong one. "worst-case": -1 for a right answer and 11 for a wrong one. "raise" refuses.

    Raises:
        ValueError: `invalid` is "raise" and there is one.
    """
    chats = [rating_messages(q.prompt, a, ties=q.subset == TIES) for q in questions for a in q.answers]
    rated = iter([math.nan if reply is None else parse_rating(reply) for reply in await ask(chats)])
    found = []
    for question in questions:
        scores = question.scores([next(rated) for _ in question.answers])
        if invalid == "raise" and INVALID in (*scores.right, *scores.wrong):
            raise ValueError(f"{question.key}: a reply has no rating from 1 to 10 at its end")
        if invalid == "worst-case":
            scores = Scores(scores.right, [11 if w == INVALID else w for w in scores.wrong])
        found.append(scores)
    return found


async def rankings(
    questions: Sequence[Question], *asks: Ask, generator: torch.Generator, take: Literal["letter", "last"] = "letter"
) -> list[Scores]:
    """Scores from a judge that sees all answers at once: 1 for the one it names, 0 for the others; all 0 for no tag.

    Of several judges the one that most of them name counts, and where two are named as often, the earlier judge's.
    Where none of them answered anything all scores are NaN.

    The right answer stands in the first place or changes it with one drawn from the others, each equally likely, so
    that a reply without a tag counts 1/n in `best_of`, as in the authors' code.

    Raises:
        ValueError: a question has several right answers (those need ratings), or more than 26 answers.
    """
    for question in questions:
        if len(question.right) > 1 or len(question.answers) > 26:
            raise ValueError(
                f"{question.key} has {len(question.right)} right answers of {len(question.answers)}: rate it"
            )
    slots = [int(torch.randint(len(q.answers), (), generator=generator)) for q in questions]
    chats = []
    for question, slot in zip(questions, slots, strict=True):
        order = list(question.answers)
        order[0], order[slot] = order[slot], order[0]
        chats.append(ranking_messages(question.prompt, order))
    replies = zip(*[await ask(chats) for ask in asks], strict=True)
    found = []
    for question, slot, said in zip(questions, slots, replies, strict=True):
        values = [math.nan if set(said) == {None} else 0.0] * len(question.answers)
        named = Counter(at for reply in said if (at := parse_ranking(reply, len(values), take=take)) is not None)
        if named:
            best = named.most_common(1)[0][0]
            values[slot if best == 0 else 0 if best == slot else best] = 1.0
        found.append(question.scores(values))
    return found


def rating_messages(prompt: Prompt, answer: str, *, ties: bool = False) -> list[dict[str, str]]:
    """The chat that asks for the rating of one answer."""
    shown = f"[Request]\n{as_text(prompt)}\n\n[Answer]\n{answer}\n[End of the answer]"
    return [_system("rating_ties" if ties else "rating"), {"role": "user", "content": shown}]


def ranking_messages(prompt: Prompt, answers: Sequence[str]) -> list[dict[str, str]]:
    """The chat that asks which answer is best."""
    letters = [chr(ord("A") + i) for i in range(len(answers))]
    blocks = [f"[Answer {x}]\n{a}\n[End of answer {x}]" for x, a in zip(letters, answers, strict=True)]
    system = _system("ranking")
    system["content"] = system["content"].format(tags=", ".join(f"[[{x}]]" for x in letters))
    return [system, {"role": "user", "content": "\n\n".join([f"[Request]\n{as_text(prompt)}", *blocks])}]


def as_text(prompt: Prompt) -> str:
    """A prompt to be read by a judge: a text as it is, messages with who said them."""
    return prompt if isinstance(prompt, str) else "\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def _system(name: str) -> dict[str, str]:
    text = files("guerdon.compare").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8")
    return {"role": "system", "content": text.strip()}


def _texts(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise ValueError(f"{key}: chosen and rejected are lists of texts, not {type(value).__name__}")
    return tuple(value)


def _twin(key: str) -> tuple[str, str]:
    kind, colon, number = key.partition(":")
    if kind not in ("ref", "tied") or not colon:
        raise ValueError(f"a question of Ties is called ref:<n> or tied:<n>, not {key!r}")
    return kind, number
