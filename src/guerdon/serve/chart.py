"""Line charts as inline SVG, drawn by hand: no library in the page, colours from the page's own style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from guerdon.serve.runs import Curve

WIDTH, HEIGHT = 360, 216
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 28


class Line(NamedTuple):
    """One arm's curve and the number of its colour."""

    name: str
    colour: int
    curve: Curve


def chart(title: str, lines: Sequence[Line], *, unit: tuple[float, float] | None = None) -> str:
    """An SVG of `lines` over environment steps: interval, seeds and mean of each. `unit` fixes the vertical range."""
    everything = [y for line in lines for y in (*(values for _, values in line.curve.seeds), line.curve.mean)]
    low, high = unit or _range(np.concatenate(everything))
    right = max(float(x[-1]) for line in lines for x, _ in line.curve.seeds) or 1.0

    def px(steps: np.ndarray) -> np.ndarray:
        return LEFT + (WIDTH - LEFT - RIGHT) * np.asarray(steps, float) / right

    def py(values: np.ndarray) -> np.ndarray:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (np.clip(values, low, high) - low) / (high - low)

    said = "; ".join(f"{line.name} ends at {number(float(line.curve.mean[-1]))}" for line in lines)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title} over steps: {said}")}">']
    for tick in ticks(low, high, 5):
        y = float(py(np.array(tick)))
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in ticks(0, right, 4):
        x = float(px(np.array(tick)))
        anchor = "end" if x > WIDTH - RIGHT - 14 else "middle"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="{anchor}">{number(tick)}</text>')
    for line in lines:
        parts.append(_band(line, px, py))
    for line in lines:
        if len(line.curve.seeds) > 1:
            parts += [f'<path class="seed c{line.colour}" d="{_path(px(x), py(y))}"/>' for x, y in line.curve.seeds]
    for line in lines:
        x, y = px(line.curve.steps), py(line.curve.mean)
        parts.append(f'<path class="mean c{line.colour}" d="{_path(x, y)}"/>')
        parts.append(f'<circle class="end c{line.colour}" cx="{x[-1]:.1f}" cy="{y[-1]:.1f}" r="2.6"/>')
    return "".join(parts) + "</svg>"


def number(value: float) -> str:
    """A short way to write `value`: 1.2M, 35k, 0.25, 1e-5."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{value / limit:.3g}{letter}" if size < 1e12 else f"{value:.2g}"
    return f"{value:.3g}" if size >= 1e-3 or size == 0 else f"{value:.1e}"


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """About `wanted` round numbers from `low` to `high`."""
    raw = (high - low) / wanted
    scale = 10 ** math.floor(math.log10(raw))
    step = next(scale * m for m in (1, 2, 5, 10) if scale * m >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [0.0 if n == 0 else float(f"{n * step:.12g}") for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(values: np.ndarray) -> tuple[float, float]:
    """A little more than the range of `values`; from zero where they do not come near a range of their own."""
    low, high = float(values.min()), float(values.max())
    if low >= 0 and low < 0.6 * high:
        low = 0.0
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return low - (room if low else 0.0), high + room


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _band(line: Line, px, py) -> str:
    curve = line.curve
    if len(curve.seeds) < 2 or len(curve.steps) < 2:
        return ""
    x = px(curve.steps)
    around = _path(np.concatenate([x, x[::-1]]), np.concatenate([py(curve.high), py(curve.low)[::-1]]))
    return f'<path class="band c{line.colour}" d="{around}Z"/>'
