"""InfoNCE against its closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.info_nce import info_nce


@pytest.mark.parametrize("value", [0.0, 3.7, -20.0])
def test_a_constant_critic_says_exactly_nothing(value):
    assert (info_nce(torch.full((7, 7), value)) == 0).all()


def test_a_critic_that_separates_perfectly_reaches_log_n():
    scores = torch.full((8, 8), -20.0).fill_diagonal_(20.0)
    torch.testing.assert_close(info_nce(scores), torch.full((8,), math.log(8)))


@given(st.integers(0, 1000), st.integers(2, 9))
def test_never_more_than_log_n(seed, n):
    scores = 10 * torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
    assert (info_nce(scores) <= math.log(n) + 1e-5).all()


def test_by_hand():
    scores = torch.tensor([[1.0, 0.0], [2.0, 0.5]])
    first = 1 - math.log((math.e + 1) / 2)
    second = 0.5 - math.log((math.exp(2) + math.exp(0.5)) / 2)
    torch.testing.assert_close(info_nce(scores), torch.tensor([first, second]))


def test_a_constant_added_to_a_row_changes_nothing():
    scores = torch.randn(5, 6)
    torch.testing.assert_close(info_nce(scores + torch.randn(5, 1)), info_nce(scores), atol=1e-5, rtol=1e-5)


def test_positives_may_be_named():
    scores = torch.randn(3, 5)
    named = info_nce(scores, torch.tensor([4, 0, 2]))
    order = torch.tensor([4, 0, 2, 1, 3])
    torch.testing.assert_close(named, info_nce(scores[:, order]))


def test_gradients_are_those_of_cross_entropy():
    scores = torch.randn(4, 4, requires_grad=True)
    (mine,) = torch.autograd.grad(-info_nce(scores).mean(), scores)
    (theirs,) = torch.autograd.grad(torch.nn.functional.cross_entropy(scores, torch.arange(4)), scores)
    torch.testing.assert_close(mine, theirs)


def test_one_row_has_no_negatives():
    with pytest.raises(ValueError, match="m >= 2"):
        info_nce(torch.zeros(1, 1))
    with pytest.raises(ValueError, match="positive"):
        info_nce(torch.zeros(3, 2))
