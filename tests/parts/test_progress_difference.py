"""Progress and potential shaping against hand-computed values and their telescoping sums."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.progress_difference import potential_shaping, progress_difference


def test_hand_computed():
    belief = torch.tensor([[0.1, 0.4, 0.3], [0.2, 0.2, 0.8]])
    torch.testing.assert_close(progress_difference(belief), torch.tensor([[0.3, -0.1], [0.0, 0.6]]))
    logs = progress_difference(belief, kind="log")
    torch.testing.assert_close(logs, torch.tensor([[math.log(4), math.log(0.75)], [0.0, math.log(4)]]))


def test_what_is_not_valid_is_bridged():
    belief = torch.tensor([[0.1, math.nan, 0.4, math.inf, 0.5], [math.nan, 0.2, 0.3, 0.9, 0.9]])
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    expected = torch.tensor([[0.0, 0.3, 0.0, 0.1], [0.0, 0.1, 0.0, 0.0]])
    torch.testing.assert_close(progress_difference(belief, mask), expected)
    zero = torch.tensor([[0.5, 0.0, 0.25]])
    torch.testing.assert_close(progress_difference(zero, kind="log"), torch.tensor([[0.0, -math.log(2)]]))
    assert progress_difference(torch.ones(3, 1)).shape == (3, 0)


@given(st.integers(0, 10_000), st.sampled_from(["difference", "log"]))
def test_progress_telescopes(seed, kind):
    g = torch.Generator().manual_seed(seed)
    value = torch.rand(4, 7, generator=g, dtype=torch.float64) + 0.01
    value[torch.rand(4, 7, generator=g) < 0.2] = torch.nan
    mask = torch.rand(4, 7, generator=g) < 0.8
    progress = progress_difference(value, mask, kind=kind)
    for row in range(4):
        valid = [float(v) for v, m in zip(value[row], mask[row], strict=True) if m and not v.isnan()]
        ends = (valid[-1], valid[0]) if valid else (1.0, 1.0)
        whole = ends[0] - ends[1] if kind == "difference" else math.log(ends[0] / ends[1])
        assert float(progress[row].sum()) == pytest.approx(whole, abs=1e-12)


def test_gradients_reach_valid_values_only():
    value = torch.tensor([[0.2, 0.0, 0.4, math.nan]], requires_grad=True)
    (gradient,) = torch.autograd.grad(progress_difference(value, kind="log").sum(), value)
    torch.testing.assert_close(gradient, torch.tensor([[-5.0, 0.0, 2.5, 0.0]]))


def test_shaping_with_the_learners_discount_takes_back_what_it_gave():
    g = torch.Generator().manual_seed(0)
    phi, gamma = torch.rand(5, 6, generator=g, dtype=torch.float64), 0.9
    terminal = torch.zeros(5, 6, dtype=torch.bool)
    terminal[:, -1] = True
    shaped = potential_shaping(phi, gamma=gamma, terminal=terminal)
    discounts = gamma ** torch.arange(5, dtype=torch.float64)
    torch.testing.assert_close((shaped * discounts).sum(1), -phi[:, 0])  # of the first state alone: no way matters
    torch.testing.assert_close(potential_shaping(phi), progress_difference(phi))


def test_shaping_by_hand():
    phi = torch.tensor([[1.0, 2.0, 3.0, math.nan]])
    mask = torch.tensor([[True, False, True, False]])
    torch.testing.assert_close(potential_shaping(phi, mask, gamma=0.5), torch.tensor([[0.0, 0.5, 0.0]]))


@pytest.mark.parametrize("call", [
    lambda: progress_difference(torch.ones(3)),
    lambda: progress_difference(torch.ones(3, 0)),
    lambda: progress_difference(torch.ones(3, 2), torch.ones(3, 3)),
    lambda: progress_difference(torch.ones(3, 2), kind="ratio"),
    lambda: potential_shaping(torch.ones(3, 2), torch.ones(2, 2)),
    lambda: potential_shaping(torch.tensor([[1.0, math.nan]])),
])  # fmt: skip
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"progress|potential"):
        call()
