"""The plainest verifier: is the final answer the reference, letter for letter once both are in one form?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.answers import extract_answer, same_text
from guerdon.types import About, Completions, Reward


class ExactMatch(Reward):
    """Pays a response whose final answer is the reference, up to the spellings that `normalise_answer` knows.

    [N] float32: `right` for an equal answer, `wrong` for another one, `missing` where no answer can be found. The
    baseline that rewards without a verifier are compared with; "Likelihood-Based Reward Designs" (2026) has it at 100,
    10 and 0.

    Args:
        answer: the column with the reference.
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
        right: see above.
        wrong: see above.
        missing: see above.
    """

    about: ClassVar[About] = About(
        rewards="final answers equal to the reference",
        paper="DeepSeek-R1: Incentivizing Reasoning Capability in LLMs via Reinforcement Learning (2025)",
        link="https://arxiv.org/abs/2501.12948",
        scores="Completions",
    )

    def __init__(
        self,
        *,
        answer: str = "answer",
        how: str | Sequence[str] = ("boxed", "<answer>", "####"),
        right: float = 1.0,
        wrong: float = 0.0,
        missing: float = 0.0,
    ) -> None:
        super().__init__()
        self.answer, self.how, self.right, self.wrong, self.missing = answer, how, right, wrong, missing

    def score(self, experience: Completions) -> Tensor:
        references = map(str, experience.column(self.answer, self.name))
        pays = [self._worth(text, ref) for text, ref in zip(experience.text, references, strict=True)]
        return torch.tensor(pays, dtype=torch.float32, device=experience.ids.device)

    def _worth(self, text: str, reference: str) -> float:
        found = extract_answer(text, self.how)
        if found is None:
            return self.missing
        return self.right if same_text(found, reference) else self.wrong
