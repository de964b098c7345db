"""``guerdon collapse-step``: when a run that is paid by itself stops getting better."""

from __future__ import annotations

import csv
import difflib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from guerdon.parts.sharpening import Collapse, model_collapse_step


def collapse_step(
    curve: Annotated[Path, tyro.conf.Positional],
    *,
    key: str = "",
    mode: Literal["below", "turn"] = "below",
    threshold: float | None = None,
    chance: float = 0.0,
    hold: int = 1,
    smooth: int = 1,
    step_key: str = "step",
    picture: Path | None = None,
) -> None:
    """Finds the Model Collapse Step of a training curve: where accuracy, or the accuracy of the reward, breaks down.

    Rewards made of a policy's own beliefs (majority votes, certainty) first raise accuracy and then ruin it. How late
    they do says how well a model will learn from true rewards. Do not look at the reward itself, which always rises:
    look at accuracy on a small labelled probe.

    A run of guerdon:  guerdon collapse-step runs/first --key reward/ExactMatch/mean --chance 0.1

    Any curve:  guerdon collapse-step curve.csv --key accuracy --picture curve.png

    The two definitions of the paper:  --threshold 0.01 with the accuracy of the reward, and  --mode turn

    Args:
        curve: a run's folder (its progress.jsonl is read), a JSONL file or a CSV file with a header.
        key: which number of each row; rows without it are passed over. May be left out where there is only one.
        mode: "below", the first step below the threshold; or "turn", the step of the peak, if there is a fall after it.
        threshold: by default half way between chance and the first value, or, for "turn", a fall by half of what the
            peak is above chance.
        chance: the value of a guess: 0.25 with four choices.
        hold: how many values in a row must be below.
        smooth: average each value with those before it, this many in all.
        step_key: what the rows call the step.
        picture: write the curve to this file, such as curve.png or curve.svg.
    """
    steps, values, key = read_curve(curve, key, step_key)
    found = model_collapse_step(steps, values, mode=mode, threshold=threshold, chance=chance, hold=hold, smooth=smooth)
    console = Console()
    plain: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False}
    if found.step is None:
        console.print(f"{key} has not collapsed by step {steps[-1]:g}", **plain)
    else:
        console.print(f"{key} collapses at step {found.step:g}", **plain)
    table = Table("", "step", "value", box=None)
    table.add_row("first", f"{steps[0]:g}", f"{found.first:.4g}")
    table.add_row("peak", f"{found.peak_step:g}", f"{found.peak:.4g}")
    table.add_row("last", f"{steps[-1]:g}", f"{found.last:.4g}")
    table.add_row("threshold" if mode == "below" else "fall that counts", "", f"{found.threshold:.4g}")
    console.print(table)
    if picture is not None:
        draw(picture, steps, values, found, key, mode)
        console.print(f"drawn in {picture}", **plain)


def read_curve(path: Path, key: str, step_key: str) -> tuple[list[float], list[float], str]:
    """The steps and values of `key` in a run's folder, a JSONL or a CSV file, by step; and the key.

    Raises ValueError for a file that is missing, empty or damaged, and for a key that no row has.
    """
    file = path / "progress.jsonl" if path.is_dir() else path
    if not file.exists():
        raise ValueError(f"{file} does not exist: give a run's folder, a JSONL file or a CSV file")
    rows = _csv(file) if file.suffix == ".csv" else _jsonl(file)
    if not rows:
        raise ValueError(f"{file} is empty")
    keys = list(dict.fromkeys(k for row in rows for k, v in row.items() if isinstance(v, float)))
    if step_key not in keys:
        raise ValueError(f"{file} has no {step_key!r} in its rows{_near(step_key, keys)}; see --step-key")
    others = [k for k in keys if k != step_key]
    if not key and len(others) != 1:
        raise ValueError(f"say which number with --key: {', '.join(others) or 'there is none beside the step'}")
    key = key or others[0]
    if key not in others:
        raise ValueError(f"{file} has no {key!r}{_near(key, others)}")
    found = sorted((row[step_key], row[key]) for row in rows if step_key in row and key in row)
    return [step for step, _ in found], [value for _, value in found], key


def _near(key: str, keys: list[str]) -> str:
    inside = [k for k in keys if key.lower() in k.lower()]
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.5) or inside[:3]
    return f": did you mean {' or '.join(near)}?" if near else f": it has {', '.join(keys) or 'no numbers'}"


def _jsonl(file: Path) -> list[dict[str, Any]]:
    rows, lines = [], file.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # no newline behind it: a run is writing it, or was killed
                break
            raise ValueError(f"{file} is damaged in line {number}: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{file}, line {number}, is no JSON object")
        rows.append({k: float(v) for k, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)})
    return rows


def _csv(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        return [{k.strip(): v for k, text in row.items() if k and (v := _number(text)) is not None}
                for row in csv.DictReader(lines)]  # fmt: skip


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def draw(
    file: Path, steps: list[float], values: list[float], found: Collapse, key: str, mode: Literal["below", "turn"]
) -> None:
    """The curve, with the threshold and the collapse step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, values, color="#3b6ea5", linewidth=1.5)
    level = found.threshold if mode == "below" else found.peak - found.threshold
    axes.axhline(level, color="#999999", linewidth=1, linestyle=":")
    if found.step is not None and math.isfinite(found.step):
        axes.axvline(found.step, color="#b5452c", linewidth=1.2)
        axes.annotate(f" {found.step:g}", (found.step, 0.98), xycoords=("data", "axes fraction"), va="top",
                      color="#b5452c")  # fmt: skip
    axes.set_xlabel("step")
    axes.set_ylabel(key)
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
