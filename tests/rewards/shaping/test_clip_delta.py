"""Clip and Delta: hand-computed values, the exact returns, and the bound that further steps cannot lift."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.step_placement import steps_to_go
from guerdon.rewards.shaping.clip_delta import ClipDelta, clip_steps, delta_steps
from guerdon.types import About, Completions, Reward

ALL = torch.ones(1, 4, dtype=torch.bool)


class StepScores(Reward):
    """Scores of steps out of a column, each on the last token of its step."""

    about: ClassVar[About] = About(rewards="steps", paper="none", scores="Completions")

    def score(self, experience, **needed):
        return torch.tensor(experience.columns["steps"])


def completions(scores) -> Completions:
    """A token a step, as many as the row has scores that are not None."""
    mask = torch.tensor([[s is not None for s in row] for row in scores])
    n, k = mask.shape
    values = [[0.0 if s is None else s for s in row] for row in scores]
    return Completions(
        prompt=["q"] * n, text=["a"] * n, ids=torch.zeros(n, k).long(), mask=mask,
        step=torch.arange(k).expand(n, k).clone(), columns={"steps": values},
    )  # fmt: skip


def test_by_hand():
    q = torch.tensor([[0.95, 0.5, 0.9, 0.2]])
    torch.testing.assert_close(clip_steps(q, ALL, eta=0.9), torch.tensor([[0.0, -0.4, 0.0, -0.7]]))
    torch.testing.assert_close(delta_steps(q, ALL), torch.tensor([[0.45, -0.4, 0.9, 0.0]]))
    both = delta_steps(clip_steps(q, ALL, eta=0.9), ALL)
    torch.testing.assert_close(both, torch.tensor([[0.4, -0.4, 0.0, 0.0]]))
    assert delta_steps(torch.full((1, 4), 0.7), ALL)[0].tolist() == pytest.approx([0, 0, 0.7, 0])


def test_short_rows_and_holes():
    q = torch.tensor([[0.3, 9.0, 9.0], [0.3, 0.6, 9.0], [9.0, 9.0, 9.0], [0.3, 9.0, 0.6]])
    mask = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1]]).bool()
    expected = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, 0, 0], [0.3, 0, 0]])
    torch.testing.assert_close(delta_steps(q, mask), expected)
    assert delta_steps(torch.zeros(2, 0), torch.zeros(2, 0)).shape == (2, 0)


def test_the_ends_of_eta():
    q = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    assert not clip_steps(q, ALL.expand(3, 4), eta=0.0).any()
    torch.testing.assert_close(clip_steps(q, ALL.expand(3, 4), eta=1.0), q - 1)


@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([1.0, 0.9, 0.0]))
def test_the_return_from_a_step_is_its_own_score(seed, k, gamma):
    g = torch.Generator().manual_seed(seed)
    q, mask = torch.rand(5, k, generator=g, dtype=torch.float64), torch.rand(5, k, generator=g) < 0.8
    c = clip_steps(q, mask, eta=0.6)
    assert bool(((c >= -0.6) & (c <= 0)).all())
    for score in (q, c):
        returns = steps_to_go(delta_steps(score, mask, gamma=gamma), mask, gamma=gamma)
        last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
        torch.testing.assert_close(returns, torch.where(mask & ~last, score, 0.0))


@given(st.integers(0, 10_000), st.integers(0, 3), st.integers(1, 5))
def test_repeating_a_step_changes_no_earlier_return(seed, k, times):
    q = torch.rand(1, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    longer = torch.cat([q[:, : k + 1], *[q[:, k : k + 1]] * times, q[:, k + 1 :]], 1)

    def returns(x, by):
        mask = torch.ones_like(x, dtype=torch.bool)
        return steps_to_go(by(x, mask), mask)[:, : k + 1]

    torch.testing.assert_close(returns(longer, delta_steps), returns(q, delta_steps))
    plain = returns(longer, lambda x, mask: x) - returns(q, lambda x, mask: x)
    torch.testing.assert_close(plain, times * q[:, k : k + 1].expand_as(plain))


def test_the_wrapper():
    made = completions([[0.95, 0.5, 0.9, 0.2], [0.8, 0.3, None, None], [None] * 4])
    value = ClipDelta(StepScores(), alpha=0.5).score(made)
    torch.testing.assert_close(value, torch.tensor([[0.2, -0.2, 0, 0], [-0.05, 0, 0, 0], [0, 0, 0, 0]]))
    clipped = ClipDelta(StepScores(), alpha=0.5, delta=False).score(made)
    torch.testing.assert_close(clipped, torch.tensor([[0, -0.2, 0, -0.35], [-0.05, -0.3, 0, 0], [0, 0, 0, 0]]))
    scored = ClipDelta(StepScores(), clip=False, alpha=1.0, gamma=0.5).evaluate(made)
    torch.testing.assert_close(scored.value[0], torch.tensor([0.7, 0.05, 0.9, 0.0]))
    assert set(scored.stages) == {"StepScores", "ClipDelta(StepScores)/in", "ClipDelta(StepScores)/out"}


def test_an_unscored_step_leaves_its_row_unscored():
    value = ClipDelta(StepScores()).score(completions([[0.9, math.nan, 0.5], [0.2, 0.9, 0.9]]))
    assert value[0].isnan().all()
    assert value[1].tolist() == pytest.approx([-0.07, 0, 0])


def test_bad_input():
    made = completions([[0.5, 1.5]])
    with pytest.raises(ValueError, match=r"ClipDelta\(StepScores\).*bounds"):
        ClipDelta(StepScores()).score(made)
    assert ClipDelta(StepScores(), bounds=None).score(made)[0].tolist() == pytest.approx([-0.04, 0.0])
    assert ClipDelta(StepScores(), bounds=(0.0, 2.0)).score(made).shape == (1, 2)
    made.step = torch.zeros(1, 2).long()
    with pytest.raises(ValueError, match="end no step"):
        ClipDelta(StepScores(), bounds=None).score(made)
    made.step = None
    with pytest.raises(ValueError, match=r"Completions\.step"):
        ClipDelta(StepScores(), bounds=None).score(made)
    made.columns["steps"] = [0.5]
    with pytest.raises(ValueError, match="whole answers"):
        ClipDelta(StepScores()).score(made)
    for call in (
        lambda: ClipDelta(StepScores(), clip=False, delta=False),
        lambda: ClipDelta(StepScores(), eta=math.nan),
        lambda: ClipDelta(StepScores(), gamma=1.5),
        lambda: clip_steps(torch.tensor([[math.nan]]), ALL[:, :1]),
        lambda: delta_steps(torch.tensor([[0.1, math.inf]]), ALL[:, :2]),
        lambda: delta_steps(torch.zeros(1, 3), ALL),
    ):
        with pytest.raises(ValueError, match="ClipDelta|_steps"):  # noqa: RUF043
            call()
