"""Mathematical answers, compared as mathematics by the library math-verify."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.parts.answers import extract_answer, same_text
from guerdon.types import About, Completions, Reward


class MathVerify(Reward):
    """Pays 1 for a final answer that equals the reference as mathematics (1/2 and 0.5), else 0.

    [N] float32. A response without an answer is worth 0. NaN, not scored, where nobody can say: where the reference
    cannot be read as mathematics and is not the answer word for word, and where the comparison fails or takes longer
    than `timeout`. The limit works by a signal, so that it holds in the main thread alone; a learner that scores in
    another one has a limit of its own (`TextLearner(score_timeout=...)`).

    Needs math-verify (``pip install 'guerdon[text]'``).

    Args:
        answer: the column with the reference.
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
        timeout: seconds for reading an answer, and for comparing two.
    """

    about: ClassVar[About] = About(
        rewards="final answers equal to the reference as mathematics",
        paper="Math-Verify (Kydlíček, Hugging Face, 2025)",
        link="https://github.com/huggingface/Math-Verify",
        scores="Completions",
    )

    def __init__(
        self,
        *,
        answer: str = "answer",
        how: str | Sequence[str] = ("boxed", "<answer>", "####"),
        timeout: int = 5,
    ) -> None:
        super().__init__()
        self.answer, self.how, self.timeout = answer, how, timeout

    def score(self, experience: Completions) -> Tensor:
        references = map(str, experience.column(self.answer, self.name))
        found = (extract_answer(text, self.how) for text in experience.text)
        seconds = self.timeout if threading.current_thread() is threading.main_thread() else None
        pays = [0.0 if f is None else equal(f, r, seconds) for f, r in zip(found, references, strict=True)]
        return torch.tensor(pays, dtype=torch.float32, device=experience.ids.device)


def equal(answer: str, reference: str, timeout: int | None = 5) -> float:
    """1.0 where they are the same, in one spelling or as mathematics; 0.0 where not; NaN where it cannot be said."""
    try:
        from math_verify import parse, verify
        from math_verify.errors import TimeoutException
    except ImportError as error:
        raise ImportError("MathVerify needs math-verify: pip install 'guerdon[text]'", name="math_verify") from error

    def read(text: str) -> Any:
        return parse(f"${text.strip('$ ')}$", parsing_timeout=timeout, raise_on_error=True)  # type: ignore[arg-type]

    if same_text(answer, reference):
        return 1.0
    try:
        gold = read(reference)
        if not gold:
            return torch.nan
        return float(verify(gold, read(answer), timeout_seconds=timeout, raise_on_error=True))
    except (Exception, TimeoutException):  # whatever sympy may raise on what a model wrote
        return torch.nan
