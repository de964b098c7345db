"""What probes saw, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from guerdon.compare.probe import Probe


def draw(found: Probe, title: str, path: Path) -> None:
    """Four panels: bonus against visits, by place after practice, within an episode, and the cost over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes: Any = figure.subplots(2, 2)
    practice, verdicts = found.practice, found.verdicts()
    _decay(axes[0, 0], practice.visits, practice.bonus, verdicts)
    _places(axes[0, 1], practice.visits[-1], practice.bonus[-1], verdicts)
    n = np.arange(1, len(found.in_episode) + 1)
    axes[1, 0].plot(n, found.in_episode, marker="o", markersize=3)
    axes[1, 0].set(xlabel="visits in one episode", ylabel="bonus", ylim=(0, None))
    axes[1, 0].set_title(f"in the episode: {verdicts['in the episode']}; next one: {verdicts['next episode']}")
    rounds = np.arange(1, len(found.noisy.bytes) + 1)
    axes[1, 1].plot(rounds, found.noisy.bytes / 2**20, color="tab:blue")
    axes[1, 1].set(xlabel="rounds of practice, beside the television", ylabel="state, MiB", ylim=(0, None))
    other = axes[1, 1].twinx()
    other.plot(rounds, 1e6 * found.noisy.seconds, color="tab:orange", alpha=0.6)
    other.set(ylabel="microseconds a step", ylim=(0, None))
    axes[1, 1].set_title(f"memory: {verdicts['memory']}; time: {verdicts['time']}")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _decay(ax: Any, visits: np.ndarray, bonus: np.ndarray, verdicts: dict[str, str]) -> None:
    ok = (visits > 0) & (bonus > 0)
    ax.scatter(visits[ok], bonus[ok], s=4, alpha=0.3)
    if ok.any():
        n = np.geomspace(visits[ok].min(), visits[ok].max(), 20)
        level = np.exp(np.mean(np.log(bonus[ok]) + 0.5 * np.log(visits[ok])))
        ax.plot(n, level / np.sqrt(n), color="black", linewidth=1, label="1/sqrt(n)")
        ax.set(xscale="log", yscale="log")
        ax.legend(frameon=False)
    ax.set(xlabel="visits of a place", ylabel="bonus of a step to it")
    ax.set_title(f"decay: {verdicts['decay']}")


def _places(ax: Any, visits: np.ndarray, bonus: np.ndarray, verdicts: dict[str, str]) -> None:
    place = np.arange(1, len(visits) + 1)
    colours = np.where(visits > 0, "tab:blue", "tab:red")
    ax.bar(place, bonus, color=colours)
    ax.set(xlabel="place (red: never visited)", ylabel="bonus after practice")
    ax.set_title(f"new above seen: {verdicts['new above seen']}; counts: {verdicts['counts']}")
