"""Self-verification: the policy judges its own solutions."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from guerdon.types import About, Completions, LanguageModel, Prompt, Reward

QUESTION = Path(__file__).with_suffix(".txt").read_text().strip()
"""What the policy is asked behind a solution of its own."""


class SelfVerification(Reward):
    """Pays for solutions that the policy, asked afterwards whether its own answer is correct, says Yes to.

        by "probability"  r = P(Yes) / (P(Yes) + P(No)), in [0, 1]
        by "likelier"     r = 1[P(Yes) > P(No)]
        by "written"      r = 1[the verdict that the policy writes is Yes], its last Yes or No

    P is the policy's probability of the word right after the question. [N] float32. NaN (not scored) where the
    solution with the question behind it does not fit the policy's context, or where it writes no verdict. The policy
    writes at temperature 0, so that scoring twice gives the same.

    Checking is often easier than finding, which is what this lives on; it needs a policy that was tuned to follow
    instructions. The judge is the policy itself, as it is now: a policy can learn to please it.

    "How Far Can Unsupervised RLVR Scale LLM Training?", 2026. The question's wording is ours.

    Args:
        by: what the verdict is.
        question: put behind the solution: as the next message of the user, or after an empty line of a plain text.
        yes: the word of approval.
        no: the word of refusal.
        max_tokens: of a written verdict.
    """

    about: ClassVar[About] = About(
        rewards="solutions that the policy itself finds correct",
        paper="How Far Can Unsupervised RLVR Scale LLM Training? (2026)",
        link="https://arxiv.org/abs/2603.08660",
        scores="Completions",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"policy"})

    def __init__(
        self,
        *,
        by: Literal["probability", "likelier", "written"] = "likelier",
        question: str = QUESTION,
        yes: str = "Yes",
        no: str = "No",
        max_tokens: int = 64,
    ) -> None:
        super().__init__()
        if by not in ("probability", "likelier", "written"):
            raise ValueError(f"SelfVerification judges by probability, likelier or written, not by {by!r}")
        self.by, self.question, self.yes, self.no, self.max_tokens = by, question, yes, no, max_tokens

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        value = torch.full((len(experience.text),), math.nan, device=experience.ids.device)
        room = self.max_tokens if self.by == "written" else max(len(self.yes), len(self.no))
        asked = {}
        for i, (prompt, text) in enumerate(zip(experience.prompt, experience.text, strict=True)):
            made = self._asked(prompt, text)
            if len(policy.encode(policy.render(made))) + room <= policy.max_length:
                asked[i] = made
        if not asked:
            return value
        found = (self._written if self.by == "written" else self._likelihood)(policy, list(asked.values()))
        return value.to(found).index_copy(0, torch.tensor(list(asked), device=found.device), found)

    def _asked(self, prompt: Prompt, text: str) -> Prompt:
        if isinstance(prompt, str):
            return f"{prompt}{text}\n\n{self.question}\n"
        return [*prompt, {"role": "assistant", "content": text}, {"role": "user", "content": self.question}]

    def _likelihood(self, policy: LanguageModel, asked: list[Prompt]) -> Tensor:
        starts = [policy.render(prompt) for prompt in asked]
        words = [(start, word) for word in (self.yes, self.no) for start in starts]
        pieces = [policy.split(start + word, len(start), len(start) + len(word)) for start, word in words]
        scores = policy.score([before for before, _ in pieces], [span for _, span in pieces])
        total = torch.where(scores.mask, scores.log_prob, 0.0).sum(1)
        approval = approval_probability(total[: len(asked)], total[len(asked) :])
        return approval if self.by == "probability" else (approval > 0.5).float()

    def _written(self, policy: LanguageModel, asked: list[Prompt]) -> Tensor:
        written = policy.generate(asked, max_tokens=self.max_tokens, temperature=0.0).text
        return torch.tensor([verdict(text, self.yes, self.no) for text in written])


def approval_probability(log_yes: Tensor, log_no: Tensor) -> Tensor:
    """[N]: P(yes) / (P(yes) + P(no)) of log-probabilities [N]."""
    return torch.sigmoid(log_yes - log_no)


def verdict(text: str, yes: str = "Yes", no: str = "No") -> float:
    """1.0 or 0.0: the last of the two words in a text, whatever their case; NaN if it has neither."""
    words = re.findall(rf"\b(?:{re.escape(yes)}|{re.escape(no)})\b", text, re.IGNORECASE)
    return float(words[-1].casefold() == yes.casefold()) if words else math.nan
