"""Reads the folders that training runs leave, and puts runs that differ only in their seed together as an arm."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95 % points of Student's t for 1, 2, ... 10 degrees of freedom; 1.96 + 2.7 / n is close beyond."""


class Spread(NamedTuple):
    """A mean over seeds with its 95 % interval (Student's t), and each seed's own value; one seed has no interval."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


class Curve(NamedTuple):
    """A figure over environment steps: each seed's line, and mean and interval where every seed has values."""

    steps: np.ndarray  # [n]
    mean: np.ndarray  # [n]
    low: np.ndarray  # [n]; equals `mean` for one seed
    high: np.ndarray  # [n]
    seeds: list[tuple[np.ndarray, np.ndarray]]  # (steps, values) of each seed


@dataclass(frozen=True)
class Run:
    """One training run, as read from its folder."""

    folder: Path
    config: dict[str, Any]
    progress: list[dict[str, Any]]
    captions: list[dict[str, Any]]
    done: dict[str, Any] | None  # None while it runs, or after a crash
    cut: bool = False  # the last row of progress was not whole

    @property
    def seed(self) -> Any:
        """The seed it was started with."""
        return self.config.get("seed", "?")

    @cached_property
    def task(self) -> str:
        """The task with its options."""
        options = self.config.get("option") or ()
        return f"{self.config['task']} ({', '.join(options)})" if options else self.config["task"]

    @property
    def arm(self) -> str:
        """What it has in common with runs that differ in the seed: its label, or its reward and judge."""
        if self.config.get("arm"):
            return self.config["arm"]
        judge = self.config.get("judge")
        return self.config["reward"] + (f" | {judge}" if judge else "")

    @property
    def steps(self) -> int:
        """Environment steps done."""
        return int(self.progress[-1]["step"]) if self.progress else 0

    @cached_property
    def keys(self) -> list[str]:
        """The figures that it has a finite number of, in order of first mention."""
        return list(dict.fromkeys(key for row in self.progress for key, value in row.items() if _finite(value)))

    def rows(self, key: str) -> list[dict[str, Any]]:
        """The rows of progress that have a finite number under `key`."""
        return [row for row in self.progress if _finite(row.get(key))]

    def curve(self, key: str, points: int = 60) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values): `key` in at most so many equal stretches of the run, without those that have no value."""
        steps, paid, episodes = self._columns(key)
        stretch = np.minimum(steps * points // max(self.steps, 1), points - 1).astype(int)
        total, weight, rows = (np.bincount(stretch, x, points) for x in (paid, episodes, np.ones(len(steps))))
        some = weight > 0
        return np.bincount(stretch, steps, points)[some] / rows[some], total[some] / weight[some]

    def final(self, key: str) -> float | None:
        """The mean of `key` over the last tenth of the steps, or None if it has no value there."""
        steps, paid, episodes = self._columns(key)
        late = steps > 0.9 * self.steps
        return float(paid[late].sum() / episodes[late].sum()) if episodes[late].sum() else None

    def _columns(self, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps, values times weights, and weights of the rows with a finite `key`.

        Figures of episodes weigh as many as ended in that row. What is paid per episode is all that was paid, also
        while none ended, over the number that ended.
        """
        rows = self.rows(key)
        steps, values = (np.array([row[k] for row in rows], float) for k in ("step", key))
        ended = np.ones(len(rows))
        if key.startswith("episode/") or key.endswith("/per_episode"):
            default = 0.0 if "episode/count" in self.keys else 1.0
            ended = np.array([row.get("episode/count", default) for row in rows], float)
        return steps, values * (np.maximum(ended, 1) if key.endswith("/per_episode") else ended), ended

    def last(self, key: str) -> float | None:
        """The last finite value of `key`."""
        rows = self.rows(key)
        return float(rows[-1][key]) if rows else None


