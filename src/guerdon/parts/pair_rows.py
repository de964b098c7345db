"""Files of preferences: read line by line, with every bad line named, and made into Pairs of completions."""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from guerdon.parts.json_rows import json_rows
from guerdon.types import FIRST, SECOND, TIE, Completions, Pairs
from guerdon.types.protocols import Prompt

FORMS = (
    ("prompt", "chosen", "rejected", None),
    ("prompt", "first", "second", "label"),
    ("input", "output_1", "output_2", "label"),
)
"""Columns of a row: what was asked, the two answers, who won (None: the first of them). The last is LLMBar's."""

OUTCOMES = {"first": FIRST, "second": SECOND, "tie": TIE, 1: FIRST, 2: SECOND, 0.5: TIE}
"""What a label may be in a file, and what it means."""

_READ_AS = "one of " + ", ".join("{" + ", ".join(f'"{name}"' for name in form if name) + "}" for form in FORMS)


class PairRow(NamedTuple):
    """One comparison of a file."""

    prompt: Prompt
    first: str
    second: str
    label: int  # FIRST, SECOND or TIE
    columns: dict[str, Any]  # weight, margin, alpha, user, sample, features and all further columns, as far as given
    where: str  # "FILE, line 3", for messages
    sided: bool = False  # the file's form says who won by the place alone, so that all its rows have one label


@dataclass
class PairReport:
    """What was wrong with a file."""

    file: str
    rows: int = 0  # that can be used
    bad: list[str] = field(default_factory=list)  # "FILE, line 3: reason"
    duplicates: list[str] = field(default_factory=list)  # "FILE, line 9: as FILE, line 2"
    contradictions: list[str] = field(default_factory=list)
    one_sided: str = ""  # why the order of the two could tell the answer, if it could

    def lines(self, shown: int = 5) -> list[str]:
        """The report in words, a line each, with the first `shown` cases of each kind; nothing if all was well."""
        kinds = {
            "bad lines": self.bad,
            "duplicates (same pair, same outcome)": self.duplicates,
            "contradictions (same pair, another outcome)": self.contradictions,
        }
        said = [f"{self.file}: {len(cases)} {kind}: {_some(cases, shown)}" for kind, cases in kinds.items() if cases]
        return said + ([f"{self.file}: {self.one_sided}"] if self.one_sided else [])


def read_pairs(
    path: str | Path, *, bad: Literal["raise", "skip"] = "raise", repeats: Literal["keep", "drop"] = "keep"
) -> tuple[list[PairRow], PairReport]:
    """Reads a file of comparisons: JSON lines, or one JSON list; .gz is unpacked.

    A row is one of

    - {"prompt", "chosen", "rejected"}: texts, or messages {"role", "content"}. Without "prompt" it is what both answers
      begin with (TRL's implicit prompt): their common messages, or their common text up to the last whole word.
    - {"prompt", "first", "second", "label"}: label "first", "second", "tie", 1, 2 or 0.5 (a tie).
    - {"input", "output_1", "output_2", "label"}: LLMBar's.

    Optional columns: "weight" (finite, at least 0), "margin" (finite), "alpha" (the chance that the label is wrong, 0
    to 0.5), "user", "sample", and "features" {name: number, or [of the one, of the other]}. All others are kept.

    Two rows are about the same pair if user, prompt and both answers are equal, in either order. They are counted, and
    kept: two answers to a question are two observations. With ``repeats="drop"`` the first of equal ones stays, and of
    a pair with several outcomes nothing does.

    Rows that say who won by a label are `one_sided` if more than ten of them have a winner and it is always the same
    place: the order then tells the answer to whatever reads it. That is reported, not refused.

    Returns:
        The rows, in their order, and what was wrong.

    Raises:
        ValueError: the file cannot be read as text or has no usable row; or a line is bad, unless ``bad="skip"``.
    """
    report, rows = PairReport(str(path)), []
    for place, value in json_rows(Path(path)):
        where = f"{path}, {place}"
        try:
            rows.append(pair_row(value, where))
        except (ValueError, RecursionError) as error:
            report.bad.append(f"{where}: {error}")
    if report.bad and bad == "raise":
        raise ValueError(
            f"{len(report.bad)} bad lines: {_some(report.bad)}. Mend them, or leave them out with bad='skip' "
            f"(--bad skip of a command); {len(rows)} others are good"
        )
    rows = _find_repeats(rows, report, repeats)
    report.rows = len(rows)
    if not rows:
        raise ValueError(f"{path} compares nothing; a row is {_READ_AS}")
    winners = Counter(row.label for row in rows if not row.sided and row.label != TIE)
    if len(winners) == 1 and winners.total() > 10:
        side = "first" if FIRST in winners else "second"
        report.one_sided = (
            f"all {winners.total()} pairs with a winner name the {side}: whoever sees the order knows the answer; "
            "draw the order when the pairs are made, or here by to_pairs(rows, generator=...)"
        )
    return rows, report


