"""Semantic clusters: completions are paid for saying what many others of the same prompt say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.models.sentence_encoder import PACKAGED, SentenceEncoder
from guerdon.parts.answers import Equality, Same, answer_classes, equality, extract_answer, rows_of_groups
from guerdon.types import About, Completions, Reward, Spec


class SemanticClusters(Reward):
    """Pays each completion the share of its group that means the same.

        r_i = |cluster(i)| / N

    [N] float32 in [0, 1]; its mean over a group is at most 1, which is reached when all agree. A completion joins the
    first cluster whose first member it equals in meaning. One without an answer is worth 0 and counts in N.

    Zhang et al., "Right Question is Already Half the Answer: Fully Unsupervised LLM Reasoning Incentivization" (EMPO),
    2025. There, meaning is compared by bidirectional entailment with a classifier, or by a math verifier; here by the
    cosine of sentence embeddings (our choice), by algebra, or by any function of two texts, such as an entailment.

    Args:
        how: where what is compared stands, as in `guerdon.parts.answers.extract_answer`; "text" is the whole text.
        same: "text" (equal once normalised), "algebra", "meaning" (embeddings), or a function of two texts.
        threshold: least cosine of equal meaning (our choice).
        encoder: for "meaning", a packaged sentence encoder or a folder with one.
    """

    about: ClassVar[About] = About(
        rewards="meaning what many other completions mean",
        paper="Right Question is Already Half the Answer (EMPO; Zhang et al., 2025)",
        link="https://arxiv.org/abs/2504.05812",
        scores="Completions",
    )

    def __init__(
        self,
        *,
        how: str | Sequence[str] = "boxed",
        same: Same = "text",
        threshold: float = 0.8,
        encoder: str = PACKAGED,
    ) -> None:
        super().__init__()
        self.how, self.same, self.threshold, self.encoder = how, same, threshold, encoder

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        if self.same == "meaning":
            self.embed = SentenceEncoder(self.encoder, device=device)

    def score(self, experience: Completions, **_: object) -> Tensor:
        if experience.group is None:
            raise ValueError(f"{self.name} compares the completions of a prompt: set Completions.group")
        answers = [extract_answer(text, self.how) for text in experience.text]
        same = self._by_meaning(answers) if self.same == "meaning" else equality(self.same)
        values = [0.0] * len(answers)
        for rows in rows_of_groups(experience.group, len(answers)):
            classes = answer_classes([answers[i] for i in rows], same)
            for i, number in zip(rows, classes, strict=True):
                values[i] = classes.count(number) / len(rows) if number >= 0 else 0.0
        return torch.tensor(values, device=experience.ids.device)

    def _by_meaning(self, answers: Sequence[str | None]) -> Equality:
        texts = sorted({a for a in answers if a is not None})
        batches = [self.embed(texts[i : i + 64]) for i in range(0, len(texts), 64)]
        table = dict(zip(texts, torch.cat(batches).cpu() if batches else [], strict=True))
        return lambda first, second: float(table[first] @ table[second]) >= self.threshold
