"""Where the time of a loop goes."""

from __future__ import annotations

import time


class Clock:
    """Seconds by name: each `lap` books the time since the lap before it, so nothing is left out."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Books the time since the last lap under `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now

    def drain(self) -> dict[str, float]:
        """The seconds so far, which are then forgotten."""
        seconds, self.seconds = self.seconds, {}
        return seconds
