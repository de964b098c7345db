import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.pair_loss import PREFERENCE, pair_loss
from guerdon.types import FIRST, SECOND, TIE

SCORES = st.floats(-20, 20)


def loss(first, second, label, **kw):
    return pair_loss(torch.tensor([first]), torch.tensor([second]), torch.tensor([label]), **kw).item()


def test_values_of_the_card():
    for label in (FIRST, SECOND, TIE):
        assert loss(1.7, 1.7, label) == pytest.approx(math.log(2), abs=1e-6)
    assert loss(2.0, 3.0, SECOND) == pytest.approx(0.313262, abs=1e-6)
    assert loss(2.0, 3.0, FIRST) == pytest.approx(1.313262, abs=1e-6)
    assert loss(2.0, 3.0, TIE) == pytest.approx(0.813262, abs=1e-6)


@given(SCORES, SCORES, st.sampled_from([FIRST, SECOND, TIE]), st.floats(-10, 10))
def test_only_the_difference_counts(first, second, label, shift):
    assert loss(first + shift, second + shift, label) == pytest.approx(loss(first, second, label), abs=1e-4)


@given(SCORES, SCORES, st.sampled_from([FIRST, SECOND, TIE]))
def test_swapping_the_pair_swaps_the_label(first, second, label):
    swapped = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}[label]
    assert loss(first, second, label) == pytest.approx(loss(second, first, swapped), abs=1e-5)


@given(SCORES, SCORES, st.floats(0, 1))
def test_is_the_cross_entropy_of_two_logits(first, second, q):
    expected = F.cross_entropy(torch.tensor([[first, second]]), torch.tensor([[1 - q, q]])).item()
    assert loss(first, second, q) == pytest.approx(expected, abs=1e-4)


def test_soft_labels_and_outcomes_agree():
    for label, q in PREFERENCE.items():
        assert loss(0.3, 1.1, int(label)) == pytest.approx(loss(0.3, 1.1, q), abs=1e-6)


def test_margin_moves_the_even_point_but_not_that_of_a_tie():
    assert loss(0.0, 2.0, SECOND, margin=2.0) == pytest.approx(math.log(2), abs=1e-6)
    assert loss(2.0, 0.0, FIRST, margin=2.0) == pytest.approx(math.log(2), abs=1e-6)
    assert loss(0.0, 1.0, TIE, margin=2.0) == loss(0.0, 1.0, TIE)


def test_far_apart_scores_stay_finite_and_have_a_gradient():
    first = torch.tensor([1e4], requires_grad=True)
    value = pair_loss(first, torch.tensor([-1e4]), torch.tensor([SECOND]))
    value.sum().backward()
    assert value.item() == pytest.approx(2e4)
    assert first.grad.item() == pytest.approx(1.0)


def test_refusals():
    with pytest.raises(ValueError, match="equal shapes"):
        pair_loss(torch.zeros(2), torch.zeros(2), torch.zeros(3))
    for wrong in (3, -1, 1.5):
        with pytest.raises(ValueError, match="label"):
            loss(0.0, 0.0, wrong)
