"""One self-contained HTML page about training runs: curves, what paid, what was asked, and what it does not show."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import guerdon
from guerdon.serve import chart as charts
from guerdon.serve.chart import Line, chart, number
from guerdon.serve.notes import kind, measure, notes
from guerdon.serve.runs import Arm, Run, Spread, arms, read_run

FIRST_CURVES = ("episode/success", "episode/return", "episode/depth", "episode/max_depth", "episode/score")
ALWAYS = ("episode/success", "episode/return")
"""Shown first even where nothing ever changes."""
NO_CURVES = ("step", "total", "seconds", "episode/count", "episode/success_recent")
SHARES = ("episode/success",)
"""Figures that lie between 0 and 1."""
GREY = 7
NOTHING = "—"
ROLES = {"no feedback": "no judge", "count bonus": "count bonus", "inverted": "inverted labels", "feedback": "judge"}


def page(folders: Sequence[str | Path], *, title: str | None = None, captions: int = 12) -> str:
    """The page about the runs in `folders`; runs are compared by arm, task by task.

    Args:
        folders: of finished, running or crashed runs.
        title: of the page; by default the tasks.
        captions: how many of the captions that paid most are shown of each run.

    Raises:
        ValueError: a file of a run is missing or damaged; the message names it.
    """
    runs = [read_run(folder) for folder in folders]
    if not runs:
        raise ValueError("a report needs at least one run folder")
    tasks = list(dict.fromkeys(run.task for run in runs))
    title = title or ", ".join(tasks)
    drawn: list[dict[str, Any]] = []
    parts = [_head(title, runs)]
    for task in tasks:
        parts += _task([run for run in runs if run.task == task], task if len(tasks) > 1 else "", drawn, captions)
    geometry = {
        "left": charts.LEFT, "right": charts.WIDTH - charts.RIGHT,
        "top": charts.TOP, "bottom": charts.HEIGHT - charts.BOTTOM,
    }  # fmt: skip
    script = _file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_file("report.html")).substitute(
        title=text(title),
        style=_file("report.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        data=json.dumps(geometry | {"charts": drawn}).replace("<", "\\u003c"),
        body="\n".join(parts),
        version=text(guerdon.__version__),
    )


def write_report(folders: Sequence[str | Path], path: str | Path, **options: Any) -> Path:
    """Writes the `page` of these runs to `path`, whole or not at all."""
    path = Path(path)
    html = page(folders, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(html, encoding="utf-8")
    os.replace(fresh, path)
    return path


def text(value: Any) -> str:
    """`value` as HTML text: markup is inert, and what no one could see (control bytes, bidi marks) is spelled out."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
    return escape(shown)


def _file(name: str) -> str:
    return resources.files("guerdon.serve").joinpath(name).read_text(encoding="utf-8")


def _head(title: str, runs: list[Run]) -> str:
    versions = sorted({str(run.config.get("guerdon", "?")) for run in runs})
    seconds = sum(float((run.done or {}).get("seconds") or run.last("seconds") or 0) for run in runs)
    shown = f"{len(runs)} run{'s' * (len(runs) > 1)}, {number(sum(run.steps for run in runs))} steps"
    shown += f" in {_time(seconds)}" * bool(seconds) + f", guerdon {', '.join(versions)}"
    return (
        f'<header><div><h1>{text(title)}</h1><div class="soft">{text(shown)}</div></div>'
        '<button id="theme" hidden>Light / dark</button></header>'
    )


def _task(runs: list[Run], heading: str, drawn: list[dict[str, Any]], captions: int) -> list[str]:
    """Everything about the runs on one task."""
    compared = arms(runs)
    colours = palette(compared)
    key = measure(compared)
    parts = [f"<h2>{text(heading)}</h2>"] if heading else []
    if said := notes(compared):
        items = "".join(f"<li>{text(note)}</li>" for note in said)
        parts.append(f'<section class="notes" aria-label="Notes"><ul>{items}</ul></section>')
    cards = "".join(_arm(arm, colour, key) for arm, colour in zip(compared, colours, strict=True))
    parts.append(f'<section aria-label="Arms" class="grid-of arms">{cards}</section>')
    first, rest = _keys(runs)
    if first:
        names = "".join(
            f'<span class="c{c}"><i class="swatch"></i>{text(arm.name)}</span>'
            for arm, c in zip(compared, colours, strict=True)
        )
        meaning = "Thick lines are means over seeds, shaded bands their 95 % intervals, thin lines single seeds."
        shown = meaning if any(len(arm.runs) > 1 for arm in compared) else "One line an arm: a single seed each."
        parts.append(f'<h2>Curves</h2><p class="soft">Over environment steps. {shown}</p>')
        parts.append(f'<div class="legend">{names}</div>')
        parts.append(f'<div class="grid-of">{_charts(first, compared, colours, drawn)}</div>')
    if rest:
        inside = f'<div class="grid-of">{_charts(rest, compared, colours, drawn)}</div>'
        parts.append(_details("More curves: the learner, the labels, single terms", inside))
    parts += _captions(compared, colours, captions)
    parts += _labels(runs)
    parts += _configuration(compared, colours)
    return parts


