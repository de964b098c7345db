"""A question with right and wrong answers: what reward models are examined with."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.parts.one_to_many import Scores
from guerdon.types.protocols import Prompt


@dataclass(frozen=True)
class Question:
    """One prompt and its answers, told apart by who wrote the benchmark.

    Raises:
        ValueError: there is no right or no wrong answer.
    """

    key: str  # its name in the file, for messages and joins
    prompt: Prompt
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    subset: str = ""

    def __post_init__(self) -> None:
        for kind in ("right", "wrong"):
            if not getattr(self, kind):
                raise ValueError(f"{self.key}: a question needs a {kind} answer, and has none")

    @property
    def answers(self) -> tuple[str, ...]:
        """The right ones, then the wrong ones."""
        return self.right + self.wrong

    def scores(self, values: Sequence[float]) -> Scores:
        """The scores of `answers`, told apart. Raises ValueError for another number of them."""
        if len(values) != len(self.answers):
            raise ValueError(f"{self.key} has {len(self.answers)} answers, and {len(values)} scores")
        return Scores(list(values[: len(self.right)]), list(values[len(self.right) :]))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON array or of JSON lines, .gz too. Raises ValueError, with the line, for what is neither."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            text = file.read()
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{path} is no JSON array: {error}") from error
        numbered = [(f"{path}, row {i}", row) for i, row in enumerate(rows, 1)]
    else:
        numbered = []
        for i, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    numbered.append((f"{path}, line {i}", json.loads(line)))
                except ValueError as error:
                    raise ValueError(f"{path}, line {i} is no JSON: {error}") from error
    for where, row in numbered:
        if not isinstance(row, dict):
            raise ValueError(f"{where}: a row is an object, not {type(row).__name__}")
    if not numbered:
        raise ValueError(f"{path} holds no rows")
    return [row for _, row in numbered]
