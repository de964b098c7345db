"""Majority rewards: completions of one question vote on its answer, and those that gave the winner are paid.

No label: the reward amplifies what the policy already says most often, right or wrong. Their mean always rises, so
choose no checkpoint by it; `guerdon.parts.sharpening` measures what a small labelled probe says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.answers import Equality, Same, equality, extract_answer, majority, rows_of_groups
from guerdon.types import About, Completions, Reward


class MajorityVote(Reward):
    """Pays 1 for the answer that most completions of the same prompt give, and 0 for any other.

        m = most frequent answer among the N completions of a group;   r_i = 1[ans(y_i) = m]

    [N] float32, 0 or 1. Of equally frequent answers the one seen first wins. A completion without an answer is worth 0
    and never wins, also where the whole group has none. Rows that vote only are NaN: not scored, so that they enter no
    baseline and get no gradient.

    Zuo et al., "TTRL: Test-Time Reinforcement Learning", 2025, and the same vote in SRT, SeRL and R-Zero. Where it
    differs: in the authors' code a missing answer is one of the candidates.

    Args:
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
        same: when two answers are equal: "text" (once normalised), "algebra" (math-verify), or a function of two texts.
        trained: how many completions of each group are scored, the first ones; the others only vote (TTRL: 64 votes,
            32 trained). None: all.
    """

    about: ClassVar[About] = About(
        rewards="the answer that most completions give",
        paper="TTRL: Test-Time Reinforcement Learning (Zuo et al., 2025)",
        link="https://arxiv.org/abs/2504.16084",
        scores="Completions",
        claim="urlvr",
    )

    def __init__(self, *, how: str | Sequence[str] = "boxed", same: Same = "text", trained: int | None = None) -> None:
        super().__init__()
        self.how, self.same, self.trained = how, same, trained

    def score(self, experience: Completions, **_: object) -> Tensor:
        answers, groups = _answers_in_groups(experience, self.how, self.name)
        same, values = equality(self.same), [math.nan] * len(answers)
        for rows in groups:
            won = majority([answers[i] for i in rows], same=same).won
            for i, right in list(zip(rows, won, strict=True))[: self.trained]:
                values[i] = float(right)
        return torch.tensor(values, device=experience.ids.device)


class CoReward(Reward):
    """A vote across wordings: a prompt's completions are paid for the majority answer of the same question rephrased.

        r_i = 1[ans(y_i) = m'],  m' = most frequent answer among the completions of the question's other prompts

    [N] float32, 0 or 1. A column names the question, so that prompts (groups) with the same value are wordings of one
    question. NaN (not scored) where a question has one wording only, or the others gave no answer.

    Zhang et al., "Co-rewarding: Stable Self-supervised RL for Eliciting Reasoning in Large Language Models", 2025 (its
    data-side form, from public accounts of it: reconstructed).

    Args:
        question: column with what tells questions apart (any value that equals itself).
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
        same: when two answers are equal: "text", "algebra", or a function of two texts.
    """

    about: ClassVar[About] = About(
        rewards="the answer that most completions of a rephrased prompt give",
        paper="Co-rewarding: Stable Self-supervised RL for Eliciting Reasoning in LLMs (Zhang et al., 2025)",
        link="https://arxiv.org/abs/2508.00410",
        scores="Completions",
        example="CoReward(question='answer')",
    )

    def __init__(self, *, question: str = "question", how: str | Sequence[str] = "boxed", same: Same = "text") -> None:
        super().__init__()
        self.question, self.how, self.same = question, how, same

    def score(self, experience: Completions, **_: object) -> Tensor:
        answers, groups = _answers_in_groups(experience, self.how, self.name)
        questions, same = experience.column(self.question, self.name), equality(self.same)
        values = [math.nan] * len(answers)
        for rows in groups:
            others = [i for g in groups if g is not rows for i in g if questions[i] == questions[rows[0]]]
            winner = majority([answers[i] for i in others], same=same).answer if others else None
            if winner is not None:
                for i in rows:
                    answer = answers[i]
                    values[i] = float(answer is not None and same(winner, answer))
        return torch.tensor(values, device=experience.ids.device)


class WeightedVote(Reward):
    """A majority vote in which some votes count for more.

        m = argmax over answers a of sum_j w_j 1[ans(y_j) = a];   r_i = 1[ans(y_i) = m]
        by "consistency"   w_j = share of voter(j)'s answers to this question that are voter(j)'s own majority answer
        by "certainty"     w_j = exp((1/L) sum_t log p_t(y_t)), the geometric mean probability of its tokens

    [N] float32, 0 or 1; ties and missing answers as in `MajorityVote`. By consistency several models (voters) answer
    each question and a column says which one wrote a completion; certainty is read from ``Completions.log_prob``.

    Yuan et al., "Wisdom of the Crowd: Reinforcement Learning from Coevolutionary Collective Feedback" (RLCCF), 2025,
    for consistency; votes by certainty are the other form that the taxonomy names (its weight is our choice).

    Args:
        by: what a vote's weight is.
        voter: column that says who wrote a completion, for "consistency".
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
        same: when two answers are equal: "text", "algebra", or a function of two texts.
    """

    about: ClassVar[About] = About(
        rewards="the answer that wins a weighted vote",
        paper="Wisdom of the Crowd: RL from Coevolutionary Collective Feedback (Yuan et al., 2025)",
        link="https://arxiv.org/abs/2508.12338",
        scores="Completions",
    )

    def __init__(
        self,
        *,
        by: Literal["certainty", "consistency"] = "certainty",
        voter: str = "voter",
        how: str | Sequence[str] = "boxed",
        same: Same = "text",
    ) -> None:
        super().__init__()
        if by not in ("certainty", "consistency"):
            raise ValueError(f"WeightedVote weighs by certainty or by consistency, not by {by!r}")
        self.by, self.voter, self.how, self.same = by, voter, how, same

    def score(self, experience: Completions, **_: object) -> Tensor:
        answers, groups = _answers_in_groups(experience, self.how, self.name)
        same, values = equality(self.same), [0.0] * len(answers)
        if self.by == "certainty":
            weights = _certainty(experience, self.name)
        else:
            weights = consistency(answers, groups, experience.column(self.voter, self.name), same)
        for rows in groups:
            vote = majority([answers[i] for i in rows], weights=[weights[i] for i in rows], same=same)
            for i, right in zip(rows, vote.won, strict=True):
                values[i] = float(right)
        return torch.tensor(values, device=experience.ids.device)


def consistency(
    answers: Sequence[str | None], groups: Sequence[Sequence[int]], voters: Sequence[object], same: Equality
) -> list[float]:
    """The weight of each vote: the share of its voter's answers in the same group that the voter gave most often."""
    weights = [0.0] * len(answers)
    for rows in groups:
        for voter in dict.fromkeys(voters[i] for i in rows):
            own = [i for i in rows if voters[i] == voter]
            share = majority([answers[i] for i in own], same=same).share
            for i in own:
                weights[i] = share
    return weights


def _certainty(experience: Completions, name: str) -> list[float]:
    if experience.log_prob is None:
        raise ValueError(f"{name} by certainty reads Completions.log_prob, which is not set")
    mask = experience.mask.bool()
    total = torch.where(mask, experience.log_prob.float(), 0.0).sum(1)
    return torch.where(mask.any(1), (total / mask.sum(1).clamp(min=1)).exp(), 0.0).tolist()


def _answers_in_groups(
    experience: Completions, how: str | Sequence[str], name: str
) -> tuple[list[str | None], list[list[int]]]:
    if experience.group is None:
        raise ValueError(f"{name} lets the completions of a prompt vote: set Completions.group to each row's prompt")
    answers = [extract_answer(text, how) for text in experience.text]
    return answers, rows_of_groups(experience.group, len(answers))
