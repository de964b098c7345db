"""A price for saying the same again and again."""

from __future__ import annotations

import re
from collections import Counter
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.types import About, Completions, Reward


def most_repeated(text: str, window: int = 10) -> int:
    """How often the most frequent run of `window` words occurs; words are split on white space and underscores."""
    words = [word for word in re.split(r"[\s_]+", text) if word]
    runs = Counter(zip(*(words[i:] for i in range(window)), strict=False))
    return max(runs.values(), default=0)


class RepetitionPenalty(Reward):
    """Charges -1 for a response in which any run of 10 words occurs at least 6 times, else 0.

    [N] float32. Overlapping runs count: "a a a" holds "a a" twice. As in the release of RLPR (Yu et al., 2025), which
    adds it to its reward.

    Args:
        window: words in a run.
        times: from how many occurrences on it is charged.
        weight: of the charge.
    """

    about: ClassVar[About] = About(
        rewards="responses that do not repeat themselves",
        paper="RLPR: Extrapolating RLVR to General Domains without Verifiers (Yu et al., 2025)",
        link="https://github.com/OpenBMB/RLPR",
        scores="Completions",
    )

    def __init__(self, *, window: int = 10, times: int = 6, weight: float = 1.0) -> None:
        super().__init__()
        if window < 1 or times < 2:
            raise ValueError(f"RepetitionPenalty needs window >= 1 and times >= 2, got {window} and {times}")
        self.window, self.times, self.weight = window, times, weight

    def score(self, experience: Completions) -> Tensor:
        repeats = [most_repeated(text, self.window) >= self.times for text in experience.text]
        return -self.weight * torch.tensor(repeats, dtype=torch.float32, device=experience.ids.device)
