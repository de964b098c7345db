"""Accuracy over pairs, and over samples of several pairs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.pair_accuracy import accuracy, accuracy_plus, told_right
from guerdon.types import FIRST, SECOND, TIE


def test_by_hand():
    first, second = torch.tensor([2.0, 2.0, 1.0, 0.0, math.nan]), torch.tensor([1.0, 1.0, 1.0, 5.0, 1.0])
    right = told_right(first, second, torch.tensor([FIRST, SECOND, FIRST, TIE, FIRST]))
    torch.testing.assert_close(right, torch.tensor([1.0, 0.0, 0.5, math.nan, math.nan]), equal_nan=True)
    assert accuracy(right) == 0.5


def test_a_sample_is_won_only_as_a_whole():
    right = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.5, math.nan])
    assert accuracy_plus(right, ["a", "a", "b", "b", "c", "d"]) == pytest.approx(1 / 3)
    assert math.isnan(accuracy_plus(right[5:], ["d"]))
    with pytest.raises(ValueError, match="a sample for each of 6 pairs"):
        accuracy_plus(right, ["a"])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_acc_plus_of_equally_large_samples_is_never_above_acc(rows):
    right, sample = torch.tensor([float(r) for r, _ in rows]), [i // 2 for i in range(len(rows) // 2 * 2)]
    if sample:
        assert accuracy_plus(right[: len(sample)], sample) <= accuracy(right[: len(sample)]) + 1e-6
    assert accuracy_plus(right, range(len(rows))) == pytest.approx(accuracy(right))
