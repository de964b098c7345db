"""Dual reconstruction: an answer is good if what was hidden from the question can be found again with its help."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import Formatter
from typing import ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.answers import Same, equality, extract_answer
from guerdon.parts.span_scores import reduce_span
from guerdon.types import About, Completions, LanguageModel, Prompt, Reward


class DualReconstruction(Reward):
    """Pays for answers from which the policy, asked the question the other way round, finds a hidden part of it again.

        question x = (known, hidden);  y the answer to it;  dual question x'(known, y): what is hidden?
        by "likelihood"   r = exp((1/n) sum_j log p(hidden_j | x', hidden_<j)), in (0, 1]
        by "written"      r = 1[answer in the policy's likeliest writing to x' = hidden]

    Nobody needs to know y: the question itself is the label. [N] float32; a completion without an answer is 0; NaN
    where the dual question does not fit the policy's context. A prompt of messages gets a dual question of one message.

    She et al., "DuPO: Enabling Reliable LLM Self-Verification via Dual Preference Optimization", 2025 (from public
    accounts: reconstructed; the likelihood form is ours). The policy that is trained also answers the dual question.

    Args:
        dual: the dual question. ``{said}`` is the answer given, ``{known}`` and the like are columns.
        hidden: column with what it should give.
        by: how it is seen whether it does.
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`; for "written" also that to x'.
        same: for "written", when two answers are equal: "text", "algebra", or a function of two texts.
        max_tokens: for "written", of what the policy writes.
    """

    about: ClassVar[About] = About(
        rewards="answers from which a hidden part of the question can be found",
        paper="DuPO: Enabling Reliable LLM Self-Verification via Dual Preference Optimization (She et al., 2025)",
        link="https://arxiv.org/abs/2508.14460",
        scores="Completions",
        example="DualReconstruction(dual='It makes {said}. What was asked?', hidden='answer')",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"policy"})

    def __init__(
        self,
        *,
        dual: str = "{known}\nThe answer is {said}. What was left out?\n",
        hidden: str = "hidden",
        by: Literal["likelihood", "written"] = "likelihood",
        how: str | Sequence[str] = "boxed",
        same: Same = "text",
        max_tokens: int = 256,
    ) -> None:
        super().__init__()
        if by not in ("likelihood", "written"):
            raise ValueError(f"DualReconstruction looks by likelihood or by what is written, not by {by!r}")
        if "said" not in _fields(dual):
            raise ValueError(f"the dual question must say {{said}}, or no answer could change the reward: {dual!r}")
        self.dual, self.hidden, self.by, self.how, self.same, self.max_tokens = dual, hidden, by, how, same, max_tokens

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        hidden = experience.column(self.hidden, self.name)
        known = {n: experience.column(n, self.name) for n in _fields(self.dual) if n != "said"}
        value = torch.zeros(len(hidden), device=experience.ids.device)
        rows, starts, wanted = [], [], []
        for i, text in enumerate(experience.text):
            if (said := extract_answer(text, self.how)) is None:
                continue
            asked: Prompt = self.dual.format(said=said, **{n: column[i] for n, column in known.items()})
            if not isinstance(experience.prompt[i], str):
                asked = [{"role": "user", "content": asked}]
            longest = len(str(hidden[i])) if self.by == "likelihood" else self.max_tokens  # characters outnumber tokens
            if len(policy.encode(policy.render(asked))) + longest > policy.max_length:
                value[i] = math.nan
                continue
            rows.append(i)
            starts.append(asked)
            wanted.append(str(hidden[i]))
        if not rows:
            return value
        found = (_likelihood if self.by == "likelihood" else self._written)(policy, starts, wanted)
        return value.to(found).index_copy(0, torch.tensor(rows, device=found.device), found)

    def _written(self, policy: LanguageModel, asked: list[Prompt], hidden: list[str]) -> Tensor:
        same = equality(self.same)
        written = policy.generate(asked, max_tokens=self.max_tokens, temperature=0.0).text
        said = [extract_answer(text, self.how) for text in written]
        return torch.tensor([float(s is not None and same(h, s)) for h, s in zip(hidden, said, strict=True)])


def _likelihood(policy: LanguageModel, asked: list[Prompt], hidden: list[str]) -> Tensor:
    starts = [policy.render(prompt) for prompt in asked]
    pieces = [policy.split(s + h, len(s), len(s) + len(h)) for s, h in zip(starts, hidden, strict=True)]
    scores = policy.score([before for before, _ in pieces], [span for _, span in pieces])
    return reduce_span(scores.log_prob, scores.mask, "geo_mean", name="DualReconstruction")


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}
