"""Values between tokens and steps: round trips, sums from a step on, and steps told apart wrongly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.step_placement import gather_steps, next_step, place_steps, spread_steps, steps_to_go, turn_ends
from guerdon.types import Completions

STEP = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
ENDS = torch.tensor([[0, 1, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()


def completions(step=STEP, mask=MASK) -> Completions:
    n = len(mask)
    return Completions(prompt=["q"] * n, text=["a"] * n, ids=torch.zeros_like(mask).long(), mask=mask, step=step)


def test_values_of_steps_by_hand():
    value = torch.arange(18.0).view(3, 6)
    steps = gather_steps(value, ENDS)
    assert steps.value.tolist() == [[1, 4, 5], [6, 8, 0], [0, 0, 0]]
    assert steps.mask.tolist() == [[True] * 3, [True, True, False], [False] * 3]
    assert torch.equal(place_steps(steps.value, ENDS), torch.where(ENDS, value, 0.0))
    spread = spread_steps(steps.value, ENDS, MASK)
    assert spread.tolist() == [[1, 1, 0, 4, 4, 5], [6, 8, 8, 0, 0, 0], [0] * 6]


def test_turn_ends_follow_the_generated_tokens():
    assert torch.equal(turn_ends(completions(), "X"), ENDS)
    with pytest.raises(ValueError, match=r"X.*Completions\.step"):
        turn_ends(completions(step=None), "X")
    falling = STEP.clone()
    falling[0] = torch.tensor([1, 1, 0, 0, 0, 2])
    with pytest.raises(ValueError, match=r"X.*rise"):
        turn_ends(completions(step=falling), "X")


@given(st.integers(0, 10_000), st.integers(0, 6), st.sampled_from([1.0, 0.5, 0.0]))
def test_sums_from_a_step_on(seed, k, gamma):
    g = torch.Generator().manual_seed(seed)
    reward, mask = torch.randn(3, k, generator=g, dtype=torch.float64), torch.rand(3, k, generator=g) < 0.7
    returns = steps_to_go(reward.masked_fill(~mask, torch.nan), mask, gamma=gamma)
    following, there = next_step(reward, mask)
    for row in range(3):
        places = [i for i in range(k) if mask[row, i]]
        for i in range(k):
            later = [j for j in places if j > i]
            assert bool(there[row, i]) == bool(later)
            assert float(following[row, i]) == (float(reward[row, later[0]]) if later else 0.0)
            ahead = [j for j in places if j >= i] if i in places else []
            total = sum(gamma**n * float(reward[row, j]) for n, j in enumerate(ahead))
            assert float(returns[row, i]) == pytest.approx(total, abs=1e-12)


@given(st.integers(0, 10_000))
def test_placing_undoes_gathering(seed):
    g = torch.Generator().manual_seed(seed)
    value, ends = torch.randn(4, 9, generator=g), torch.rand(4, 9, generator=g) < 0.4
    assert torch.equal(place_steps(gather_steps(value, ends).value, ends), torch.where(ends, value, 0.0))


def test_bad_input():
    with pytest.raises(ValueError, match="one shape"):
        gather_steps(torch.zeros(3, 5), ENDS)
    with pytest.raises(ValueError, match="up to 3 steps"):
        place_steps(torch.zeros(3, 2), ENDS)
    with pytest.raises(ValueError, match="one shape"):
        steps_to_go(torch.zeros(3, 2), torch.ones(3, 3))
    assert place_steps(torch.zeros(2, 0), torch.zeros(2, 4, dtype=torch.bool)).tolist() == [[0.0] * 4] * 2
