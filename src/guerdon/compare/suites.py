"""Files that reward models are examined with, in the formats in which they are published."""

from __future__ import annotations

import difflib
import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from guerdon.compare import contrast_instructions, rewardbench2, rewardmath
from guerdon.parts.pair_rows import read_pairs
from guerdon.parts.questions import Question, read_rows
from guerdon.parts.step_aggregators import Aggregator
from guerdon.types import FIRST, TIE

Form = Literal["RewardBench 2", "RewardMATH", "contrast instructions", "pairs"]

_SIGNS: dict[Form, tuple[str, ...]] = {
    "contrast instructions": ("query", "retrieval"),
    "RewardMATH": ("problem", "problem_id"),
    "RewardBench 2": ("chosen", "rejected", "subset"),
    "pairs": (),
}
"""The columns by which a file is told; RewardBench 2's "chosen" is a list besides."""


@dataclass
class Suite:
    """The questions of one or more files of one form."""

    form: Form
    questions: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was left out or looks wrong
    texts: bool = True  # False where answers are known by their writers' names alone

    @property
    def subsets(self) -> list[str]:
        """Their names, in the order of the files."""
        return list(dict.fromkeys(question.subset for question in self.questions))


def read_suite(paths: Sequence[Path], *, bad: Literal["raise", "skip"] = "raise") -> Suite:
    """Reads files, or folders of them: .json, .jsonl, also packed with gzip.

    - RewardBench 2: records {id, prompt, chosen: [...], rejected: [...], subset, ...}.
    - RewardMATH: rows {problem_id, problem, eval_solution, solution_type, ...}, or its pairwise file.
    - Contrast Instructions: rows {query, retrieval, query_response_k, retrieval_response_k, ...}.
    - Everything else is read as pairs, LLMBar's among them: see `read_pairs`. A subset is a row's "subset", else the
      file's name. Ties have no right answer: they are left out and counted.

    Args:
        paths: of one form all.
        bad: whether bad lines of files of pairs are refused or left out and named.

    Raises:
        ValueError: a file is missing, empty, of another form than the first, or cannot be read; the message says where.
    """
    found: Suite | None = None
    for path in _files(paths):
        form = form_of(path)
        if found is None:
            found = Suite(form)
        if form != found.form:
            raise ValueError(f"{path} is a file of {form}, but those before it of {found.form}: audit them apart")
        _READERS[form](path, found, bad)
    assert found, "_files gives at least one"
    return found


def score_file(path: Path, how: Aggregator | None) -> tuple[Suite, list[list[float]]] | None:
    """Questions and scores of a score file of RewardMATH's authors; None where the file is another.

    `how` aggregates step scores, "prod" where none is named (the paper's main setting, reconstructed).
    """
    row = _first_row(path)
    if not {"problem", "solution_reference", "score"} <= row.keys():
        return None
    steps = any(isinstance(value, list) for value in row["score"])
    rows, suite = read_rows(path), Suite("RewardMATH", texts=False)
    found = rewardmath.read_scores(rows, how=(how or "prod") if steps else None, where=str(path))
    values = []
    for number, (row, (problem, scores)) in enumerate(zip(rows, found, strict=True), 1):
        wrong = tuple(name for name in row["solution_reference"] if name != rewardmath.RIGHT)
        key = f"{path}, row {number}"
        suite.questions.append(Question(key, problem, (rewardmath.RIGHT,) * len(scores.right), wrong, "RewardMATH"))
        values.append([*scores.right, *scores.wrong])
    if steps:
        suite.notes.append(f"{path}: step scores are aggregated by {how or 'prod'}")
    return suite, values


def form_of(path: Path) -> Form:
    """The form of a file, by the columns of its first row."""
    row = _first_row(path)
    for form, columns in _SIGNS.items():
        if all(name in row for name in columns) and (form != "RewardBench 2" or isinstance(row["chosen"], list)):
            if form == "RewardBench 2" and row["chosen"] and not isinstance(row["chosen"][0], str):
                continue  # a pair of conversations with a subset of its own
            return form
    return "pairs"


def _first_row(path: Path) -> dict[str, Any]:
    """The first object of a file; empty where there is none to be read, which its reader will then say."""
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            head = "".join(islice(file, 1)).strip()
            row = json.loads(head) if head.startswith("{") else json.loads(head + file.read())[0]
    except (OSError, ValueError, LookupError, EOFError):
        return {}
    return row if isinstance(row, dict) else {}


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.iterdir() if _stem(p) != p.name) if path.is_dir() else [path]
        if not inside or not all(p.is_file() for p in inside):
            raise ValueError(f"{path} holds no .json or .jsonl file" if path.is_dir() else missing(path))
        found += inside
    if not found:
        raise ValueError("name a file to examine with")
    return found


def missing(path: Path) -> str:
    """That there is no such file, and the nearest name that there is."""
    near = difflib.get_close_matches(path.name, os.listdir(path.parent) if path.parent.is_dir() else [], n=1)
    return f"there is no file {path}" + (f"; did you mean {path.parent / near[0]}?" if near else "")


def _stem(path: Path) -> str:
    """The name without the endings that are read."""
    name = path.name.removesuffix(".gz")
    return name.removesuffix(".jsonl").removesuffix(".json")


def _read_rewardbench2(path: Path, suite: Suite, bad: str) -> None:
    suite.questions += rewardbench2.read_records(read_rows(path), str(path))


def _read_rewardmath(path: Path, suite: Suite, bad: str) -> None:
    suite.questions += rewardmath.read_problems(read_rows(path), str(path))


def _read_contrasts(path: Path, suite: Suite, bad: str) -> None:
    items, left_out = contrast_instructions.read_contrasts(read_rows(path), str(path))
    suite.questions += contrast_instructions.as_questions(items, where=_stem(path))
    if left_out:
        suite.notes.append(f"{path}: {left_out} items have the same response for both instructions, and are left out")


def _read_pairs(path: Path, suite: Suite, bad: Literal["raise", "skip"]) -> None:
    rows, report = read_pairs(path, bad=bad)
    suite.notes += report.lines()
    decided = [row for row in rows if row.label != TIE]
    if len(decided) < len(rows):
        suite.notes.append(f"{path}: {len(rows) - len(decided)} ties have no right answer, and are left out")
    for row in decided:
        right, wrong = (row.first, row.second) if row.label == FIRST else (row.second, row.first)
        subset = row.columns.get("subset", _stem(path))
        suite.questions.append(Question(row.where, row.prompt, (right,), (wrong,), str(subset)))


_READERS = {
    "RewardBench 2": _read_rewardbench2,
    "RewardMATH": _read_rewardmath,
    "contrast instructions": _read_contrasts,
    "pairs": _read_pairs,
}
