"""What `guerdon audit` examines: rewards, folders, servers, judges and files of scores, all brought to numbers."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from guerdon.parts.questions import Question

Mode = Literal["ratings", "ranking", "pairwise"]
Kind = Literal["scores", "folder", "server", "judge", "reward"]
CHUNK = 256
"""Answers between two looks at the progress; what is done is kept on disk."""


@dataclass
class Scored:
    """A number for each answer of each question, NaN where there is none, and how they came about."""

    values: list[list[float]]
    how: str
    reasons: Counter[str] = field(default_factory=Counter)  # why answers have no score
    notes: list[str] = field(default_factory=list)


class Kept:
    """What was found so far, by key, in a file of JSON lines that a killed run leaves behind and the next one reads.

    Args:
        path: None keeps nothing on disk.
        made: what the answers depend on; a file made otherwise is refused.

    Raises:
        ValueError: the file there holds answers of something else, or is damaged.
    """

    def __init__(self, path: Path | None, made: dict[str, Any]) -> None:
        self.path, self.known = path, {}
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        if len(lines) > 1:
            try:
                before, self.known = json.loads(lines[0]), dict(map(json.loads, lines[1:-1]))  # the last was cut short
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path} is damaged ({error}): remove it, or name another --out") from error
            if before != made:
                raise ValueError(f"{path} holds the scores of another model or of other settings: name another --out")
            path.write_bytes(b"\n".join([*lines[:-1], b""]))
        else:
            path.write_text(json.dumps(made) + "\n")

    def add(self, found: dict[str, Any]) -> None:
        """Keeps some more."""
        self.known |= found
        if self.path is not None and found:
            with self.path.open("a") as file:
                file.write("".join(json.dumps(pair) + "\n" for pair in found.items()))


def kind_of(model: str) -> Kind:
    """What an argument names. A file or folder of that name comes before an expression."""
    if not model.strip():
        raise ValueError("the model's name is empty; `guerdon audit --help` says what it may be")
    if model.startswith(("http://", "https://")):
        return "server"
    if (path := Path(model)).exists():
        return "folder" if path.is_dir() else "scores"
    from guerdon import catalogue
    from guerdon.compare.suites import missing

    if "(" not in model and (os.sep in model or path.suffix in (".json", ".jsonl", ".gz")):
        raise ValueError(missing(path))
    called = re.match(r"\s*(?:[\w.]+:)?(\w+)", model)
    name = called[1] if called else ""
    judges, rewards = catalogue.judges(), catalogue.rewards()
    if name in judges or (name not in rewards and difflib.get_close_matches(name, judges, n=1, cutoff=0.7)):
        return "judge"
    return "judge" if ":" in model and _is_own_judge(model) else "reward"


def _is_own_judge(model: str) -> bool:
    from guerdon.expression import ExpressionError, parse_judge

    try:
        parse_judge(model)
    except ExpressionError:
        return False
    return True


def fingerprint(model: str) -> list[Any]:
    """What tells whether a folder or file is what it was: names, sizes and times of its files."""
    path = Path(model)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files if p.is_file()]


def key_of(value: Any) -> str:
    """A short name for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def read_scores(path: Path, questions: Sequence[Question]) -> Scored:
    """Scores from a file of rows {"prompt", "completion", "score" or "reward"}, or {"id", "scores": [...]}.

    Rows are joined on prompt and completion, or on a question's id with its answers in order, right ones first. What
    the file lacks is unscored.

    Raises:
        ValueError: rows of neither kind, a score that is no number, or another number of scores than of answers.
    """
    from guerdon.parts.questions import read_rows

    rows = read_rows(path)
    by: dict[str, float] = {}
    listed: dict[str, list[float]] = {}
    for i, row in enumerate(rows, 1):
        name = next((name for name in ("score", "reward") if name in row), "")
        if {"id", "scores"} <= row.keys() and isinstance(row["scores"], list):
            listed[str(row["id"])] = [_number(v, path, i) for v in row["scores"]]
        elif {"prompt", "completion"} <= row.keys() and name:
            by[key_of([row["prompt"], row["completion"]])] = _number(row[name], path, i)
        else:
            raise ValueError(
                f'{path}, row {i} has the columns {sorted(row)}; a row is {{"prompt", "completion", "score"}} or '
                '{"id", "scores": [...]}'
            )
    values = []
    for question in questions:
        if question.key in listed:
            question.scores(listed[question.key])
            values.append(listed[question.key])
        else:
            values.append([by.get(key_of([question.prompt, answer]), float("nan")) for answer in question.answers])
    missing = sum(v != v for of in values for v in of)
    return Scored(values, "scores from a file", Counter({"not in the file, or null": missing} if missing else {}))


def _number(value: Any, path: Path, row: int) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{path}, row {row}: the score {value!r} is no number")
    return float(value)


def score_answers(
    function: Callable[..., Any], questions: Sequence[Question], kept: Kept, told: Callable[[int, int], None], *,
    batch: int, timeout: float | None, concurrency: int | None = None, chat: bool = False, alone: bool = True,
) -> Scored:  # fmt: skip
    """Scores from anything that `Scoring` runs; each prompt with each answer once, and what fails once more, alone.

    Without `alone`, for what is far away and has retried by itself, there is no second time. With `chat`, a prompt that
    is a text is handed over as a user's message.
    """
    from guerdon.parts.concurrent_scoring import Scoring

    def turn(prompt: Any) -> Any:
        return [{"role": "user", "content": prompt}] if chat and isinstance(prompt, str) else prompt

    groups: dict[str, dict[str, dict[str, Any]]] = {}  # by prompt: its answers are what a reward may compare
    for q in questions:
        of = groups.setdefault(key_of(q.prompt), {})
        of |= {
            key_of([q.prompt, a]): {"prompt": turn(q.prompt), "completion": a, "group": len(groups)} for a in q.answers
        }
    total = sum(map(len, groups.values()))
    todo = [list(of.items()) for of in groups.values() if not of.keys() <= kept.known.keys()]
    reasons: dict[str, str] = {}
    with Scoring(function, concurrency=concurrency, batch=batch, timeout=timeout) as scoring:
        for chunk in _gathered(todo):
            told(len(kept.known), total)
            found = dict(zip((k for k, _ in chunk), scoring.score_now([row for _, row in chunk]), strict=True))
            for key, row in chunk:  # one text too long fails a group, and too many of them what stood beside them
                if alone and found[key].reason == "raised" and len(chunk) > 1:
                    found[key] = scoring.score_now([row])[0]
            kept.add({key: score.value for key, score in found.items() if score.value is not None})
            reasons |= {key: score.why() for key, score in found.items() if score.value is None}
    told(len(kept.known), total)
    values = [[kept.known.get(key_of([q.prompt, a]), float("nan")) for a in q.answers] for q in questions]
    return Scored(values, "scores" + ", prompts in the chat template" * chat, Counter(reasons.values()))


def _gathered(groups: list[list[Any]]) -> Iterator[list[Any]]:
    """The items of as many groups at a time as make a chunk."""
    chunk: list[Any] = []
    for group in groups:
        chunk += group
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
