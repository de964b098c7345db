"""Checkpoints that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

KEEP = 2


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read; the message says which, and what to do."""


def write_whole(path: Path, write: Any) -> None:
    """Calls ``write(file)`` on a file beside `path`, which becomes `path` only once it is on the disk.

    Raises OSError as the system gave it (a full disk, no permission); `path` is then as it was before.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes ``folder/<step>.pt`` and forgets all but the newest two. Raises OSError; an older one then stays."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step:012d}.pt"
    try:
        write_whole(path, lambda file: torch.save(state, file))
    except RuntimeError as error:  # PyTorch's writer reports a full disk as its own error
        raise OSError(f"could not write {path}: {error}") from error
    for old in sorted(folder.glob("*.pt"))[:-KEEP]:
        old.unlink()
    return path


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote. Raises CheckpointError if the file is damaged."""
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged ({type(error).__name__}: {str(error).splitlines()[0][:120]})"
        ) from error


def load_newest(folder: Path) -> tuple[dict[str, Any], Path, list[str]]:
    """The newest checkpoint that can be read, its path, and a line on each damaged one passed over.

    Raises CheckpointError if there is none.
    """
    paths = sorted(folder.glob("*.pt"), reverse=True)
    if not paths:
        raise CheckpointError(f"no checkpoint in {folder}: the run stopped before its first one; start it anew")
    damaged = []
    for path in paths:
        try:
            return load(path), path, damaged
        except CheckpointError as error:
            damaged.append(str(error))
    raise CheckpointError(
        "; ".join(damaged) + ". No older one is left: start the run anew (its labels are in its store)"
    )
