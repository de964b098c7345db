"""GiGPO over completions with steps, worked by hand, and against Dr.GRPO where the step term is off."""

from __future__ import annotations

import pytest
import samples
import torch

from guerdon.credit import GiGPO, GroupAdvantage
from guerdon.types import Completions, Scored

# Two episodes of one task. The first: steps of 2, 1 and 1 tokens with a tool's token after the first step.
MASK = torch.tensor([[True, True, False, True, True], [True, True, False, False, False]])
STEP = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 1, 1, 1]])
VALUE = torch.tensor([[0.0, 1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
ANCHORS = [["start", "hall", "cellar"], ["start", "cellar"]]


def completions(**changes) -> Completions:
    made = Completions(
        prompt=["task"] * 2, text=["a", "b"], ids=torch.zeros(2, 5, dtype=torch.long), mask=MASK, step=STEP,
        group=torch.tensor([4, 4]), columns={"anchor": ANCHORS},
    )  # fmt: skip
    return samples.replace(made, **changes)


def test_by_hand():
    found = GiGPO(gamma=0.5, weight=1.0)(completions(), Scored(VALUE, {}, {}))
    # returns 3 and 1: A_episode +1, -1. To go: 1 + 0.25 * 2 = 1.5, 1, 2 and 0.5, 1.
    # start: 1.5 against 0.5; cellar: 2 against 1; hall: nobody else.
    expected = torch.tensor([[1.5, 1.5, 0.0, 1.0, 1.5], [-1.5, -1.5, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(found, expected)


def test_the_same_observation_under_another_task_is_another_anchor():
    two = completions(group=torch.tensor([4, 5]))
    with pytest.raises(ValueError, match="group 4 has one answer"):
        GiGPO()(two, Scored(VALUE, {}, {}))
    four = Completions(
        prompt=["task"] * 4, text=["a"] * 4, ids=torch.zeros(4, 1, dtype=torch.long), group=torch.tensor([0, 0, 1, 1]),
        mask=torch.ones(4, 1, dtype=torch.bool), step=torch.zeros(4, 1, dtype=torch.long),
        columns={"anchor": [["x"], ["y"], ["x"], ["y"]]},
    )  # fmt: skip
    found = GiGPO()(four, Scored(torch.tensor([2.0, 0.0, 8.0, 0.0]), {}, {}))
    assert found.flatten().tolist() == [1.0, -1.0, 4.0, -4.0]  # no step has a companion within its task


def test_without_its_step_term_it_is_dr_grpo():
    found = GiGPO(weight=0.0)(completions(), Scored(VALUE, {}, {}))
    torch.testing.assert_close(found, GroupAdvantage(spread="none")(completions(), Scored(VALUE, {}, {})))


def test_a_value_of_the_whole_episode_stands_on_its_last_step():
    whole = GiGPO(gamma=0.5)(completions(), Scored(torch.tensor([4.0, 2.0]), {}, {}))
    on_last = torch.tensor([[0.0, 0.0, 0.0, 0.0, 4.0], [0.0, 2.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(whole, GiGPO(gamma=0.5)(completions(), Scored(on_last, {}, {})))
    # to go: 1, 2, 4 and 1, 2: at the start they are even, in the cellar 4 against 2
    torch.testing.assert_close(whole[0], torch.tensor([1.0, 1.0, 0.0, 1.0, 2.0]))


def test_an_unscored_episode_gets_zero_and_is_left_out():
    value = torch.tensor([4.0, float("nan")])
    assert not GiGPO()(completions(), Scored(value, {}, {})).any()


def test_what_is_missing_is_named():
    scored = Scored(VALUE, {}, {})
    with pytest.raises(ValueError, match="have no steps"):
        GiGPO()(completions(step=None), scored)
    with pytest.raises(ValueError, match="column 'anchor'"):
        GiGPO()(completions(columns=None), scored)
    with pytest.raises(ValueError, match="column 'seen'"):
        GiGPO(anchor="seen")(completions(), scored)
    with pytest.raises(ValueError, match=r"needs Completions\.group"):
        GiGPO()(completions(group=None), scored)
    with pytest.raises(ValueError, match="episode 1 has 1 anchors for 2 steps"):
        GiGPO()(completions(columns={"anchor": [ANCHORS[0], ["start"]]}), scored)
