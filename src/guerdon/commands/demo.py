"""guerdon demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

TASK, STEPS, SEED = "Gallery", 300_000, 0
LEARNER = "PPO(rollout=64, entropy=0.05, lr=5e-4)"
FEEDBACK = "Extrinsic() + 0.1 * ONI(model='retrieval')"
ARMS: dict[str, tuple[str, str | None]] = {
    "with language-model feedback": (FEEDBACK, "RecordedJudge()"),
    "without feedback": ("Extrinsic()", None),
    "every message pays (a count bonus)": (FEEDBACK, "RecordedJudge(labels='ones')"),
    "inverted feedback": (FEEDBACK, "RecordedJudge(invert=True)"),
}
"""As in claims/oni_minihack.py, where five seeds of each were run."""


def demo(run: Path = Path("runs/demo"), steps: int = STEPS, seed: int = SEED, at_once: int = 2) -> None:
    """Train on real NetHack with and without a language model's feedback, and write a report to look at.

    The task is a level whose stairs lie at the end of a long corridor, past a hall of 97 statues; reaching them is all
    that pays. Messages of the game ("You see here an apple.") were labelled by a language model beforehand; ONI pays
    the agent for those labelled helpful. Four agents train: with that feedback, without it, and two controls. About
    ten minutes on two cores. Interrupted, it goes on where it stopped when called again.

    Args:
        run: folder of the runs and the report.
        steps: environment steps an agent.
        seed: of all agents.
        at_once: agents trained side by side.
    """
    from guerdon.serve.report import write_report

    console = Console()
    console.print(demo.__doc__.split("\n\n")[1].replace("\n    ", " ").strip() + "\n")  # type: ignore[union-attr]
    folders = {arm: run / arm.partition(" (")[0].replace(" ", "-") for arm in ARMS}
    waiting = [arm for arm in ARMS if not _finished(folders[arm], steps)]
    _train_all(waiting, folders, steps, seed, at_once, console)
    page = write_report(list(folders.values()), run / "report.html")
    console.print(f"\n[bold]{TASK}[/bold], episodes that reach the stairs at the end of training:")
    for arm, folder in folders.items():
        success = _last(folder).get("episode/success_recent", 0.0)
        console.print(f"  {success:>6.0%}  {arm}", highlight=False)
    console.print(
        f"\nreport: {page.resolve()}\nwatch an agent: guerdon watch {folders[next(iter(ARMS))]}", soft_wrap=True
    )


def _finished(folder: Path, steps: int) -> bool:
    return (folder / "done.json").exists() and _last(folder).get("step", 0) >= steps


def _last(folder: Path) -> dict[str, Any]:
    """The last whole row of a run's progress."""
    path = folder / "progress.jsonl"
    for line in reversed(path.read_text().splitlines() if path.exists() else []):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return {}


def _start(arm: str, folder: Path, steps: int, seed: int) -> subprocess.Popen[str]:
    reward, judge = ARMS[arm]
    if list((folder / "checkpoints").glob("*.pt")):
        words = ["--resume", str(folder), "--steps", str(steps)]
    else:
        for left in folder.glob("config.json"):  # stopped before its first checkpoint: begins anew
            left.unlink()
        (folder / "progress.jsonl").unlink(missing_ok=True)
        words = [TASK, "--reward", reward, "--learner", LEARNER, "--steps", str(steps), "--seed", str(seed)]
        words += ["--envs", "16", "--workers", "0", "--label-delay", "6", "--arm", arm, "--run", str(folder)]
        words += ["--judge", judge] if judge else []
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "log.txt").open("a")
    args = [sys.executable, "-m", "guerdon.cli", "train", *words, "--quiet"]
    return subprocess.Popen(args, stdout=log, stderr=log, stdin=subprocess.DEVNULL, text=True, env=env)


def _train_all(
    waiting: list[str], folders: dict[str, Path], steps: int, seed: int, at_once: int, console: Console
) -> None:
    """Trains the arms, `at_once` side by side, and shows how each is getting on."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from guerdon.commands.train import describe
    from guerdon.learners.run import RunError

    running: dict[str, subprocess.Popen[str]] = {}
    columns = (TextColumn("{task.fields[arm]:<36}"), BarColumn(16), TextColumn("{task.percentage:3.0f}%"))
    shown = Progress(*columns, TextColumn("{task.description}"), TimeRemainingColumn(compact=True), console=console)
    said = time.monotonic()
    with shown:
        bars = {arm: shown.add_task("waits", total=steps, arm=arm, start=False) for arm in waiting}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    arm = waiting.pop(0)
                    shown.start_task(bars[arm])
                    running[arm] = _start(arm, folders[arm], steps, seed)
                time.sleep(0.5)
                for arm, process in list(running.items()):
                    if row := _last(folders[arm]):
                        shown.update(bars[arm], completed=row["step"], description=describe(row))
                    if process.poll() is not None:
                        del running[arm]
                        if process.returncode:
                            tail = (folders[arm] / "log.txt").read_text()[-1500:]
                            raise RunError(f"the agent {arm!r} stopped with code {process.returncode}:\n{tail}")
                if not console.is_terminal and time.monotonic() > said + 20:
                    said = time.monotonic()
                    for arm in running:
                        row = _last(folders[arm])
                        print(
                            f"{arm}: step {row['step']:,}  {describe(row)}" if row else f"{arm}: starting", flush=True
                        )
        finally:
            for process in running.values():  # after Ctrl-C, which reached them too, they save and end
                process.wait()
