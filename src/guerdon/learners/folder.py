"""What runs of every kind share in their folders: rows, TensorBoard, Ctrl-C."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class RunError(RuntimeError):
    """A run that cannot start or go on; the message names the cure."""


def spread(values: torch.Tensor) -> dict[str, float]:
    """Mean, deviation and maximum of the numbers that are not NaN; nothing where there are none."""
    values = values[~values.isnan()]
    if not len(values):
        return {}
    return {"mean": float(values.mean()), "std": float(values.std(correction=0)), "max": float(values.max())}


def whole_lines(path: Path) -> Iterator[str]:
    """Lines of a file whose last one may have been cut short."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            json.loads(line)
        except ValueError:
            continue
        yield line


class Board:
    """TensorBoard's copy of the rows. Where it cannot be written it is given up with a warning; the run goes on."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter  # slow to import

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def add(self, row: dict[str, float]) -> None:
        if self._writer is None:
            return
        try:
            for name, value in row.items():
                self._writer.add_scalar(name, value, int(row["step"]))
        except OSError as error:
            print(f"warning: no more rows for TensorBoard ({error}); progress.jsonl has them all")
            self._writer = None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Ctrl-C asks for a stop after this iteration; a second one stops at once."""
    asked = threading.Event()

    def handle(signum: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
