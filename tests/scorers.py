"""Scorers of every kind and with every fault, where worker processes find them soon: nothing here imports torch."""

from __future__ import annotations

import asyncio
import math
import os
import pathlib
import sys
import threading

import numpy as np

GATE = threading.Event()  # what hangs hangs on it, so that tests can let it go


def length(completion: str) -> float:
    return float(len(completion))


def matches(prompt: str, completion: str, answer: str) -> bool:
    return completion == answer


async def waits(completion: str) -> float:
    await asyncio.sleep(0)
    return len(completion)


class Waits:
    async def __call__(self, completion: str) -> float:
        await asyncio.sleep(0)
        return len(completion)


def lengths(prompts: list[str], completions: list[str], **columns: list) -> list[float]:
    return [float(len(c)) for c in completions]


async def lengths_later(completions: list[str]) -> list[float]:
    return [float(len(c)) for c in completions]


def rows_as_they_are(rows: list[dict]) -> list[dict]:
    return [{"score": len(r["completion"]), "vowels": sum(c in "aeiou" for c in r["completion"])} for r in rows]


ODD = {
    "none": None, "nan": math.nan, "inf": -math.inf, "text": "0.5", "huge": 10**400, "list": [1.0, 2.0],
    "object": object(), "numpy": np.float32(0.25), "array": np.ones(3), "bool": True,
    "mapping": {"score": 2}, "no score": {"value": 1.0},
}  # fmt: skip


def odd(completion: str) -> object:
    """What the completion names; or worse."""
    if completion == "raise":
        raise LookupError("no such\nthing")
    if completion == "exit":
        sys.exit(3)
    if completion == "die":
        os._exit(7)
    if completion == "hang":
        GATE.wait(60)
    return ODD.get(completion, 1.0)


async def odd_later(completion: str) -> object:
    if completion == "hang":
        await asyncio.get_running_loop().create_future()
    if completion == "stubborn":
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if GATE.is_set():
                    raise
    return odd(completion)


def many(completions: list[str]) -> list[object]:
    """A batch that one row can spoil."""
    if "drop" in completions:
        completions = [c for c in completions if c != "drop"]
    return [odd(c) for c in completions]


def one_number(completions: list[str]) -> float:
    return 1.0


def always_raises(completions: list[str]) -> list[float]:
    raise ConnectionError("nobody there")


def where(completion: str) -> int:
    return os.getpid()


def until(prompt: str, completion: str) -> float:
    """Answers once the file that the prompt names is there."""
    path = pathlib.Path(prompt)
    path.with_suffix(".asked").touch()
    while not path.exists():
        GATE.wait(0.01)
    return float(len(completion))


def slow_lengths(completions: list[str]) -> list[float]:
    """Lengths, each noted in the file that CALLS names."""
    with open(os.environ["CALLS"], "a") as log:
        log.write("".join(f"{len(c)}\n" for c in completions))
    GATE.wait(0.005)
    return [float(len(c)) for c in completions]
