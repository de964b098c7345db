"""What the documentation promises of each shipped reward under `guerdon probe`; a test holds them to it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from guerdon.types import Reward

FILE = Path(__file__).with_name("expected.json")


@functools.cache
def table() -> dict[str, dict[str, str]]:
    """Verdicts by the expression of the reward, `Name()` with its defaults mostly, and by probe."""
    return json.loads(FILE.read_text())


def expected(reward: Reward) -> dict[str, str]:
    """The verdicts promised of exactly this reward; empty for others."""
    return table().get(repr(reward), {})
