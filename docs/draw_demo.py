"""Draws README's picture from finished runs: ``python docs/draw_demo.py RUN ... -> docs/img/demo.svg``.

A stand-alone SVG that follows the reader's light or dark theme: success (or return) of each arm over steps, and its
mean over the last tenth.
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path

from guerdon.serve.chart import HEIGHT, WIDTH, Line, chart
from guerdon.serve.notes import measure
from guerdon.serve.report import palette
from guerdon.serve.runs import arms, read_run

LIGHT = ("#1f5fd0", "#c9501c", "#14805a", "#8443c4", "#96700a", "#c22f70", "#0c7f97", "#6c727e")
DARK = ("#6fa3ff", "#ff9563", "#48c797", "#bd8cf5", "#dfb64b", "#fa7fb2", "#4cc3dc", "#9aa1ae")
STYLE = """
svg { --card: #fff; --ink: #1d2027; --soft: #5d6370; --line: #e3e1db; font-family: system-ui, sans-serif; LIGHT }
@media (prefers-color-scheme: dark) { svg { --card: #1c1e25; --ink: #e9e8e3; --soft: #a3a8b4; --line: #2e313b; DARK } }
.page { fill: var(--card); stroke: var(--line); } .title { fill: var(--ink); font-size: 15px; font-weight: 600; }
.name { fill: var(--soft); font-size: 13px; } .tick { fill: var(--soft); font-size: 7.5px; }
.grid { stroke: var(--line); stroke-width: 0.7; }
.mean { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; } .mean.c7 { stroke-dasharray: 5 4; }
.seed { fill: none; stroke: var(--c); stroke-width: 0.6; opacity: 0.35; } .band { fill: var(--c); opacity: 0.14; }
.end, .key { fill: var(--c); }
"""


def draw(folders: list[str]) -> str:
    """The picture of the runs in `folders`, which must be of one task."""
    runs = [read_run(folder) for folder in folders]
    if len({run.task for run in runs}) != 1:
        raise SystemExit(f"one picture, one task: these runs are of {', '.join(sorted({run.task for run in runs}))}")
    compared = arms(runs)
    key = measure(compared)
    if key is None:
        raise SystemExit("no episode has ended in these runs: there is nothing to draw")
    found = [(arm.name, colour, arm.curve(key)) for arm, colour in zip(compared, palette(compared), strict=True)]
    lines = [Line(name, colour, curve) for name, colour, curve in found if curve]
    what = key.removeprefix("episode/")
    ends = {arm.name: spread.mean for arm in compared if (spread := arm.final(key))}
    picture = chart(what, lines, unit=(0.0, 1.0) if what == "success" else None)
    inner = picture.partition(">")[2].removesuffix("</svg>")
    said = picture.partition('aria-label="')[2].partition('"')[0]
    keys, height = "", 62 + HEIGHT * 1.6 + 22 * len(lines)
    for row, line in enumerate(lines):
        y = 62 + HEIGHT * 1.6 + 22 * row
        keys += f'<rect class="key c{line.colour}" x="30" y="{y - 5:.0f}" width="20" height="4" rx="2"/>'
        keys += f'<text class="name" x="60" y="{y:.0f}">{escape(line.name)}: {ends.get(line.name, 0):.2f}</text>'
    variables = ["".join(f"--c{i}: {c};" for i, c in enumerate(shades)) for shades in (LIGHT, DARK)]
    style = STYLE.replace("LIGHT", variables[0]).replace("DARK", variables[1])
    style += "".join(f".c{i} {{ --c: var(--c{i}); }}" for i in range(len(LIGHT)))
    width = round(WIDTH * 1.6 + 24)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{said}">'
        f"<style>{style}</style>"
        f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1:.0f}" rx="12"/>'
        f'<text class="title" x="24" y="32">{escape(f"{runs[0].task}: {what} over environment steps")}</text>'
        f'<g transform="translate(8 44) scale(1.6)">{inner}</g>{keys}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "img" / "demo.svg")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(draw(args.runs), encoding="utf-8")
    print(args.out)


if __name__ == "__main__":
    main()
