"""Gains to come, less a baseline."""

import pytest
import torch

from guerdon.parts.marginal_credit import marginal_credit


def flags(gain, ended=(), invalid=()):
    end, valid = torch.zeros_like(gain).bool(), torch.ones_like(gain).bool()
    for place in ended:
        end[place] = True
    for place in invalid:
        valid[place] = False
    return end, valid


def test_only_future_gains_count():
    gain = torch.tensor([[5.0], [3.0], [1.0]])
    end, valid = flags(gain, ended=[(2, 0)])
    none = torch.zeros_like(end)
    assert marginal_credit(gain, end, none, valid, baseline=False)[:, 0].tolist() == [9, 4, 1]
    assert marginal_credit(gain, none, end, valid, baseline=False)[:, 0].tolist() == [9, 4, 1], "truncated as well"
    assert marginal_credit(gain, end, none, valid, baseline=False, gamma=0.5)[:, 0].tolist() == [6.75, 3.5, 1]


def test_ends_cut_and_invalid_steps_are_skipped():
    gain = torch.tensor([[1.0], [2.0], [100.0], [4.0]])
    end, valid = flags(gain, ended=[(1, 0), (3, 0)], invalid=[(2, 0)])
    assert marginal_credit(gain, end, torch.zeros_like(end), valid, baseline=False)[:, 0].tolist() == [3, 2, 0, 4]


def test_the_baseline_is_the_mean_of_the_games_at_that_step():
    gain = torch.tensor([[1.0, 3.0, 7.0], [2.0, 4.0, 9.0]])
    end, valid = flags(gain, ended=[(0, 2)], invalid=[(1, 2)])
    got = marginal_credit(gain, end, torch.zeros_like(end), valid)
    #  to go: 3 7 7 / 2 4 -;  means 17/3 and 3
    torch.testing.assert_close(got, torch.tensor([[-8 / 3, 4 / 3, 4 / 3], [-1, 1, 0]]))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="flags"):
        marginal_credit(torch.zeros(2, 3), *[torch.zeros(2, 2).bool()] * 3)
