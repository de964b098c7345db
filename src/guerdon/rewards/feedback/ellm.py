"""ELLM: a reward for messages that say what a goal says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.models.sentence_encoder import PACKAGED, SentenceEncoder, bag_of_words
from guerdon.parts.caption_pay import pay_captions
from guerdon.parts.growing import Memo
from guerdon.types import About, Experience, Reward, Spec

Encoder = Callable[[Sequence[str]], Tensor]
"""Texts to vectors [n, d]."""


class ELLM(Reward):
    """Pays messages close in meaning to a goal: the cosine of their embeddings, if at least `threshold`, * N(c)^-power.

        r(c) = max over goals g of cos(e(c), e(g)) where that is at least `threshold`, else 0

    c is the caption a step led to, N(c) how often it has occurred in this episode, now included. Each caption is
    embedded once. Scores are float32 [T, B] in [threshold, 1] or 0; 0 for the empty caption and at invalid steps.

    Du et al., "Guiding Pretraining in Reinforcement Learning with Large Language Models", 2023; this is the form of it
    that ONI (2024) compares with. Where it differs: in the paper a language model suggests the goals anew at each
    state and a goal pays once an episode, here goals are given and repeats fade by the count gate; ONI's baseline sums
    fastText word vectors, which are not at hand, so that the default is a sentence encoder.

    Args:
        goals: what to reach, in words; several are alternatives.
        threshold: least cosine that is paid (our choice).
        encoder: the name of a packaged sentence encoder, a folder with one, "bag-of-words" (hashed counts of words,
            needs nothing and knows no synonyms), or a function from texts to vectors.
        power: of the episodic count gate; 0 switches it off (ONI's).
    """

    about: ClassVar[About] = About(
        rewards="messages that mean what a goal means",
        paper="Guiding Pretraining in Reinforcement Learning with Large Language Models (Du et al., 2023)",
        link="https://arxiv.org/abs/2302.06692",
        example="ELLM(goals=['You kill a monster.', 'You go down the stairs.'], encoder='bag-of-words')",
    )

    reads_captions: ClassVar[bool] = True

    aims: Tensor  # [goals, d], of length 1

    def __init__(
        self,
        *,
        goals: str | Sequence[str] = ("You kill a monster.", "You collect gold.", "You go down the stairs."),
        threshold: float = 0.5,
        encoder: str | Encoder = PACKAGED,
        power: float = 3.0,
    ) -> None:
        super().__init__()
        if not goals:
            raise ValueError("ELLM needs a goal, such as ELLM(goals=['You open the door.'])")
        self.goals, self.threshold, self.encoder, self.power = goals, threshold, encoder, power

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        if spec.captions is None:
            raise ValueError("ELLM needs a task with captions: make it with tasks.make(..., captions=True)")
        self.captions = spec.captions
        if isinstance(self.encoder, str):
            named = self.encoder
            self.embed = bag_of_words if named == "bag-of-words" else SentenceEncoder(named, device=device)
        else:
            self.embed = self.encoder
        goals = [self.goals] if isinstance(self.goals, str) else list(self.goals)
        self.register_buffer("aims", F.normalize(self.embed(goals), dim=-1).to(device), persistent=False)
        self.memo = Memo().to(device)  # the cosine of each caption with the goal that it is closest to

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        return pay_captions(experience, self._worth, power=self.power, name=self.name)

    def _worth(self, ids: Tensor) -> Tensor:
        cosine = self.memo.of(ids, self._cosine)
        return torch.where(cosine >= self.threshold, cosine, 0.0)

    def _cosine(self, ids: Tensor) -> Tensor:
        texts = [self.captions.text(i) for i in ids.tolist()]
        embedded = torch.cat([self.embed(texts[i : i + 64]) for i in range(0, len(texts), 64)]).to(self.aims)
        return (F.normalize(embedded, dim=-1) @ self.aims.T).amax(1)
