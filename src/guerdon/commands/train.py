"""guerdon train."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from guerdon.learners import run as runs


def train(
    config: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[runs.Config]],
    run: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    resume: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    quiet: bool = False,
) -> None:
    """Train a policy on a task by a reward expression.

    A reward is a sum of weighted terms; `guerdon list` shows their names. A term that reads captions, such as ONI, is
    taught by a judge while the policy learns:

      guerdon train NetHackScore --reward "0.1 * Extrinsic() + 0.4 * ONI(model='retrieval')" --judge "RecordedJudge()"

    What PPO takes between its brackets is explained by `python -m pydoc guerdon.learners.PPO`.

    Ctrl-C saves and stops; `guerdon train --resume FOLDER` goes on from the newest checkpoint, also after a crash.

    Args:
        config: what to run.
        run: folder for configuration, progress, checkpoints, labels and captions; default runs/TASK-SEED.
        resume: go on with the run in this folder; only --steps is read beside it.
        quiet: no progress display.
    """
    if resume is None and not config.task:
        raise runs.RunError("name a task, such as NetHackScore; `guerdon tasks` lists them")
    folder = resume or run or Path("runs") / f"{re.sub(r'[^A-Za-z0-9]+', '-', config.task).strip('-')}-{config.seed}"
    with Display(quiet) as display:
        try:
            runs.train(config, folder, resume=resume is not None, progress=display)
        except KeyboardInterrupt:
            print(f"saved; go on with: guerdon train --resume {folder}", file=sys.stderr)
            raise
    print(f"done: {folder}. Look at it with: guerdon report {folder}")


class Display:
    """A progress bar with speed, returns, terms and labels, fed with rows of progress.jsonl.

    Where the output is no terminal it writes a line now and then instead. `words` puts a row into words.
    """

    def __init__(self, quiet: bool = False, words: Callable[[dict[str, float]], str] | None = None) -> None:
        self.console = Console(stderr=True)
        self.quiet, self.words = quiet, words or describe
        self.total = 0
        self._line_at = 0.0
        columns = (BarColumn(20), TextColumn("{task.percentage:3.0f}%"), TextColumn("{task.description}"))
        self.bar = Progress(*columns, TimeRemainingColumn(compact=True), console=self.console)
        self.id: Any = None

    def __enter__(self) -> Display:
        if not self.quiet and self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def __call__(self, row: dict[str, float]) -> None:
        """Shows one row."""
        if self.quiet:
            return
        text = self.words(row)
        if self.console.is_terminal:
            if self.id is None:
                self.id = self.bar.add_task("", total=row["total"])
            self.bar.update(self.id, completed=row["step"], description=text)
        elif row["seconds"] >= self._line_at:
            self._line_at = row["seconds"] + 10
            print(f"{int(row['step']):>10,} of {int(row['total']):,}  {text}", file=sys.stderr, flush=True)


def describe(row: dict[str, float]) -> str:
    """One line on a row: speed, return, success, what each term paid, labels and their latency."""
    shown = [f"{row['steps_per_second']:,.0f} steps/s"]
    if "episode/return" in row:
        shown.append(f"return {row['episode/return']:.2f}")
    if "episode/success_recent" in row:
        shown.append(f"success {row['episode/success_recent']:.0%}")
    for key, value in row.items():
        if key.startswith("term/") and key.endswith("/per_episode"):
            shown.append(f"{key.split('/')[1]} {value:.2f}")
    if "labels/labelled" in row:
        shown.append(f"labels {row['labels/labelled']:.0f} (+{row['labels/waiting']:.0f})")
    if row.get("labels/seconds_median"):
        shown.append(f"{row['labels/seconds_median']:.1f} s to label")
    return "  ".join(shown)
