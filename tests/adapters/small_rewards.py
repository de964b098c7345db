"""Small rewards of texts, at the top level so that expressions in other environments find them."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from guerdon.types import About, Completions, Reward

ABOUT = About(rewards="what a test asks for", paper="none", scores="Completions")


class Brief(Reward):
    """1 for fewer than 20 characters, else 0; a question mark is not scored."""

    about: ClassVar[About] = ABOUT

    def score(self, experience: Completions, **needed: object) -> torch.Tensor:
        return torch.tensor([math.nan if t == "?" else float(len(t) < 20) for t in experience.text])


class Longest(Reward):
    """1 for the longest completion of its group."""

    about: ClassVar[About] = ABOUT

    def score(self, experience: Completions, **needed: object) -> torch.Tensor:
        assert experience.group is not None
        assert not experience.group.any(), "one group"
        lengths = [len(t) for t in experience.text]
        return torch.tensor([float(length == max(lengths)) for length in lengths])


class Asked(Reward):
    """What the prompt's last message asks for, plus the column "index" over 10."""

    about: ClassVar[About] = ABOUT

    def score(self, experience: Completions, **needed: object) -> torch.Tensor:
        words = [p if isinstance(p, str) else p[-1]["content"] for p in experience.prompt]
        index = experience.column("index", self.name)
        return torch.tensor([float(w[0] == "1") + int(i) / 10 for w, i in zip(words, index, strict=True)])


async def waits(completion: str, answer: str) -> float | None:
    """A scoring function that is awaited."""
    return None if completion == "?" else float(answer in completion)