def to_pairs(rows: Sequence[PairRow], *, generator: torch.Generator | None = None) -> Pairs:
    """Pairs of Completions (texts without tokens: ids [N, 0]) of rows; with a generator a coin swaps first and second.

    `weight` is 1 where a row has none, and None if no row has one. Pairs.columns holds "margin" (0 where a row has
    none), "alpha" (likewise), "where", and all further columns (None where a row has none). Each of "features" is a
    column of both completions.

    Raises:
        ValueError: no rows, or some rows have other features than the first.
    """
    if not rows:
        raise ValueError("there are no pairs")
    n = len(rows)
    swap = (torch.rand(n, generator=generator) < 0.5).tolist() if generator is not None else [False] * n
    texts = [(r.second, r.first) if s else (r.first, r.second) for r, s in zip(rows, swap, strict=True)]
    label = [r.label if r.label == TIE or not s else FIRST + SECOND - r.label for r, s in zip(rows, swap, strict=True)]
    names = {name: None for row in rows for name in row.columns if name not in ("weight", "features")}
    fill = {"margin": 0.0, "alpha": 0.0}
    columns: dict[str, list[Any]] = {name: [r.columns.get(name, fill.get(name)) for r in rows] for name in names}
    columns["where"] = [row.where for row in rows]
    features = list(rows[0].columns.get("features", {}))
    for row in rows:
        if sorted(row.columns.get("features", {})) != sorted(features):
            raise ValueError(
                f"{row.where} has the features {sorted(row.columns.get('features', {}))}, the first row {features}"
            )

    def side(i: int) -> Completions:
        own = {f: [r.columns["features"][f][i ^ s] for r, s in zip(rows, swap, strict=True)] for f in features}
        empty = torch.zeros(n, 0, dtype=torch.long)
        return Completions(
            prompt=[r.prompt for r in rows], text=[t[i] for t in texts], ids=empty, mask=empty.bool(), columns=own
        )

    weighted = any("weight" in row.columns for row in rows)
    weight = torch.tensor([float(row.columns.get("weight", 1.0)) for row in rows]) if weighted else None
    return Pairs(first=side(0), second=side(1), label=torch.tensor(label), weight=weight, columns=columns)


def pair_row(value: Any, where: str) -> PairRow:
    """The comparison that a parsed line holds. Raises ValueError with the reason why it holds none."""
    if isinstance(value, ValueError):
        raise value
    if not isinstance(value, Mapping):
        raise ValueError(f"it is no JSON object but {type(value).__name__}; a row is {_READ_AS}")
    there = [f for f in FORMS if f[1] in value and f[2] in value and (f[3] is None or f[0] in value)]
    if len(there) != 1:
        wanted = [name for form in FORMS for name in form if name]
        near = {k: difflib.get_close_matches(k, wanted, 1, 0.7) for k in value if k not in wanted}
        hint = "".join(f"; is {k!r} meant to be {v[0]!r}?" for k, v in near.items() if v)
        raise ValueError(f"it has the columns {sorted(value)}, but a row is {_READ_AS}{hint}")
    asked, one, other, told = there[0]
    prompt, first, second = _texts(value.get(asked), value[one], value[other], (one, other))
    label = FIRST if told is None else _outcome(value.get(told), told)
    if first == second and label != TIE:
        raise ValueError(f"{one} and {other} are the same, so neither can be better")
    columns = {k: v for k, v in value.items() if k not in there[0]}
    return PairRow(prompt, first, second, label, _checked(columns), where, sided=told is None)


def _outcome(label: Any, name: str) -> int:
    if not isinstance(label, bool) and isinstance(label, (str, int, float)) and label in OUTCOMES:
        return OUTCOMES[label]
    near = difflib.get_close_matches(str(label).lower(), ["first", "second", "tie"], 1)
    hint = f"; is {near[0]!r} meant?" if near else ""
    raise ValueError(f'{name} {label!r} is none of "first", "second", "tie", 1, 2, 0.5{hint}')


