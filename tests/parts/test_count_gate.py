import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.count_gate import count_gate


def test_first_sight_is_worth_exactly_one():
    for power in (0.0, 0.5, 3.0, 10.0):
        assert count_gate(torch.ones(3, 2, dtype=torch.int32), power).tolist() == [[1.0, 1.0]] * 3


def test_power_zero_switches_it_off():
    assert count_gate(torch.arange(1, 1000), 0.0).eq(1.0).all()


def test_sums_of_the_card():
    n = torch.arange(1, 100_000)
    assert count_gate(n[:10]).double().sum().item() == pytest.approx(1.197532, abs=1e-6)
    assert count_gate(n).double().sum().item() == pytest.approx(1.2020569, abs=1e-6)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50), st.floats(0, 5))
def test_repeats_are_never_worth_more(counts, power):
    gate = count_gate(torch.tensor(sorted(counts)), power)
    assert gate.dtype == torch.float32
    assert ((gate >= 0) & (gate <= 1)).all()
    assert (gate.diff() <= 0).all()


@pytest.mark.parametrize("wrong", [0, -1])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match="start at 1"):
        count_gate(torch.tensor([1, wrong]))


def test_a_negative_power_is_refused():
    with pytest.raises(ValueError, match="negative"):
        count_gate(torch.ones(1), -1.0)


def test_nothing_to_gate():
    assert count_gate(torch.zeros(0, dtype=torch.int32)).shape == (0,)
