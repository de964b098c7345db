"""What benchmark scripts share: blocks that take turns, intervals, and the result file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.catalogue import code_hash

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """What the figures were seen on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def interleave(arms: Mapping[str, Callable[[], float]], blocks: int, seed: int = 0) -> dict[str, list[float]]:
    """Calls every arm once a block, in an order drawn for each block; what each returned, by arm."""
    rng, seen = np.random.default_rng(seed), {name: [] for name in arms}
    for _ in range(blocks):
        for name in rng.permutation(list(arms)).tolist():
            seen[name].append(arms[name]())
    return seen


def ratio(
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    at_least: float | None = None,
    low_at_least: float = 0.0,
) -> dict[str, Any]:
    """The median over blocks of ours / theirs, with a 95 % bootstrap interval; `holds` against the target."""
    pairs = np.asarray(ours) / np.asarray(theirs)
    draws = np.random.default_rng(0).choice(pairs, (10_000, len(pairs)))
    low, high = np.quantile(np.median(draws, 1), [0.025, 0.975])
    value = float(np.median(pairs))
    target = (
        None if at_least is None else f"at least {at_least:g}" + (f", low {low_at_least:g}" if low_at_least else "")
    )
    return {
        "name": name, "value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4),
        "target": target, "holds": None if at_least is None else bool(value >= at_least and low >= low_at_least),
        "blocks": np.round(pairs, 4).tolist(),
    }  # fmt: skip


def write(script: str, *, method: str, peer: str, ratios: list[dict[str, Any]], **seen: Any) -> None:
    """Writes results/<script>.json and prints it; `seen` is what else was measured."""
    name = Path(script).stem
    result = {"benchmark": name, "code": code_hash(script, method), "machine": machine(), "peer": peer}
    result |= {"ratios": ratios, **seen}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    for row in ratios:
        sign = {True: "holds", False: "DOES NOT HOLD", None: ""}[row["holds"]]
        print(f"{sign:14}{row['name']}: {row['value']} [{row['low']}, {row['high']}]  {row['target'] or ''}")
    for key, value in seen.items():
        print(f"{key}: {json.dumps(value)}")
