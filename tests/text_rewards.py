"""Small rewards of completions, at the top level so that worker processes and expressions find them."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from guerdon.types import About, Completions, Reward


class Longer(Reward):
    """1 for a completion longer than the others of its group on average, 0 for the others; NaN if there is no other."""

    about: ClassVar[About] = About(rewards="length", paper="none", scores="Completions")

    def score(self, experience: Completions, **needed: object) -> torch.Tensor:
        lengths = torch.tensor([float(len(t)) for t in experience.text])
        assert experience.group is not None
        out = []
        for i, g in enumerate(experience.group):
            others = (experience.group == g) & (torch.arange(len(lengths)) != i)
            out.append(math.nan if not others.any() else float(lengths[i] > lengths[others].mean()))
        return torch.tensor(out)


class PerStep(Reward):
    """0.1 for each step, on its last token; a step that says "?" is not scored."""

    about: ClassVar[About] = About(rewards="steps", paper="none", scores="Completions")

    def score(self, experience: Completions, **needed: object) -> torch.Tensor:
        value = 0.1 * experience.step_ends().float()
        for i, text in enumerate(experience.text):
            if "?" in text:
                value[i] = math.nan
        return value


class Answer(Reward):
    """1 where the completion is the column "answer"."""

    about: ClassVar[About] = About(rewards="right answers", paper="none", scores="Completions")

    def score(self, experience: Completions, **needed: object) -> torch.Tensor:
        if "answer" not in (experience.columns or {}):
            raise ValueError("Answer needs the column 'answer'")
        return torch.tensor([float(t == a) for t, a in zip(experience.text, experience.columns["answer"], strict=True)])
