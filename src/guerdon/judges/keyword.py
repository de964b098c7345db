"""A judge that needs no model: a caption is helpful if it holds one of some words."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from guerdon.judges.expression import expression
from guerdon.types import FIRST, SECOND, TIE, Item, Label


@dataclass(kw_only=True, repr=False)
class KeywordJudge:
    """Labels a caption 1 if it holds one of `words`, else 0; of a pair the caption with the larger label wins.

    For rules of your own (a better judge than a language model where the messages are few and known), and for checks
    that need a judge whose latency and errors are known exactly. Answers depend on the options and the item alone.

    Args:
        words: parts of a caption that make it helpful; upper and lower case differ.
        invert: turns every caption's label round.
        noise: share of the captions whose label is turned round, by lot; 0.5 makes labels random. A caption keeps its
            label, and pairs follow it. The empty caption is 0, whatever the options.
        seed: of the lots.
        latency: seconds that an answer takes, however many items were asked about at once.

    Raises:
        ValueError: no words, a negative latency, or a noise outside 0..1.
    """

    words: tuple[str, ...]
    invert: bool = False
    noise: float = 0.0
    seed: int = 0
    latency: float = 0.0
    prompt: str = "keywords"

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or not self.words or not all(self.words):
            raise ValueError(f"KeywordJudge(words=...) is a tuple of words, got {self.words!r}")
        if not 0 <= self.noise <= 1 or self.latency < 0:
            raise ValueError(f"{self!r}: noise is a share in 0..1, latency must not be negative")
        self._asked = 0

    def __repr__(self) -> str:
        return expression(self)

    @property
    def name(self) -> str:
        """The judge with those of its options that change answers."""
        return expression(self, leave_out=("latency", "prompt"))

    async def judge(self, items: Sequence[Item]) -> list[Label]:
        """One label an item, in order."""
        if self.latency:
            await asyncio.sleep(self.latency)
        self._asked += len(items)
        return [Label(item, self._value(item), None, self.name, self.prompt) for item in items]

    def counters(self) -> dict[str, float]:
        """Items asked about so far."""
        return {"asked": float(self._asked)}

    def _value(self, item: Item) -> float:
        if isinstance(item, str):
            return self._label(item)
        first, second = map(self._label, item)
        return TIE if first == second else FIRST if first > second else SECOND

    def _label(self, caption: str) -> float:
        if not caption:
            return 0.0
        digest = hashlib.blake2b(f"{self.seed}\0{caption}".encode(), digest_size=8).digest()
        turned = int.from_bytes(digest, "big") < self.noise * 2**64
        return float(any(word in caption for word in self.words) ^ turned ^ self.invert)
