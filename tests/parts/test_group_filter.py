"""Dynamic sampling: which groups stay, filling a batch up again; and the overlong penalty."""

from __future__ import annotations

import math

import pytest
import torch

from guerdon.parts.group_filter import collect_varied, overlong_penalty, varied_groups

REWARD = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.2, 0.3])
GROUP = torch.tensor([3, 3, 1, 1, 2, 2])


def test_groups_of_equal_rewards_go():
    assert varied_groups(REWARD, GROUP).tolist() == [True, True, False, False, True, True]
    assert varied_groups(REWARD, GROUP, minimum=0.1).tolist() == [True, True, False, False, False, False]
    order = torch.tensor([4, 2, 0, 5, 3, 1])
    assert varied_groups(REWARD[order], GROUP[order]).equal(varied_groups(REWARD, GROUP)[order])


def test_three_equal_floats_have_no_spread():
    assert not varied_groups(torch.tensor([0.1, 0.1, 0.1]), torch.zeros(3, dtype=torch.long)).any()


def test_unscored_answers_go_and_do_not_make_a_group_varied():
    reward = torch.tensor([1.0, math.nan, 1.0, 0.0, math.nan, 1.0])
    group = torch.tensor([0, 0, 1, 1, 1, 2])
    assert varied_groups(reward, group).tolist() == [False, False, True, True, False, False]


def test_rounds_go_on_until_the_batch_is_full_and_what_is_too_many_is_left():
    drawn = []

    def draw():
        drawn.append(len(drawn))
        return drawn[-1], REWARD, GROUP  # two varied groups a round: 2 and 3

    kept = collect_varied(draw, groups=3)
    assert [batch for batch, _ in kept] == [0, 1]
    assert [rows.tolist() for _, rows in kept] == [[0, 1, 4, 5], [4, 5]]


def test_too_few_after_all_rounds_raises():
    with pytest.raises(RuntimeError, match=r"2 of 5 groups .* after 1 rounds"):
        collect_varied(lambda: (None, REWARD, GROUP), groups=5, max_rounds=1)
    with pytest.raises(RuntimeError, match=r"0 of 1 groups .* after 10 rounds"):
        collect_varied(lambda: (None, torch.ones(4), torch.tensor([0, 0, 1, 1])), groups=1)


def test_the_overlong_penalty_grows_over_the_buffer():
    length = torch.tensor([0, 80, 85, 90, 100, 120])
    found = overlong_penalty(length, limit=100, buffer=20, factor=2.0)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, -0.5, -1.0, -2.0, -2.0]))
    for buffer in (0, 101):
        with pytest.raises(ValueError, match=r"1\.\.limit = 100"):
            overlong_penalty(length, limit=100, buffer=buffer)
