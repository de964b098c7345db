"""What people are to compare: a file of pairs of texts, or of recorded trajectories beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from guerdon.parts.json_rows import json_rows
from guerdon.parts.pair_rows import PairReport, pair_row
from guerdon.serve.replay import check_replay
from guerdon.types.protocols import Prompt

FILES = ("first_file", "second_file")
"""Columns of a row about trajectories: recordings in the queue's folder or below."""

GIVEN = ("chosen", "label")
"""Columns that say who won: a row with one of them has an answer already, which is not shown."""


class Pair(NamedTuple):
    """Two texts or trajectories to compare."""

    item: tuple[str, str]  # what the store keeps: texts with their prompt before them, or files and their digests
    prompt: Prompt
    first: str
    second: str
    files: tuple[Path, Path] | None
    given: int | None  # FIRST, SECOND or TIE if the file has an answer
    scores: list[Any] | None  # of first and of second: numbers, or lists of them by the members of an ensemble
    columns: dict[str, Any]  # all further ones


class LabelQueue:
    """The pairs of a file, read once; `by_key` finds one by what a page calls it.

    A row is one of those of `guerdon.parts.pair_rows` (the label may be missing), or {"first_file", "second_file"}:
    paths of recordings (see `guerdon.serve.replay`) relative to the file's folder, which they may not leave; "prompt",
    "first" and "second" are then texts to go with them and may be missing. "scores" holds what a reward or the members
    of an ensemble gave (see `margins`). Of equal pairs the first stays.

    Raises:
        ValueError: a line is bad (unless ``bad="skip"``), or there is none to compare.
    """

    def __init__(self, path: str | Path, *, bad: Literal["raise", "skip"] = "raise") -> None:
        self.path = Path(path)
        self.folder = self.path.parent.resolve()
        self.report = PairReport(str(path))
        self.pairs: list[Pair] = []
        seen: dict[frozenset[str], str] = {}
        for place, value in json_rows(self.path):
            where = f"{path}, {place}"
            try:
                pair = self._pair(value, where)
            except (ValueError, OSError) as error:
                self.report.bad.append(f"{where}: {error}")
                continue
            before = seen.setdefault(frozenset(pair.item), where)
            if before != where:
                self.report.duplicates.append(f"{where}: as {before}")
            else:
                self.pairs.append(pair)
        self.report.rows = len(self.pairs)
        if self.report.bad and bad == "raise":
            cases = "; ".join(self.report.bad[:5])
            raise ValueError(f"{len(self.report.bad)} bad lines: {cases}. Mend them, or leave them out with --bad skip")
        if not self.pairs:
            raise ValueError(f"{path} holds no pair to compare")
        self.by_key = {key(pair.item): pair for pair in self.pairs}

    def file(self, pair: Pair, side: int) -> Path:
        """The recording on one side of a pair. Raises ValueError if it is not in the queue's folder any more."""
        if pair.files is None:
            raise ValueError("this pair is one of texts")
        return self._inside(os.path.relpath(pair.files[side], self.folder))

    def _pair(self, value: Any, where: str) -> Pair:
        if not isinstance(value, Mapping):
            pair_row(value, where)  # says what a row is
        row, files = dict(value), None
        if any(name in row for name in FILES):
            names = [row.pop(name, None) for name in FILES]
            if not all(isinstance(name, str) and name for name in names):
                raise ValueError(f"a pair of recordings names two files, {' and '.join(FILES)}")
            files = self._inside(names[0]), self._inside(names[1])
            for path in files:
                check_replay(path)
            row = {"prompt": "", "first": names[0], "second": names[1]} | row
        unlabelled = not any(row.get(name) is not None for name in GIVEN)
        if unlabelled:
            row["label"] = "tie"
        read = pair_row(row, where)
        columns = dict(read.columns)
        if (scores := columns.pop("scores", None)) is not None:
            margins(scores)
        if files is None:
            asked = written(read.prompt)
            one, other = ("\n\n".join(filter(None, (asked, text))) for text in (read.first, read.second))
            same = one == other
        else:
            digests = [_digest(path) for path in files]
            one, other = (f"{p.relative_to(self.folder).as_posix()} {d}" for p, d in zip(files, digests, strict=True))
            same = digests[0] == digests[1]
        if same:
            raise ValueError("both sides are the same, so neither can be better")
        given = None if unlabelled else read.label
        return Pair((one, other), read.prompt, read.first, read.second, files, given, scores, columns)

    def _inside(self, name: str) -> Path:
        """A file of the queue's folder; nothing that its path, or a link on it, leads to elsewhere."""
        if "\0" in name or os.path.isabs(name):
            raise ValueError(f"{name!r} is not in the queue's folder")
        path = (self.folder / name).resolve()
        reached = [path, *(child.resolve() for child in path.iterdir())] if path.is_dir() else [path]
        if path == self.folder or not all(found.is_relative_to(self.folder) for found in reached):
            raise ValueError(f"{name!r} is not in the queue's folder, or leads out of it")
        return path


def written(prompt: Prompt) -> str:
    """A prompt as one text; messages with their roles."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def key(item: tuple[str, str]) -> str:
    """What a page calls a pair."""
    return blake2b(json.dumps(item).encode(), digest_size=16).hexdigest()


def margins(scores: Any) -> np.ndarray:
    """[M] of M members: the score of the second minus that of the first; NaN where one is not scored.

    Raises:
        ValueError: `scores` is not two numbers, or two equally long lists of them.
    """
    try:
        sides = np.array([[math.nan if x is None else float(x) for x in np.atleast_1d(side)] for side in scores])
    except (TypeError, ValueError):
        sides = np.zeros(0)
    if sides.ndim != 2 or len(sides) != 2 or not sides.size or np.isinf(sides).any():
        raise ValueError(f"scores is {scores!r}, not [of first, of second]: two finite numbers, or two lists of them")
    return sides[1] - sides[0]


def uncertainty(differences: Sequence[np.ndarray]) -> np.ndarray:
    """[N] how little scores tell about who wins N pairs: 0 where they are sure, ln 2 where they know nothing.

    The entropy of ``p = mean over members of sigmoid(margin / scale)``, with each member's root mean square margin as
    scale: high where a member cannot tell the two apart, and where members contradict each other. A pair that no member
    has scored counts as one of which nothing is known.

    Args:
        differences: of each pair the `margins` [M].

    Raises:
        ValueError: the pairs have been scored by different numbers of members.
    """
    if len({len(found) for found in differences}) != 1:
        raise ValueError("all pairs need scores, and of equally many members")
    table = np.stack(list(differences))
    known = np.isfinite(table)
    table = np.where(known, table, 0.0)
    scale = np.sqrt((table**2).sum(0) / np.maximum(known.sum(0), 1))
    votes = 1 / (1 + np.exp(-table / np.where(scale > 0, scale, 1.0)))
    p = np.where(known, votes, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    p = np.where(known.any(1), p, 0.5)
    return -(p * np.log(np.clip(p, 1e-300, 1)) + (1 - p) * np.log(np.clip(1 - p, 1e-300, 1)))


def _digest(path: Path) -> str:
    """A short digest of a file, or of a folder's files with their names."""
    made = blake2b(digest_size=8)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            made.update(file.name.encode() + b"\0" + file.read_bytes())
    return made.hexdigest()
