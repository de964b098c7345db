"""``guerdon report RUN [RUN ...]``: one HTML page on training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from guerdon.serve import write_report


def report(
    runs: Annotated[list[Path], tyro.conf.Positional],
    *,
    out: Path | None = None,
    title: str | None = None,
    captions: int = 12,
) -> None:
    """Writes a self-contained page: curves by arm, the captions that paid most, labels, configurations, honest notes.

    Runs that differ in their seed only become one arm with an interval.

    Args:
        runs: folders of runs, finished or not.
        out: the page; by default report.html in the first run's folder, or beside the folders of several.
        title: of the page.
        captions: how many captions to list of each run.
    """
    if not runs:
        raise ValueError("name at least one run folder: guerdon report runs/NAME")
    path = out or (runs[0] if len(runs) == 1 else runs[0].parent) / "report.html"
    print(write_report(runs, path, title=title, captions=captions))