def palette(compared: list[Arm]) -> list[int]:
    """A colour number an arm; grey for what trains without a judge, if there is one such arm among others."""
    plain = [arm for arm in compared if kind(arm) == "no feedback"]
    grey = plain[0] if len(plain) == 1 and len(compared) > 1 else None
    others = iter(range(len(compared)))
    return [GREY if arm is grey else next(others) % GREY for arm in compared]


def _arm(arm: Arm, colour: int, key: str | None) -> str:
    """A card: how the arm ended, what it is."""
    ended = arm.final(key) if key else None
    seeds = f"{len(arm.runs)} seed{'s' * (len(arm.runs) > 1)}"
    about = f"no episode has ended, {seeds}"
    if ended and key:
        what, steps = key.removeprefix("episode/"), number(max(run.steps for run in arm.runs))
        about = f"{what} over the last tenth of {steps} steps, {seeds}{_interval(ended, key)}"
    entries = {"Reward": f"<code>{text(arm.reward)}</code>"}
    entries["Judge"] = f"<code>{text(arm.judge)}</code>" if arm.judge else "none: nobody is asked"
    if ended and len(ended.seeds) > 1:
        entries["Each seed"] = text(", ".join(_value(value, key) for value in ended.seeds))
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in entries.items())
    return (
        f'<article class="card arm c{colour}">'
        f'<h3>{text(arm.name)} <span class="tag">{ROLES[kind(arm)]}</span></h3>'
        f'<div class="big">{_value(ended.mean, key) if ended else NOTHING}</div>'
        f'<div class="of">{text(about)}</div><dl>{listed}</dl></article>'
    )


def _value(value: float, key: str | None) -> str:
    return f"{100 * value:.0f} %" if key in SHARES else number(value)


def _interval(spread: Spread | None, key: str | None) -> str:
    if spread is None or len(spread.seeds) < 2:
        return ""
    low, high = (max(0.0, spread.low), min(1.0, spread.high)) if key in SHARES else (spread.low, spread.high)
    return f", 95 % interval {_value(low, key)} to {_value(high, key)}"


def _keys(runs: list[Run]) -> tuple[list[str], list[str]]:
    """The figures worth a look at once, and the rest, in a sensible order."""
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.keys) if key not in NO_CURVES]
    first = [key for key in FIRST_CURVES if key in keys]
    first += [key for key in keys if key.startswith("episode/") and key not in first]
    first = [key for key in first if key in ALWAYS or len({row[key] for run in runs for row in run.rows(key)}) > 1]
    first += [key for key in keys if key.startswith("term/") and key.endswith("/per_episode")]
    first += [key for key in ("labels/labelled", "captions/known") if key in keys]
    return first, sorted(key for key in keys if key not in first)


def _title(key: str) -> tuple[str, str]:
    """What a chart is called, and a remark."""
    group, _, name = key.partition("/")
    if group == "term" and "/" in name:
        term, _, how = name.rpartition("/")
        return (
            term,
            f"reward {'an episode' if how == 'per_episode' else 'a step' if how == 'mean' else how}, as learnt from",
        )
    remark = "mean of episodes" if group == "episode" else group if name else ""
    return (name or group).replace("_", " ").replace("/", ", ").capitalize(), remark


def _charts(keys: Iterable[str], compared: list[Arm], colours: list[int], drawn: list[dict[str, Any]]) -> str:
    """The figures; their points go into `drawn`, for the page's script."""
    figures = []
    for key in keys:
        curves = [(arm, c, arm.curve(key)) for arm, c in zip(compared, colours, strict=True)]
        lines = [Line(arm.name, colour, curve) for arm, colour, curve in curves if curve]
        title, remark = _title(key)
        caption = f"<figcaption><h3>{text(title)} <small>{text(remark)}</small></h3></figcaption>"
        image = chart(title, lines, unit=(0.0, 1.0) if key in SHARES else None)
        figures.append(f'<figure class="card chart" data-chart="{len(drawn)}">{caption}{image}</figure>')
        points = [
            {
                "name": line.name,
                "c": line.colour,
                "x": [round(x) for x in line.curve.steps.tolist()],
                "y": [float(f"{y:.4g}") for y in line.curve.mean.tolist()],
            }
            for line in lines
        ]
        drawn.append({"end": max(float(x[-1]) for line in lines for x, _ in line.curve.seeds) or 1.0, "lines": points})
    return "".join(figures)


