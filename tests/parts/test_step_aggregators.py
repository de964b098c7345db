"""Step aggregators: closed forms, their order, masks and bad input."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.step_aggregators import Aggregator, aggregate_lists, aggregate_steps

EVERY = Aggregator.__args__
P = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8)


def one(steps, how):
    return aggregate_lists([steps], how)[0]


@pytest.mark.parametrize("how", EVERY)
def test_of_one_step(how):
    assert one([0.8], how) == pytest.approx(4.0 if how == "mean_odd" else 0.8)


def test_of_equal_steps():
    for how in ("min", "max", "mean", "geometric_mean", "mean_logit", "last"):
        assert one([0.7] * 5, how) == pytest.approx(0.7)
    assert one([0.7] * 5, "prod") == pytest.approx(0.7**5)


def test_by_hand():
    steps = [0.5, 0.8, 0.2]
    expected = {
        "min": 0.2, "max": 0.8, "prod": 0.08, "geometric_mean": 0.08 ** (1 / 3), "mean": 0.5, "last": 0.2,
        "mean_logit": 0.5, "mean_odd": (1 + 4 + 0.25) / 3,
    }  # fmt: skip
    assert {how: one(steps, how) for how in EVERY} == pytest.approx(expected)


@given(P)
def test_order_of_the_aggregators(steps):
    order = [one(steps, how) for how in ("prod", "min", "geometric_mean", "mean", "max")]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(order))


@given(P)
def test_mean_logit_is_symmetric(steps):
    assert one([1 - p for p in steps], "mean_logit") == pytest.approx(1 - one(steps, "mean_logit"))


@pytest.mark.parametrize("how", EVERY)
def test_padding_does_not_count(how):
    rows = [[0.3, 0.9, 0.6], [0.4]]
    p = torch.tensor([[0.3, 0.9, 0.6, 77.0], [0.4, float("nan"), -1.0, 0.9]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    expected = torch.tensor([one(row, how) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(aggregate_steps(p, mask, how), expected, rtol=1e-6, atol=1e-7)


def test_certain_steps_stay_finite():
    for how in EVERY:
        assert 0 <= one([0.0, 1.0], how) < 1e7
    assert one([1.0], "mean_odd") == pytest.approx(1e6, rel=1e-3)
    assert one([0.0, 0.5], "geometric_mean") == 0


def test_answers_without_steps():
    assert aggregate_lists([[], [0.2]], "min", empty=0.5) == [0.5, pytest.approx(0.2)]
    assert aggregate_lists([[]], "min", empty=0.5) == [0.5]
    with pytest.raises(ValueError, match="answer 1 has no step"):
        aggregate_lists([[0.1], []], "min")


@pytest.mark.parametrize("bad", [[1.1], [-0.1], [float("nan")]])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="probability"):
        one([0.5, *bad], "mean")


def test_bad_shapes_and_names_are_refused():
    with pytest.raises(ValueError, match=r"\[N, T\]"):
        aggregate_steps(torch.rand(3), torch.ones(3), "min")
    with pytest.raises(ValueError, match="row 1 has no step"):
        aggregate_steps(torch.rand(2, 3), torch.tensor([[1, 0, 0], [0, 0, 0]]), "min")
    with pytest.raises(ValueError, match="geometric_mean"):
        aggregate_steps(torch.rand(2, 3), torch.ones(2, 3), "geomean")
