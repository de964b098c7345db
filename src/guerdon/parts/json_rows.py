"""Files of JSON rows, in which a bad one is a value like any other, so that all of them can be named."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Place and parsed value of each line or list item; a value that is no JSON is the ValueError that says so.

    Raises:
        ValueError: the file cannot be read at all.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            lines = file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not next((line for line in lines if line.strip()), b"").lstrip().startswith(b"["):
        yield from ((f"line {i}", _json(line)) for i, line in enumerate(lines, 1) if line.strip())
        return
    listed = _json(b"\n".join(lines))
    if isinstance(listed, ValueError):
        raise ValueError(f"{path} begins as a JSON list, but {listed}")
    yield from ((f"item {i}", value) for i, value in enumerate(listed, 1))


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        return ValueError("it is not UTF-8")
    except (ValueError, RecursionError) as error:
        return ValueError(f"it is no JSON ({error})")