def _captions(compared: list[Arm], colours: list[int], shown: int) -> list[str]:
    """The captions that paid most in each run; the arms with a judge's own labels are open."""
    parts, silent = [], []
    for arm, colour in zip(compared, colours, strict=True):
        tables = []
        for run in arm.runs:
            paying = sorted((row for row in run.captions if row["paid"]), key=lambda row: -abs(row["paid"]))
            if paying:
                total = number(sum(row["paid"] for row in paying))
                known = run.last("captions/known")
                about = f"{number(known)} captions seen, " if known else ""
                about += f"{total} paid in all for the {len(paying)} that paid most"
                heading = f'<h4>Seed {text(run.seed)} <span class="soft">{about}</span></h4>'
                tables.append(heading + _caption_table(paying[:shown]))
        if not tables:
            silent.append(f"“{arm.name}”")
            continue
        more = _details("Other seeds", "".join(tables[1:])) if len(tables) > 1 else ""
        name = f'<i class="swatch"></i> <b>{text(arm.name)}</b>'
        parts.append(_details(name, tables[0] + more, colour=colour, opened=kind(arm) == "feedback"))
    if not parts:
        return []
    if silent:
        parts.append(f'<p class="soft">No caption paid anything in {text(", ".join(silent))}.</p>')
    intro = "In total over the run. The value is what the reward model says of the caption at the end."
    return ["<h2>The captions that paid most</h2>", f'<p class="soft">{intro}</p>', *parts]


def _caption_table(rows: list[dict[str, Any]]) -> str:
    most = max(abs(row["paid"]) for row in rows)
    numbers = {"value": "Value", "count": "Seen", "times_paid": "Paid", "paid": "Total paid"}
    numbers = {key: name for key, name in numbers.items() if any(key in row for row in rows)}
    body = []
    for row in rows:
        caption = text(row["caption"]) if row["caption"] else '<span class="soft">(no message)</span>'
        bar = f'<i class="bar" style="width:{100 * abs(row["paid"]) / most:.1f}%"></i>'
        body.append([f"<bdi>{caption}</bdi>{bar}", *(_cell(row.get(key)) for key in numbers)])
    return _table(["Caption", *numbers.values()], body)


def _labels(runs: list[Run]) -> list[str]:
    """What the annotator counted, at the end of each run."""
    keys = list(dict.fromkeys(key for run in runs for key in run.keys if key.startswith("labels/")))
    asked = [run for run in runs if any(key in run.keys for key in keys)]
    if not asked:
        return []
    first = ["labels/labelled", "labels/waiting", "labels/seconds_median"]
    keys = [key for key in first if key in keys] + [key for key in keys if key not in first]
    names = {key: text(_title(key)[0].lower()) for key in keys} | {"labels/seconds_median": "median time to a label"}
    none = [key for key in keys if key not in first and not any(run.last(key) for run in asked)]
    keys = [key for key in keys if key not in none]
    body = [[text(f"{run.arm}, seed {run.seed}"), *(_cell(run.last(k), "seconds" in k) for k in keys)] for run in asked]
    parts = [f'<div class="card scroll">{_table(["Run", *(names[key] for key in keys)], body)}</div>']
    if none:
        parts.append(f'<p class="soft">None, in any run: {", ".join(names[key] for key in none)}.</p>')
    return ["<h2>Labels</h2>", *parts]


def _configuration(compared: list[Arm], colours: list[int]) -> list[str]:
    """The whole configuration of each arm; where its runs differ, each run's value."""
    parts = ["<h2>Configuration</h2>"]
    for arm, colour in zip(compared, colours, strict=True):
        flat = [{"folder": run.folder.name} | dict(_flat(run.config)) for run in arm.runs]
        rows = ""
        for key in dict.fromkeys(key for config in flat for key in config):
            values = dict.fromkeys(text(config.get(key, NOTHING)) for config in flat)
            rows += f"<tr><th>{text(key)}</th><td><code>{', '.join(values)}</code></td></tr>"
        name = f'<i class="swatch"></i> {text(arm.name)}'
        parts.append(_details(name, f"<table><tbody>{rows}</tbody></table>", colour=colour))
    return parts


def _flat(config: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of a column of text and columns of numbers; everything in it is HTML already."""

    def row(tag: str, cells: Sequence[str]) -> str:
        numbers = "".join(f'<{tag} class="n">{cell}</{tag}>' for cell in cells[1:])
        return f'<tr><{tag} class="text">{cells[0]}</{tag}>{numbers}</tr>'

    body = "".join(row("td", cells) for cells in rows)
    return f"<table><thead>{row('th', head)}</thead><tbody>{body}</tbody></table>"


def _details(summary: str, inside: str, *, colour: int | None = None, opened: bool = False) -> str:
    """A part that folds away; summary and inside are HTML already."""
    style = "" if colour is None else f' class="c{colour}"'
    return f'<details{" open" * opened}{style}><summary>{summary}</summary><div class="inside">{inside}</div></details>'


def _cell(value: float | None, seconds: bool = False) -> str:
    return NOTHING if value is None or not math.isfinite(value) else _time(value) if seconds else number(float(value))


def _time(seconds: float) -> str:
    """1.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