def _texts(prompt: Any, first: Any, second: Any, names: tuple[str, str]) -> tuple[Any, Any, Any]:
    """Prompt and the two texts of answers that may be messages and may begin with the prompt."""
    if isinstance(first, list) and isinstance(second, list):
        shared = [a for a, _ in takewhile(lambda two: two[0] == two[1], zip(first, second, strict=False))]
        if first == second and shared:
            shared = shared[:-1]
        if prompt is None or (shared and (prompt == shared or prompt == _content(shared[-1]))):
            prompt = shared
        elif shared:
            raise ValueError(f"{names[0]} and {names[1]} begin with messages that are not the prompt")
        rest = (first[len(shared) :], second[len(shared) :])
        for name, messages in zip(names, rest, strict=True):
            if len(messages) != 1:
                raise ValueError(f"{name} has {len(messages)} messages after what both share, not one")
        first, second = (_content(messages[0]) for messages in rest)
    elif prompt is None and isinstance(first, str) and isinstance(second, str):
        same = len(list(takewhile(lambda two: two[0] == two[1], zip(first, second, strict=False))))
        same = max((i for i in range(same) if first[i].isspace()), default=0)
        prompt, first, second = first[:same], first[same:], second[same:]
    if strange := [name for name, text in zip(names, (first, second), strict=True) if not isinstance(text, str)]:
        raise ValueError(f"{strange[0]} is neither a text nor messages {{'role', 'content'}}, as the other one is")
    listed = isinstance(prompt, list) and prompt and None not in map(_content, prompt)
    if not isinstance(prompt, str) and not listed:
        raise ValueError("the prompt is neither a text nor a list of messages {'role', 'content'}")
    try:
        json.dumps([prompt, first, second], ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("it holds half a character (a lone surrogate)") from None
    return prompt, first, second


def _content(message: Any) -> str | None:
    """What a message says; None if it is no message of text."""
    named = isinstance(message, Mapping) and isinstance(message.get("role"), str)
    return message["content"] if named and isinstance(message.get("content"), str) else None


def _checked(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns with numbers where numbers belong; those that are null are left out."""
    columns = {name: value for name, value in columns.items() if value is not None}
    for name, low, high in (("weight", 0.0, math.inf), ("margin", -math.inf, math.inf), ("alpha", 0.0, 0.5)):
        if name in columns and not (_is_number(columns[name]) and low <= columns[name] <= high):
            raise ValueError(f"{name} is {columns[name]!r}, not a finite number from {low:g} to {high:g}")
    if "features" in columns:
        features = columns["features"]
        if not isinstance(features, Mapping):
            raise ValueError(f"features is {features!r}, not {{name: number, or [of the one, of the other]}}")
        both = {k: list(v) if isinstance(v, list) else [v, v] for k, v in features.items()}
        for name, values in both.items():
            if len(values) != 2 or not all(map(_is_number, values)):
                raise ValueError(f"the feature {name!r} is {features[name]!r}, not a finite number or two of them")
        columns["features"] = both
    return columns


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _find_repeats(rows: list[PairRow], report: PairReport, repeats: str) -> list[PairRow]:
    """Notes rows about a pair that was there before; returns all, or those that `repeats` keeps."""
    seen: dict[tuple[str, ...], PairRow] = {}
    torn, again = set(), set()
    for i, row in enumerate(rows):
        order = row.first <= row.second
        texts = (row.first, row.second) if order else (row.second, row.first)
        key = (repr(row.columns.get("user")), repr(row.prompt), *texts)
        before = seen.setdefault(key, row)
        if before is row:
            continue
        winners = [None if r.label == TIE else (r.first, r.second)[r.label] for r in (before, row)]
        same = winners[0] == winners[1]
        (report.duplicates if same else report.contradictions).append(f"{row.where}: as {before.where}")
        again.add(i)
        if not same:
            torn.add(key)
    if repeats == "keep":
        return rows
    keys = {id(row): key for key, row in seen.items()}
    return [row for i, row in enumerate(rows) if i not in again and keys[id(row)] not in torn]


def _some(cases: list[str], shown: int = 5) -> str:
    return "; ".join(cases[:shown]) + (f"; and {len(cases) - shown} more" if len(cases) > shown else "")
