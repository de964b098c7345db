"""A text learner's run in a folder: progress, samples, checkpoints, and going on from them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from guerdon.learners import checkpoint
from guerdon.learners.folder import Board, RunError, interrupts, whole_lines
from guerdon.learners.samplers import Row
from guerdon.learners.text import TextLearner


def run(
    learner: TextLearner,
    rows: Sequence[Row],
    folder: str | Path,
    *,
    steps: int,
    save_every: int = 20,
    samples: int = 8,
    sample_every: int = 1,
    resume: bool = False,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Takes steps until the learner has taken `steps`, and returns the folder.

    The folder holds ``progress.jsonl`` (a row a step), ``samples.jsonl`` (completions with every term, stage and
    advantage as they were trained on, see `Batch.table`), ``tensorboard`` and ``checkpoints`` (the newest two, each
    whole or absent). A run resumed from a checkpoint goes on exactly as if it had not been interrupted.

    Args:
        learner: made the same way whenever the run goes on.
        rows: the questions, likewise.
        folder: made if it does not exist.
        steps: in all, those before a resume included.
        save_every: steps between checkpoints.
        samples: completions written down in a step that is sampled.
        sample_every: steps between those.
        resume: go on from the newest checkpoint that is whole.
        progress: called with each row.

    Raises:
        RunError: the folder holds a run already (without `resume`), or the last checkpoint could not be written.
        KeyboardInterrupt: Ctrl-C, after the run was saved.
        RewardFailed, FloatingPointError, RuntimeError: from a step; the last checkpoint stays.
    """
    folder = Path(folder)
    learner.ask(rows)
    before = 0.0
    if resume:
        before = _resume(learner, folder)
    elif (folder / "progress.jsonl").exists():
        raise RunError(f"{folder} already holds a run: resume it, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "done.json").unlink(missing_ok=True)
    started, reason = time.monotonic(), "finished"

    def seconds() -> float:
        return before + time.monotonic() - started

    with (
        interrupts() as interrupted,
        open(folder / "progress.jsonl", "a") as log,
        open(folder / "samples.jsonl", "a") as table,
    ):
        board = Board(folder)
        while learner.steps < steps:
            logs, batch = learner.step()
            row = {"step": float(learner.steps), "total": float(steps), "seconds": round(seconds(), 3)} | logs
            if samples and (learner.steps - 1) % sample_every == 0:
                for sample in batch.table(samples, lambda token: learner.policy.decode([token])):
                    table.write(json.dumps({"step": learner.steps} | sample, default=str) + "\n")
                table.flush()
            log.write(json.dumps(row) + "\n")
            log.flush()
            board.add(row)
            if progress is not None:
                progress(row)
            if interrupted.is_set():
                reason = "interrupted"
                break
            if learner.steps % save_every == 0:
                _save(learner, folder, seconds(), final=False)
        board.close()
    _save(learner, folder, seconds(), final=True)
    done = json.dumps({"step": learner.steps, "seconds": seconds(), "reason": reason}).encode()
    checkpoint.write_whole(folder / "done.json", lambda file: file.write(done))
    if reason == "interrupted":
        raise KeyboardInterrupt
    return folder


def _save(learner: TextLearner, folder: Path, seconds: float, *, final: bool) -> None:
    """Writes a checkpoint. A full disk is an error at the end, and a warning before."""
    try:
        checkpoint.save(folder / "checkpoints", learner.steps, {"learner": learner.state_dict(), "seconds": seconds})
    except OSError as error:
        if final:
            raise RunError(f"could not save the run: {error}. Make room, then resume it") from error
        print(f"warning: {error}; the checkpoint before it stays, and the next is tried in due course")


def _resume(learner: TextLearner, folder: Path) -> float:
    """Puts the learner where the newest checkpoint was, and cuts what was written after it; the seconds until then."""
    state: dict[str, Any]
    state, path, damaged = checkpoint.load_newest(folder / "checkpoints")
    for line in damaged:
        print(f"{line}; going on from {path.name}")
    learner.load_state_dict(state["learner"])
    for name in ("progress.jsonl", "samples.jsonl"):
        kept = [line for line in whole_lines(folder / name) if json.loads(line)["step"] <= learner.steps]
        text = "".join(line + "\n" for line in kept).encode()
        checkpoint.write_whole(folder / name, lambda file, text=text: file.write(text))
    return state["seconds"]
