"""Token F1: how far the words of the answer are those of the reference."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.parts.answers import extract_answer
from guerdon.types import About, Completions, Experience, Reward

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def token_set(text: str) -> set[str]:
    """The different words of a text, in lower case, punctuation removed."""
    return set(text.lower().translate(_PUNCTUATION).split())


def token_f1(answer: str, references: str | Sequence[str]) -> float:
    """F1 = 2 |A & R| / (|A| + |R|) of the sets of words, in [0, 1]; of several references the best.

    Raises ValueError if there is no reference, or one without a word.
    """
    wanted = [token_set(r) for r in ([references] if isinstance(references, str) else references)]
    if not wanted or not all(wanted):
        raise ValueError(f"token F1 needs references with at least one word, got {references!r}")
    own = token_set(answer)
    return max(2 * len(own & words) / (len(own) + len(words)) for words in wanted)


class TokenF1(Reward):
    """Pays the F1 of the answer's words against the reference's, and charges for a broken format.

    F1 is of sets of words, lower-cased, punctuation removed; the best over aliases. The answer is what stands in the
    last pair of answer tags. Where there is none, or a tag of `balanced` is not opened as often as it is closed, the
    value is `penalty`. Float32 [N], a value a whole answer, in [0, 1] or `penalty`.

    As the outcome of IGPO's search agents (Wang et al., 2025).

    Args:
        answer: column of references, each a text or a list of aliases.
        how: where the answer stands (`parts.answers.extract_answer`).
        balanced: tags whose openings and closings are counted in the text. Leave out one that the prompt opens.
        penalty: of a broken format: -2 in the authors' training; 0 gives their format-free metric.

    Raises:
        ValueError: a missing column, or a reference without a word.
    """

    about: ClassVar[About] = About(
        rewards="answers in the words of the reference, in the right format",
        paper="Information Gain-based Policy Optimization (Wang et al., 2025)",
        link="https://arxiv.org/abs/2510.14967",
        scores="Completions",
    )

    def __init__(
        self,
        *,
        answer: str = "answer",
        how: str = "<answer>",
        balanced: Sequence[str] = ("think", "answer"),
        penalty: float = -2.0,
    ) -> None:
        super().__init__()
        self.answer, self.how, self.balanced, self.penalty = answer, how, balanced, penalty

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        assert isinstance(experience, Completions)
        references = experience.column(self.answer, self.name)
        try:
            scores = [self._one(*row) for row in zip(experience.text, references, strict=True)]
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return torch.tensor(scores, device=experience.ids.device)

    def _one(self, text: str, references: str | Sequence[str]) -> float:
        answer = extract_answer(text, self.how)
        value = token_f1(answer or "", references)  # so that a bad reference is seen whatever was answered
        closed = all(text.count(f"<{tag}>") == text.count(f"</{tag}>") for tag in self.balanced)
        return value if closed and answer is not None else self.penalty
