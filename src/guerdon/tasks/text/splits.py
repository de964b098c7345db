"""Which questions are trained on and which are held out, whatever the seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from random import Random
from typing import Any, Literal, Protocol

Split = Literal["train", "test"]
Row = dict[str, Any]
"""A question: "prompt", "answer" and further columns."""

HELD_OUT = 0.2
"""Share of the questions that belong to "test"."""


class TextTask(Protocol):
    """Questions for language models: `rows` is deterministic, its keyword-only constructor is the configuration."""

    def rows(self, n: int, seed: int = 0, *, split: Split = "train") -> list[Row]:
        """`n` questions; which ones is settled by the task's options, `seed` and `split`."""
        ...


def random_of(seed: int, split: Split) -> Random:
    """A generator of its own for each seed and split. Raises ValueError for an unknown split."""
    if split not in ("train", "test"):
        raise ValueError(f"split is 'train' or 'test', not {split!r}")
    return Random(f"{split} {seed}")


def in_split(question: str, split: Split) -> bool:
    """Whether a question belongs to this split: settled by its text alone, so that no seed mixes the two."""
    held_out = zlib.crc32(question.encode()) % 1000 < 1000 * HELD_OUT
    return held_out == (split == "test")


def draw(make: Callable[[Random], Row], n: int, seed: int, split: Split, *, tries: int = 1000) -> list[Row]:
    """`n` rows of `make` whose prompts belong to `split`; a question may come again.

    Raises ValueError if `tries` questions in a row belong to the other split: the task has too few of them.
    """
    random, rows = random_of(seed, split), []
    for _ in range(n):
        for _ in range(tries):
            row = make(random)
            if in_split(row["prompt"], split):
                rows.append(row)
                break
        else:
            raise ValueError(f"none of {tries} questions drawn belongs to the {split} split: make the task larger")
    return rows
