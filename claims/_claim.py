"""What claim scripts share: an expectation stated beforehand, its verdict over seeds, and the result file."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.catalogue import code_hash

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Expected:
    """What must be seen: the 95 % interval of `what`, a mean over seeds, lies within these bounds."""

    name: str
    what: str
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, values: Sequence[float]) -> dict[str, Any]:
        """One entry of a result's ``checks``, with what each seed gave."""
        low, high = interval(values)
        holds = (self.at_least is None or low >= self.at_least) and (self.at_most is None or high <= self.at_most)
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", self.at_least), ("at most", self.at_most))
            if bound is not None
        ]
        return {
            "name": self.name,
            "expected": f"{self.what}: {' and '.join(bounds)}",
            "measured": float(np.mean(values)),
            "low": low,
            "high": high,
            "holds": bool(holds),
            "by_seed": [float(v) for v in values],
        }


def interval(values: Sequence[float], *, level: float = 0.95, draws: int = 10_000) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean."""
    x = np.asarray(values, float)
    if not np.isfinite(x).all():
        raise ValueError(f"a run gave no number: {x}")
    means = np.random.default_rng(0).choice(x, (draws, len(x))).mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def write(
    path: Path | None, *, script: str, method: Path, parts: Iterable[Path] = (), seeds: Sequence[int], seconds: float,
    checks: list[dict[str, Any]], seen: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Prints the result and writes it to `path`, if there is one; `seen` is what else was measured, for the reader."""
    root = RESULTS.parents[1]
    result = {
        "claim": Path(script).stem,
        "code": code_hash(script, method),
        "parts": {str(p.resolve().relative_to(root)): code_hash(p) for p in parts},
        "seeds": list(seeds),
        "seconds": round(seconds, 1),
        "checks": checks,
        "holds": all(check["holds"] for check in checks),
        "seen": seen,
    }
    for check in checks:
        sign = "holds" if check["holds"] else "DOES NOT HOLD"
        bounds = f"{check['measured']:.3g} [{check['low']:.3g}, {check['high']:.3g}]"
        print(f"{sign:13} {check['name']:34} {bounds:28} {check['expected']}")
    print(f"{'holds' if result['holds'] else 'does not hold'}, {seconds:.0f} s")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written to {path}")
    return result


class FinishedRuns:
    """Rows of finished runs, one JSON line each, so that a long claim goes on where it stopped.

    Rows of other code are kept in the file and left out here.
    """

    def __init__(self, path: Path, code: str) -> None:
        self.path, self.code = path, code
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = [row for line in lines if (row := _row(line)).get("code") == code]

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The row of the run with this key, if it has been run."""
        return next((row for row in self.rows if key.items() <= row.items()), None)

    def add(self, **row: Any) -> dict[str, Any]:
        """Appends the row of a finished run."""
        row = {"code": self.code, **row}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size
        with self.path.open("a") as file:
            file.write(("\n" if torn else "") + json.dumps(row) + "\n")
        self.rows.append(row)
        return row


def _row(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except json.JSONDecodeError:  # the last line of a run that was killed while it wrote
        print(f"left out, not JSON: {line[:60]}", file=sys.stderr)
        return {}


def in_parallel(function: Callable[..., Any], jobs: Sequence[tuple], workers: int) -> list[Any]:
    """``[function(*job) for job in jobs]`` in `workers` processes; in this one if it is 1."""
    if workers == 1:
        return [function(*job) for job in jobs]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(function, *zip(*jobs, strict=True)))