@dataclass(frozen=True)
class Arm:
    """Runs that differ in their seed only."""

    name: str
    runs: list[Run]

    @property
    def reward(self) -> str:
        """The reward expression."""
        return self.runs[0].config["reward"]

    @property
    def judge(self) -> str | None:
        """The judge expression, or None if nobody was asked."""
        return self.runs[0].config.get("judge")

    def final(self, key: str) -> Spread | None:
        """Mean over seeds of the last tenth of the steps; None where no seed has a value."""
        values = [value for run in self.runs if (value := run.final(key)) is not None]
        if not values:
            return None
        mean, half = float(np.mean(values)), float(half_width(np.asarray(values)))
        return Spread(mean, mean - half, mean + half, tuple(values))

    def curve(self, key: str, points: int = 60) -> Curve | None:
        """`key` over steps; None where no seed has a value."""
        seeds = [curve for run in self.runs if len((curve := run.curve(key, points))[0])]
        if not seeds:
            return None
        start, end = max(x[0] for x, _ in seeds), min(x[-1] for x, _ in seeds)
        steps = np.linspace(start, max(start, end), points if end > start else 1)
        values = np.stack([np.interp(steps, x, y) for x, y in seeds])
        mean, half = values.mean(0), half_width(values)
        return Curve(steps, mean, mean - half, mean + half, seeds)


def half_width(values: np.ndarray) -> np.ndarray:
    """Half of the 95 % interval of the mean over the first axis; 0 for a single value."""
    n = len(values)
    if n < 2:
        return np.zeros(values.shape[1:])
    student = STUDENT[n - 2] if n - 2 < len(STUDENT) else 1.96 + 2.7 / n
    return student * values.std(0, ddof=1) / math.sqrt(n)


def read_run(folder: str | Path) -> Run:
    """The run in `folder`.

    Raises:
        ValueError: a file is missing or damaged; the message names it, and the line where there is one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        near = sorted(p.parent.name for p in folder.parent.glob("*/config.json")) if folder.parent.is_dir() else []
        hint = f"; {folder.parent} has the runs {', '.join(near)}" if near else ""
        raise ValueError(f"{folder} is not a folder{hint}")
    config = _read(folder / "config.json", dict)
    missing = [key for key in ("task", "reward") if not isinstance(config.get(key), str)]
    if missing:
        raise ValueError(
            f"{folder / 'config.json'} lacks {' and '.join(missing)}: it is no configuration of a guerdon run"
        )
    done = _read(folder / "done.json", dict) if (folder / "done.json").exists() else None
    captions = _read(folder / "captions.json", list) if (folder / "captions.json").exists() else []
    for i, row in enumerate(captions):
        if not isinstance(row, dict) or not isinstance(row.get("caption"), str) or not _finite(row.get("paid")):
            raise ValueError(f"{folder / 'captions.json'} is damaged: entry {i} has no caption with what it was paid")
    progress, cut = _progress(folder / "progress.jsonl")
    return Run(folder, config, progress, captions, done, cut)


def arms(runs: Sequence[Run]) -> list[Arm]:
    """The runs by arm, in order of first mention, each arm's runs by seed."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.arm, []).append(run)
    return [Arm(name, sorted(members, key=lambda run: str(run.seed).zfill(12))) for name, members in found.items()]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _read(path: Path, kind: type) -> Any:
    """The JSON in `path`, which must be of `kind`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: {path.parent} is not the folder of a guerdon run") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path} is damaged: expected a {kind.__name__}, found a {type(value).__name__}")
    return value


def _progress(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The rows of `path`, and whether the last one was cut short (a run killed while it wrote), which drops it."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: the run has not written any progress yet, or it was deleted") from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not _finite(row.get("step")):
                raise ValueError("no step in this row")
        except ValueError as error:
            if number == len(lines):  # no newline after it: it was being written
                return rows, True
            raise ValueError(f"{path} is damaged in line {number}: {error}") from None
        rows.append(row)
    rows.sort(key=lambda row: row["step"])
    return rows, False
