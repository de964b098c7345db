"""A game whose whole life follows from its seed, for the tests of the worker pool. Importable by worker processes."""

import os
import signal

import numpy as np
from gymnasium import spaces


class Toy:
    """Shows (seed, time); ends after seed % 5 + 2 steps, every third time by truncation; pays its action."""

    def __init__(self, *, fail_at: int = -1, die_at: int = -1, talk: bool = True) -> None:
        self.observation_space = spaces.Dict(
            {
                "seed": spaces.Box(0, 2**32, (), np.int64),
                "time": spaces.Box(0, 10, (2,), np.float32),
            }
        )
        self.action_space = spaces.Discrete(10)
        self.fail_at, self.die_at, self.talk, self.closed = fail_at, die_at, talk, False
        self.total = 0

    def bind(self, views):
        self.views = views

    def reset(self, seed):
        self.seed, self.time = seed, 0
        self._show()

    def step(self, action):
        self.total += 1
        if self.total == self.fail_at:
            raise ZeroDivisionError("the toy broke")
        if self.total == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.time += 1
        self._show()
        over = self.time == self.seed % 5 + 2
        return float(action), over and self.seed % 3 != 0, over and self.seed % 3 == 0

    def message(self):
        if not self.talk:
            raise AssertionError("nobody is to read messages")
        return (b"", b"you find %d gold" % (self.seed % 7), b"you see 3 rats", None)[(self.seed + self.time // 2) % 4]

    def stats(self):
        return {"success": float(self.seed % 2)}

    def close(self):
        self.closed = True

    def _show(self):
        self.views["seed"][...] = self.seed
        self.views["time"][...] = self.time


class Wide(Toy):
    """Takes two numbers at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def step(self, action):
        _, *ends = super().step(0)
        return (float(action[0] - action[1]), *ends)


def fewer_numbers(text: str) -> str:
    """The canonicaliser of the tests."""
    return "".join("n" if c.isdigit() else c for c in text)
