import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.pair_loss import PREFERENCE, centring, pair_loss
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


@given(SCORES, SCORES, st.sampled_from([FIRST, SECOND, TIE]), st.floats(-3, 3), st.floats(0, 0.5))
def test_a_margin_is_a_shift_of_the_gap_within_the_smoothed_loss(first, second, label, margin, alpha):
    shifted = second - {FIRST: -margin, SECOND: margin, TIE: 0.0}[label]
    expected = loss(first, shifted, label, alpha=alpha)
    assert loss(first, second, label, margin=margin, alpha=alpha) == pytest.approx(expected, abs=1e-4)


@given(st.floats(-8, 8), st.floats(-3, 3), st.floats(0, 0.5))
def test_the_smoothed_loss_is_that_of_the_card(gap, margin, alpha):
    p = 1 / (1 + math.exp(margin - gap))
    expected = -(1 - alpha) * math.log(p) - alpha * math.log(1 - p)
    assert loss(0.0, gap, SECOND, margin=margin, alpha=alpha) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_the_smoothed_loss_is_least_at_the_log_odds(alpha):
    gap = torch.tensor([math.log((1 - alpha) / alpha)], dtype=torch.float64, requires_grad=True)
    pair_loss(torch.zeros(1, dtype=torch.float64), gap, torch.tensor([SECOND]), alpha=alpha).backward()
    assert gap.grad.item() == pytest.approx(0.0, abs=1e-12)


def test_alpha_of_a_half_is_a_tie_and_the_gradient_at_the_margin_is_a_half():
    assert loss(0.3, 1.1, FIRST, alpha=0.5) == pytest.approx(loss(0.3, 1.1, TIE))
    gap = torch.tensor([1.5], requires_grad=True)
    pair_loss(torch.zeros(1), gap, torch.tensor([SECOND]), margin=1.5).backward()
    assert gap.grad.item() == pytest.approx(-0.5)


def test_a_flipped_pair_is_the_pair_told_the_other_way():
    assert loss(0.3, 1.1, FIRST, margin=0.4, alpha=0.1) == pytest.approx(loss(1.1, 0.3, SECOND, margin=0.4, alpha=0.1))


def test_centring_is_the_mean_square_of_the_sums():
    first, second = torch.tensor([1.0, -2.0]), torch.tensor([2.0, 2.0])
    assert centring(first, second).item() == 4.5
    assert centring(first, second, torch.tensor([1.0, 3.0])).item() == 2.25
    assert centring(first, -first).item() == 0.0


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
    for wrong in ({"margin": math.nan}, {"alpha": 0.6}, {"alpha": -0.1}, {"alpha": math.nan}):
        with pytest.raises(ValueError, match="alpha"):
            loss(0.0, 1.0, SECOND, **wrong)
    with pytest.raises(ValueError, match="label"):
        loss(0.0, 0.0, math.nan)
