"""SALU: pays for right answers, and for saying so where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.abstention import abstains, abstention_reward, agreement, letters, proper_score
from guerdon.parts.answers import extract_answer, same_text
from guerdon.parts.span_scores import Span, over_spans, score_spans
from guerdon.types import About, Completions, LanguageModel, Prompt, Reward, TokenScores

Confidence = Literal["likelihood", "self-check", "agreement", "none"]


class SALU(Reward):
    """Pays for right answers and for abstaining where there is none; the more confident a wrong one, the dearer.

        answerable:    right  +right_pay * w(c)    wrong  -hallucination * c          abstained  -miss
        unanswerable:  abstained  +abstain_pay     answered  -hallucination * (1 + c)

    w(c) = c, or 1 with `flat`. [N] float32 in [-2 hallucination, max(right_pay, abstain_pay)]; NaN where a row does not
    say whether it can be answered. A response abstains if it is the phrase and nothing else; the phrase with an answer
    beside it is wrong, and so is an empty one, with c = 0. Terms linear in c make the best c 0 or 1, not calibrated:
    with `brier` w, the flat table with c = 1 is taken instead, and w * -(c - ok)^2 added for answers.

    "Harnessing RLHF for Robust Unanswerability Recognition and Trustworthy Response Generation in LLMs" (SALU), 2025.
    The paper gives no formula: all of this is reconstructed. Its score of a preference model is a sum of rewards here:
    ``0.8 * SALU() + 0.2 * Normalise(...)``.

    Args:
        answer: the column with the reference.
        unanswerable: the column that says 0 or 1; None or NaN where it is not known.
        phrase: what to say where there is no answer.
        how: where the answer stands in a response, as in `guerdon.parts.answers.extract_answer`.
        confidence: c is, without gradient, the geometric mean of the response's token probabilities under the policy
            ("likelihood"), P(yes) against P(no) where the policy is asked whether its response is right ("self-check"),
            1 - the normalised entropy of the answers in the group ("agreement"), or 1 ("none").
        question: what the policy is asked for "self-check".
        right_pay: R_a.
        abstain_pay: R_abs.
        hallucination: L_h; it sets from which chance of success on to answer, see `abstention_threshold`.
        miss: L_miss.
        flat: whether right answers are paid alike whatever the confidence.
        brier: weight of the proper score; 0 leaves it out.
    """

    about: ClassVar[About] = About(
        rewards="right answers, and abstaining where there is none",
        paper="Harnessing RLHF for Robust Unanswerability Recognition (SALU, 2025)",
        link="https://arxiv.org/abs/2507.16951",
        scores="Completions",
        claim="salu",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"policy"})

    def __init__(
        self,
        *,
        answer: str = "answer",
        unanswerable: str = "unanswerable",
        phrase: str = "unknown",
        how: str | Sequence[str] = "text",
        confidence: Confidence = "likelihood",
        question: str = "Is this answer right, and does what is given support it? Say yes or no.",
        right_pay: float = 1.0,
        abstain_pay: float = 1.0,
        hallucination: float = 1.0,
        miss: float = 0.5,
        flat: bool = False,
        brier: float = 0.0,
    ) -> None:
        super().__init__()
        self.answer, self.unanswerable, self.phrase, self.how = answer, unanswerable, phrase, how
        self.confidence: Confidence = confidence
        self.question, self.right_pay, self.abstain_pay = question, right_pay, abstain_pay
        self.hallucination, self.miss, self.flat, self.brier = hallucination, miss, flat, brier

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        device = experience.ids.device
        known = [math.nan if u is None else float(u) for u in experience.column(self.unanswerable, self.name)]
        unanswerable = torch.tensor(known, device=device)
        right, abstained = (x.to(device) for x in self.outcomes(experience))
        with torch.no_grad():
            c = self.confidences(experience, policy).to(device)
        pays = {
            "right_pay": self.right_pay, "abstain_pay": self.abstain_pay,
            "hallucination": self.hallucination, "miss": self.miss,
        }  # fmt: skip
        if not self.brier:
            return abstention_reward(unanswerable, right, abstained, c, flat=self.flat, **pays)
        table = abstention_reward(unanswerable, right, abstained, torch.ones_like(c), flat=True, **pays)
        right = right * (unanswerable == 0)
        return table + torch.where(abstained == 1, 0.0, self.brier * proper_score(c, right))

    def outcomes(self, completions: Completions) -> tuple[Tensor, Tensor]:
        """[N] each, 0.0 or 1.0: whether a response is right, and whether it abstains."""
        right, quiet = [], []
        for text, reference in zip(completions.text, completions.column(self.answer, self.name), strict=True):
            said = extract_answer(text, self.how)
            quiet.append(abstains(text, self.phrase))
            hedged = letters(self.phrase) in letters(text)  # the phrase beside an answer
            right.append(not hedged and said is not None and same_text(said, str(reference)))
        return torch.tensor(right).float(), torch.tensor(quiet).float()

    def confidences(self, completions: Completions, policy: LanguageModel) -> Tensor:
        """[N] in [0, 1]: c of each response; 0 for an empty one."""
        if self.confidence == "none":
            c = torch.ones(len(completions.text))
        elif self.confidence == "likelihood":
            mask = completions.mask.bool()
            scores = TokenScores(policy.log_probs(completions), mask)
            c = over_spans(scores, "geo_mean", empty=0.0, name=self.name)
        elif self.confidence == "self-check":
            c = self._self_check(completions, policy)
        elif self.confidence == "agreement":
            c = agreement([extract_answer(text, self.how) for text in completions.text], completions.group)
        else:
            raise ValueError(
                f"SALU(confidence=...) is likelihood, self-check, agreement or none, not {self.confidence!r}"
            )
        empty = torch.tensor([not text.strip() for text in completions.text], device=c.device)
        return torch.where(empty, 0.0, c)

    def _self_check(self, completions: Completions, policy: LanguageModel) -> Tensor:
        asked = [_and_asked(p, t, self.question) for p, t in zip(completions.prompt, completions.text, strict=True)]
        said = [score_spans(policy, asked, [Span(word, 0, len(word))] * len(asked)) for word in ("yes", "no")]
        yes, no = (over_spans(scores, "sum_logp", empty=0.0, name=self.name) for scores in said)
        return (yes - no).sigmoid()


def _and_asked(prompt: Prompt, text: str, question: str) -> Prompt:
    """The prompt, the response, and a question about it."""
    if isinstance(prompt, str):
        return f"{prompt}{text}\n{question} "
    return [*prompt, {"role": "assistant", "content": text}, {"role": "user", "content": question}]
