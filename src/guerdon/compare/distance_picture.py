"""Distances between rewards as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from guerdon.compare.distance import Distance


def draw(found: Distance, names: Sequence[str], title: str, path: Path) -> None:
    """One square a pair, dark where rewards mean the same, with the distance and half its interval's width in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n = len(names)
    figure = Figure(figsize=(4.5 + 0.9 * n, 3 + 0.8 * n), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    raw = found.raw.numpy()
    image = ax.imshow(raw, cmap="viridis", vmin=0.0, vmax=2.0)
    short = [name if len(name) <= 40 else name[:37] + "..." for name in names]
    ax.set_xticks(range(n), short, rotation=30, ha="right")
    ax.set_yticks(range(n), short)
    for i in range(n):
        for j in range(n):
            text = f"{raw[i, j]:.3g}"
            if i != j and found.high is not None and found.low is not None:
                text += f"\n± {float(found.high[i, j] - found.low[i, j]) / 2:.2g}"
            ax.text(j, i, text, ha="center", va="center", color="black" if raw[i, j] > 1.2 else "white")
    figure.colorbar(image, label="distance: 0 same, 2 opposite")
    ax.set_title(f"{title}\n{found.metric}, gamma {found.gamma:g}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
