"""A judge that tests steer, and look over the shoulder of, through files: it lives in another process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from guerdon.judges.errors import JudgeUnavailable
from guerdon.types import Item, Label

DEADLINE = 120.0


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Returns as soon as `condition` holds; fails when it does not for a long time."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what or "it took too long"
        time.sleep(0.01)


class Script:
    """The test's side: `hold` makes the judge wait, `down` makes it unavailable, for as long as these files exist."""

    def __init__(self, folder: Path) -> None:
        self.hold, self.down, self.log = folder / "hold", folder / "down", folder / "asked.jsonl"
        self.silent = folder / "silent"  # while it exists nothing is logged
        folder.mkdir(exist_ok=True)

    def calls(self) -> list[dict]:
        """Every call of the judge so far: {"pid", "items"}."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def asked(self) -> list[str]:
        """The items of every call, in order."""
        return [item for call in self.calls() for item in call["items"]]

    def pid(self) -> int:
        """The process of the latest call."""
        eventually(self.calls, "the judge was never asked")
        return self.calls()[-1]["pid"]


class ScriptedJudge:
    """Says 1 to what has "door" in it, else 0; no label to "mumble" and "late". Dies of "die", is broken by "raise"."""

    name, prompt = "scripted", "v1"

    def __init__(self, folder: Path) -> None:
        self.script = Script(folder)
        self.count = 0

    async def judge(self, items: Sequence[Item]) -> list[Label]:
        self.count += 1
        if self.script.down.exists():
            raise JudgeUnavailable("nobody answers")
        if not self.script.silent.exists():
            with self.script.log.open("a") as log:
                log.write(json.dumps({"pid": os.getpid(), "items": items}) + "\n")
        while self.script.hold.exists():
            await asyncio.sleep(0.005)
        if "die" in items:
            os.kill(os.getpid(), 9)
        if "raise" in items:
            raise ZeroDivisionError("the judge has a bug")
        return [self._label(item) for item in items]

    @staticmethod
    def _label(item: Item) -> Label:
        reason = {"mumble": "unparseable", "late": "timeout"}.get(str(item))
        return Label(item, None if reason else float("door" in item), reason)

    def counters(self) -> dict[str, float]:
        return {"calls": float(self.count)}
