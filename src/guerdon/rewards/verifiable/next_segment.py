"""Next-segment prediction: any text checks itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.answers import extract_answer
from guerdon.types import About, Completions, Reward


class NextSegment(Reward):
    """Pays 1 for saying how a text goes on, after thinking about it; the text itself is the only label.

        r = 1[the prediction is a beginning of the continuation, and ends where a word of it ends]

    The prediction is the answer of the completion. White space is compared as one space, and dropped at both ends; a
    word is letters and digits, any other character one by itself. A longer prediction is paid like a shorter one.
    [N] float32, 0 or 1; no prediction is 0.

    Dong et al., "Reinforcement Pre-Training" (RPT), 2025. Where it differs: there a prediction must end at the end of
    one of the model's own tokens, here of a word, so that no tokenizer is asked.

    Args:
        continuation: column with the text that follows the prompt.
        how: where the prediction stands, as in `guerdon.parts.answers.extract_answer`.
    """

    about: ClassVar[About] = About(
        rewards="saying how a text goes on",
        paper="Reinforcement Pre-Training (Dong et al., 2025)",
        link="https://arxiv.org/abs/2506.08007",
        scores="Completions",
        example="NextSegment(continuation='answer')",
    )

    def __init__(self, *, continuation: str = "continuation", how: str | Sequence[str] = "boxed") -> None:
        super().__init__()
        self.continuation, self.how = continuation, how

    def score(self, experience: Completions, **_: object) -> Tensor:
        values = [
            (said := extract_answer(text, self.how)) is not None and goes_on(said, str(continuation))
            for text, continuation in zip(experience.text, experience.column(self.continuation, self.name), strict=True)
        ]
        return torch.tensor(values, device=experience.ids.device).float()


def goes_on(prediction: str, continuation: str) -> bool:
    """Whether `continuation` begins with the prediction, which ends where a word of it ends; see `NextSegment`."""
    said, text = " ".join(prediction.split()), " ".join(continuation.split())
    if not said or not text.startswith(said):
        return False
    after = text[len(said) : len(said) + 1]
    return not (said[-1].isalnum() and after.isalnum())
