"""A record of judgements: what somebody said of captions, and of pairs of them, as JSON lines."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from guerdon.types import FIRST, SECOND, TIE

PREFERRED = {"a": FIRST, "b": SECOND, "tie": TIE}


class Entry(NamedTuple):
    """What is said of one caption."""

    helpful: float  # 0..1
    value: float  # its place on a finer scale, if the record has one; else `helpful`
    template: str = ""  # captions that differ only in names and numbers share one


@dataclass
class Record:
    """The judged captions, the compared pairs, and a short hash of the file they came from."""

    captions: dict[str, Entry] = field(default_factory=dict)
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)  # FIRST, SECOND or TIE
    version: str = ""


def read_record(path: str | Path | None = None) -> Record:
    """Reads a record; without `path`, the NetHack captions that come with the package.

    A line is one JSON object: ``{"caption": text, "helpful": 0..1}``, maybe with a ``"value"`` >= 0 on a finer scale
    and a ``"template"``; or ``{"a": text, "b": text, "preferred": "a", "b" or "tie"}``; or a row that
    ``guerdon labels STORE --export`` wrote, so that the answers of a paid judge can be replayed; its rows with a reason
    in place of a label are left out. Other keys and empty lines are ignored. Files that end in .gz are unpacked. Of two
    lines about the same caption the later one counts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line that is neither, with the file's name and the line's number; or a file without captions.
    """
    packaged = files("guerdon.judges") / "data" / "nethack_captions" / "record.jsonl.gz"
    source = packaged if path is None else Path(path)
    data = source.read_bytes()
    record = Record(version=hashlib.sha256(data).hexdigest()[:8])
    text = gzip.decompress(data) if str(source).endswith(".gz") else data
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                _read_line(json.loads(line.decode("utf-8")), record)
            except (ValueError, KeyError, TypeError) as error:
                said = f"the key {error} is missing" if isinstance(error, KeyError) else error
                raise ValueError(f"{source}, line {number}: {said}") from error
    if not record.captions:
        raise ValueError(
            f"{source} judges no caption; expected lines like {{'caption': 'You see a key.', 'helpful': 1}}"
        )
    return record


def _read_line(row: Any, record: Record) -> None:
    if not isinstance(row, dict):
        raise TypeError(f"expected a JSON object, got {json.dumps(row)[:60]}")
    if "item" in row:  # of a label store
        if row["value"] is None:
            return
        if isinstance(row["item"], str):
            row = {"caption": row["item"], "helpful": row["value"]}
        else:
            preferred = {outcome: word for word, outcome in PREFERRED.items()}
            first, second = row["item"]
            row = {"a": first, "b": second, "preferred": preferred.get(row["value"], row["value"])}
    if "caption" in row:
        helpful = _number(row, "helpful")
        if not 0 <= helpful <= 1:
            raise ValueError(f"'helpful' must lie in 0..1, got {helpful:g}")
        value = _number(row, "value") if "value" in row else helpful
        if value < 0:
            raise ValueError(f"'value' must not be negative, got {value:g}")
        record.captions[_text(row, "caption")] = Entry(helpful, value, str(row.get("template", "")))
    elif "a" in row or "b" in row:
        preferred = row["preferred"]
        if preferred not in PREFERRED:
            raise ValueError(f"'preferred' must be 'a', 'b' or 'tie', got {preferred!r}")
        record.pairs[_text(row, "a"), _text(row, "b")] = PREFERRED[preferred]
    else:
        raise ValueError("expected the keys 'caption' and 'helpful', or 'a', 'b' and 'preferred'")


def _text(row: dict[str, Any], key: str) -> str:
    if not isinstance(row[key], str):
        raise TypeError(f"{key!r} must be a text, got {row[key]!r}")
    return row[key]


def _number(row: dict[str, Any], key: str) -> float:
    if not isinstance(row[key], (int, float)):  # True and False are numbers here
        raise TypeError(f"{key!r} must be a number, got {row[key]!r}")
    return float(row[key])
