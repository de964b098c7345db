"""Sampled completions, read from a table of samples or scored anew, and what can be shown on each of their tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Value = float | None | list[float | None]
"""Of the whole completion: a number; of its tokens: a list. None is "not scored"."""

LEVELS = 4
"""Shades on either side of zero."""


@dataclass(frozen=True)
class Sample:
    """One completion with everything that is known of it."""

    prompt: str
    text: str
    tokens: list[str]
    steps: list[int] | None = None
    quantities: dict[str, Value] = field(
        default_factory=dict
    )  # log-probability, reward, advantage, terms; in that order
    stages: dict[str, Value] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)  # training step, group, weight, columns

    def on_tokens(self, name: str) -> list[float | None]:
        """A quantity at each token; one of the whole completion is the same at all of them."""
        value = self.quantities[name]
        return value if isinstance(value, list) else [value] * len(self.tokens)

    def total(self, name: str) -> float | None:
        """Of the whole completion: over tokens the sum, or the mean of advantages; None if one is not scored."""
        return _together(name, self.quantities[name])

    def of_steps(self, name: str) -> dict[int, float | None]:
        """Likewise of each step; nothing for a quantity of the whole completion."""
        value = self.quantities[name]
        if not isinstance(value, list) or self.steps is None:
            return {}
        found: dict[int, list[float | None]] = {}
        for step, v in zip(self.steps, value, strict=True):
            found.setdefault(step, []).append(v)
        return {step: _together(name, values) for step, values in found.items()}


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table of samples, or of a file of completions; `path` may be the folder of a text run.

    Raises:
        ValueError: a line is no object.
        FileNotFoundError: with what was looked for.
    """
    file = path / "samples.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: name a run of `guerdon tune`, or a file of JSON lines")
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{file}, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{file}, line {number}: a row is an object, not {type(row).__name__}")
            yield row


def sample(row: Mapping[str, Any]) -> Sample:
    """A row of a text run's table of samples (see `Batch.table`) as a Sample.

    Raises:
        ValueError: the row has no tokens, or another number of values than tokens.
    """
    if "tokens" not in row or "text" not in row:
        raise ValueError(f"this row has no tokens but {', '.join(row)}: it was not scored; pass --reward, or --model")
    quantities: dict[str, Value] = {}
    for shown, key in (("log-probability", "log_prob"), ("reward", "value"), ("advantage", "advantage")):
        if isinstance(row.get(key), list) or (key == "value" and key in row):
            quantities[shown] = row.get(key)
    quantities |= {f"term {name}": value for name, value in (row.get("terms") or {}).items()}
    stages = dict(row.get("stages") or {})
    for name, value in [*quantities.items(), *stages.items()]:
        if isinstance(value, list) and len(value) != len(row["tokens"]):
            raise ValueError(f"{name} has {len(value)} values for {len(row['tokens'])} tokens")
    columns = row.get("columns") or {}
    kept = {"training step": "step", "group": "group", "weight": "weight"}
    about = {name: row[key] for name, key in kept.items() if row.get(key) is not None} | columns
    prompt = prompt_text(row.get("prompt", ""))
    return Sample(prompt, row["text"], row["tokens"], row.get("steps"), quantities, stages, about)


def prompt_text(prompt: Any) -> str:
    """A prompt as a text: messages with the name of who said each."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{m.get('role', '?')}: {m.get('content', '')}" for m in prompt)


def names(samples: Iterable[Sample]) -> list[str]:
    """The quantities that any of the samples has, the common ones first."""
    found = dict.fromkeys(name for s in samples for name in s.quantities)
    first = [name for name in ("log-probability", "reward", "advantage") if name in found]
    return first + [name for name in found if name not in first]


def scale(samples: Sequence[Sample], name: str) -> float:
    """The size of a quantity that gets the strongest colour: the largest there is; 0 if there is none.

    A few very unlikely tokens would leave all others pale, so that log-probabilities end at -8.
    """
    values = [abs(v) for s in samples if name in s.quantities for v in s.on_tokens(name) if v is not None]
    most = max((v for v in values if math.isfinite(v)), default=0.0)
    return min(most, 8.0) if name == "log-probability" else most


def level(value: float | None, most: float) -> int | None:
    """The shade of a value, -LEVELS to LEVELS; 0 for exactly zero, None for what is not scored."""
    if value is None:
        return None
    if not value or not most:
        return 0
    size = min(LEVELS, max(1, math.ceil(LEVELS * abs(value) / most)))
    return size if value > 0 else -size


def _together(name: str, value: Value) -> float | None:
    if not isinstance(value, list):
        return value
    if not value or any(v is None for v in value):
        return None if value else 0.0
    total = math.fsum(v for v in value if v is not None)
    return total / len(value) if name == "advantage" else total
