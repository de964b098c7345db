"""What becomes of a policy that is paid by itself: measures on a small labelled probe, and when training collapses.

"How Far Can Unsupervised RLVR Scale LLM Training?", 2026. A reward made of the policy's own beliefs sharpens what it
believes at first: accuracy rises where that is right, then falls. Plain numbers in, plain numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from torch import Tensor

from guerdon.parts.answers import Equality, majority, rows_of_groups, same_text


def sharpening_metrics(
    answers: Sequence[str | None],
    truth: Sequence[str],
    *,
    group: Tensor | None = None,
    reward: Tensor | None = None,
    same: Equality = same_text,
) -> dict[str, float]:
    """How right the votes and the rewards of a batch are, each a mean over prompts, in [0, 1].

        label_accuracy      1[m is right], m the majority answer of a prompt's N completions
        reward_accuracy     share of completions whose reward is the true one, r_i = 1[ans(y_i) is right]
        majority_ratio      share of completions that give m
        ground_truth_ratio  share of completions that are right: the policy's accuracy
        pass@N              1[any of the N is right]

    The mean of a majority reward is `majority_ratio`. Completions whose reward is NaN do not count in
    `reward_accuracy`, which is NaN if none counts.

    Args:
        answers: N of them, None where there is none.
        truth: the right answer of each row.
        group: [N], the prompt of each row; all one prompt if None.
        reward: [N], what was paid: 0 or 1; the majority reward if None. For a reward of other values say what counts
            as paid, such as ``reward > reward.median()``.
        same: when two answers are equal.

    Raises:
        ValueError: sizes disagree, or there are no rows.
    """
    if len(truth) != len(answers) or not answers or (reward is not None and len(reward) != len(answers)):
        raise ValueError(f"answers ({len(answers)}), truth ({len(truth)}) and reward must be as many, at least one")
    paid = [None] * len(answers) if reward is None else reward.float().tolist()
    groups = rows_of_groups(group, len(answers))
    sums = {"label_accuracy": 0.0, "majority_ratio": 0.0, "ground_truth_ratio": 0.0, "pass@N": 0.0}
    agreed: list[float] = []
    for rows in groups:
        vote = majority([answers[i] for i in rows], same=same)
        right = [(a := answers[i]) is not None and same(truth[i], a) for i in rows]
        sums["label_accuracy"] += vote.answer is not None and same(truth[rows[0]], vote.answer)
        sums["majority_ratio"] += vote.share
        sums["ground_truth_ratio"] += sum(right) / len(rows)
        sums["pass@N"] += any(right)
        given = vote.won if reward is None else [paid[i] for i in rows]
        scored = [g == r for g, r in zip(given, right, strict=True) if g == g]
        agreed += [sum(scored) / len(scored)] if scored else []
    means = {name: total / len(groups) for name, total in sums.items()}
    return means | {"reward_accuracy": sum(agreed) / len(agreed) if agreed else math.nan}


def sharpened(probability: float, *, beta: float, rounds: int = 1) -> float:
    """The probability of the majority answer after rounds of its optimum under a KL penalty of weight beta.

        pi* ~ pi_ref exp(r / beta), so each round the odds p / (1 - p) grow by the factor exp(1 / beta)

    As long as the majority never flips it goes to 1, and 1 - p falls by exp(-1 / beta) a round: a right first majority
    ends at accuracy 1, a wrong one at 0.
    """
    if not 0 < probability < 1 or beta <= 0 or rounds < 0:
        raise ValueError(f"need 0 < probability < 1, beta > 0, rounds >= 0: got {probability}, {beta}, {rounds}")
    log_odds = math.log(probability) - math.log1p(-probability) + rounds / beta
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


class Collapse(NamedTuple):
    """Where a training run collapsed."""

    step: float | None  # None: it has not, so far
    threshold: float  # "below": the value that was to be fallen below; "turn": what the fall from the peak had to reach
    first: float  # value at the first step
    peak_step: float
    peak: float
    last: float


def model_collapse_step(
    steps: Sequence[float],
    values: Sequence[float],
    *,
    mode: Literal["below", "turn"] = "below",
    threshold: float | None = None,
    chance: float = 0.0,
    hold: int = 1,
    smooth: int = 1,
) -> Collapse:
    """The Model Collapse Step of a curve such as the reward accuracy on a probe, or validation accuracy.

        below  the first step from which on `hold` values in a row are less than the threshold
        turn   the step of the highest value, if the curve afterwards falls by at least the threshold

    A model that collapses late is one that also gains much from true rewards. Accounts of the paper differ on the
    definition: reward accuracy below 1 % (``threshold=0.01``), and the step where performance turns down ("turn").

    Args:
        steps: increasing.
        values: one a step.
        mode: "below" or "turn".
        threshold: None means, for "below", half way between chance and the curve's first value (our choice: a policy
            that guesses among K answers never falls to 1 %), and for "turn" half of what the peak is above chance.
        chance: value of a policy that guesses.
        hold: how many values in a row must be below.
        smooth: each value is replaced by the mean of this many, itself the last (fewer at the beginning).

    Raises:
        ValueError: no values, values that are not finite, steps that do not increase, a first value at or below chance
            where the threshold is to be made from it.
    """
    if len(steps) != len(values) or not values:
        raise ValueError(f"a curve needs as many steps ({len(steps)}) as values ({len(values)}), at least one")
    if bad := [s for s, v in zip(steps, values, strict=True) if not math.isfinite(v)]:
        raise ValueError(f"the curve is not finite at {len(bad)} steps, first at {bad[0]:g}")
    if any(b <= a for a, b in pairwise(steps)):
        raise ValueError("the steps of a curve must increase")
    if mode not in ("below", "turn") or hold < 1 or smooth < 1:
        raise ValueError(f"mode is below or turn, hold and smooth at least 1: got {mode!r}, {hold}, {smooth}")
    curve = [sum(part := values[max(0, i - smooth + 1) : i + 1]) / len(part) for i in range(len(values))]
    top = max(range(len(curve)), key=curve.__getitem__)
    if threshold is None:
        reference = curve[0] if mode == "below" else curve[top]
        if reference <= chance:
            raise ValueError(f"the curve {'starts' if mode == 'below' else 'peaks'} at {reference:g}, not above chance "
                             f"({chance:g}): give a threshold")  # fmt: skip
        threshold = (chance + reference) / 2 if mode == "below" else (reference - chance) / 2
    if mode == "below":
        low = [value < threshold for value in curve]
        found = next((i for i in range(len(curve) - hold + 1) if all(low[i : i + hold])), None)
    else:
        found = top if curve[top] - min(curve[top:]) >= threshold and threshold > 0 else None
    return Collapse(None if found is None else steps[found], threshold, curve[0], steps[top], curve[top], curve[-1])
