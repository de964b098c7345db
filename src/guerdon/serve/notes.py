"""What a reader of a report must be told: what the runs show, and what they do not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from guerdon.serve.chart import number
from guerdon.serve.runs import Arm, Run, half_width

Kind = Literal["no feedback", "count bonus", "inverted", "feedback"]

COUNT_BONUS = re.compile(
    r"""labels\s*=\s*["'](random|ones)["']|noise\s*=\s*0?\.5\b|\b(random|ones|count|all-?1)\b""", re.I
)
INVERTED = re.compile(r"invert(ed)?\b(?!\s*=\s*False)", re.I)
TIE = 0.1
"""A smaller difference in success is a tie, however narrow its interval."""


def kind(arm: Arm) -> Kind:
    """What part an arm plays, told by its judge, or by its label where the judge does not tell."""
    if arm.judge is None:
        return "no feedback"
    said = f"{arm.judge} {arm.runs[0].config.get('arm') or ''}"
    if COUNT_BONUS.search(said):
        return "count bonus"
    return "inverted" if INVERTED.search(said) else "feedback"


def measure(arms: Sequence[Arm]) -> str | None:
    """What arms are compared by: success if the task tells it, else the return."""
    keys = {key for arm in arms for run in arm.runs for key in run.keys}
    return next((key for key in ("episode/success", "episode/return") if key in keys), None)


def difference(a: Arm, b: Arm, key: str) -> tuple[float, float, float] | None:
    """Mean final `key` of `a` minus that of `b`, and its 95 % interval: paired where the seeds are the same."""
    first = {run.seed: value for run in a.runs if (value := run.final(key)) is not None}
    second = {run.seed: value for run in b.runs if (value := run.final(key)) is not None}
    if not first or not second:
        return None
    if first.keys() == second.keys():
        gaps = np.array([first[seed] - second[seed] for seed in first])
        mean, half = float(gaps.mean()), float(half_width(gaps))
    else:
        x, y = np.array(list(first.values())), np.array(list(second.values()))
        mean, half = float(x.mean() - y.mean()), float(np.hypot(half_width(x), half_width(y)))
    return mean, mean - half, mean + half


def notes(arms: Sequence[Arm]) -> list[str]:
    """Sentences of plain text, the most important first."""
    key, said = measure(arms), []
    if key is None:
        said.append("No episode has ended in any of these runs yet: nothing can be said of success or return.")
    else:
        said += _comparisons(arms, key)
    few = sorted({len(arm.runs) for arm in arms if len(arm.runs) < 5})
    if few == [1]:
        said.append("One seed an arm: the curves show what happened once, not what to expect. Claims need more seeds.")
    elif few:
        said.append(f"Some arms have only {few[0]} seed{'s' * (few[0] > 1)}: read their intervals with care.")
    for arm in arms:
        said += [text for run in arm.runs if (text := _unfinished(run))]
    lengths = {run.steps for arm in arms for run in arm.runs}
    if lengths and max(lengths) > 1.05 * min(lengths):
        said.append(f"The runs are not equally long: {number(min(lengths))} to {number(max(lengths))} steps.")
    return said


def _comparisons(arms: Sequence[Arm], key: str) -> list[str]:
    """Every feedback arm against the arms that would explain its success without the judge's knowledge; ties first."""
    what, ties, said = key.removeprefix("episode/"), [], []
    for arm in (a for a in arms if kind(a) == "feedback"):
        ended = arm.final(key)
        learnt = ended is not None and (key != "episode/success" or ended.mean > TIE)
        for other in (a for a in arms if kind(a) != "feedback"):
            gap = difference(arm, other, key)
            if gap is None:
                continue
            mean, low, high = gap
            single = low == high
            ahead = (single or low > 0) and mean > (TIE if key == "episode/success" else 0)
            shown = f"{what} {mean:+.2f}" + ("" if single else f", 95 % interval {low:+.2f} to {high:+.2f}")
            if ahead:
                said.append(f"“{arm.name}” ends ahead of “{other.name}” ({shown}).")
            elif kind(other) == "count bonus" and learnt:
                ties.append(
                    f"A count bonus does as well here: “{other.name}”, whose labels say nothing, "
                    f"is not behind “{arm.name}” ({shown}). On this task it is the novelty of messages that pays, "
                    "not what the judge says of them."
                )
            else:
                ties.append(f"“{arm.name}” does not end ahead of “{other.name}” ({shown}).")
    return ties + said


def _unfinished(run: Run) -> str:
    cut = ", and its last row of progress was cut short" if run.cut else ""
    if run.done is None:
        return (
            f"{run.folder.name} has not finished ({number(run.steps)} steps so far{cut}): it still runs, or it crashed."
        )
    budget = run.config.get("steps")
    if budget and run.steps < 0.95 * budget:
        reason = run.done.get("reason", "no reason given")
        return f"{run.folder.name} stopped after {number(run.steps)} of {number(budget)} steps: {reason}."
    return ""
