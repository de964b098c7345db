import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.parts import elliptical
from guerdon.parts.elliptical import EllipticalMemory
from guerdon.parts.episodes import Visits

STREAM = st.lists(st.lists(st.tuples(*[st.tuples(st.booleans(), st.booleans())] * 2), max_size=9), max_size=4)


def visits_of(rollout):
    table = torch.tensor(rollout, dtype=torch.bool).view(-1, 2, 2)
    return Visits(table[..., 1] | table[..., 0], table[..., 0].long().cumsum(0), None)


@settings(max_examples=60, deadline=None)
@given(STREAM, st.sampled_from([2, 128]))
def test_equals_the_direct_inverse_in_order(stream, block):
    """Blocks of 2 steps, whole rollouts, and one visit after the other give the same."""
    g, memory = torch.Generator().manual_seed(0), EllipticalMemory(2, 5, 0.1)
    cov = [0.1 * torch.eye(5, dtype=torch.float64) for _ in range(2)]
    kept, elliptical._BLOCK = elliptical._BLOCK, block
    try:
        for rollout in stream:
            visits, x = visits_of(rollout), torch.randn(len(rollout), 2, 5, generator=g)
            bonus, inverse = memory.walk(x, visits)
            for t in range(len(rollout)):
                for b in range(2):
                    if rollout[t][b][0]:
                        cov[b] = 0.1 * torch.eye(5, dtype=torch.float64)
                    row = x[t, b].double()
                    expected = row @ torch.linalg.inv(cov[b]) @ row if visits.there[t, b] else torch.zeros(())
                    torch.testing.assert_close(bonus[t, b].double(), expected.double(), rtol=1e-5, atol=1e-7)
                    cov[b] = cov[b] + visits.there[t, b] * torch.outer(row, row)
            memory.inverse.copy_(inverse)
            torch.testing.assert_close(memory.inverse, torch.linalg.inv(torch.stack(cov)), rtol=1e-8, atol=1e-8)
    finally:
        elliptical._BLOCK = kept


def test_indicators_count_visits():
    """With ridge 1 a one-hot vector is worth 1 / (1 + n) after n visits."""
    x = torch.eye(3)[[0, 1, 0, 0, 1]].view(5, 1, 3)
    visits = Visits(torch.ones(5, 1, dtype=torch.bool), torch.zeros(5, 1, dtype=torch.int64), None)
    with pytest.raises(FloatingPointError, match="nan"):
        EllipticalMemory(1, 3, 0.1).walk(x * float("nan"), visits)
    bonus, _ = EllipticalMemory(1, 3, 1.0).walk(x, visits)
    torch.testing.assert_close(bonus.flatten(), torch.tensor([1.0, 1.0, 1 / 2, 1 / 3, 1 / 2]))


def test_ten_thousand_visits_keep_the_count():
    """A state seen so often is worth 1 / (1 + n) still: no rounding adds up."""
    memory, x = EllipticalMemory(1, 2, 1.0), torch.ones(1000, 1, 2) / 2**0.5
    visits = Visits(torch.ones(1000, 1, dtype=torch.bool), torch.zeros(1000, 1, dtype=torch.int64), None)
    for _ in range(10):
        bonus, inverse = memory.walk(x, visits)
        memory.inverse.copy_(inverse)
    assert bonus[-1, 0] == pytest.approx(1 / 10_000, rel=1e-4)


def test_a_ridge_of_nothing_is_refused():
    with pytest.raises(ValueError, match="ridge"):
        EllipticalMemory(1, 2, 0.0)


def test_vectors_too_long_for_float64_are_refused():
    x = torch.full((50, 1, 3), 1e9) + torch.randn(50, 1, 3)
    visits = Visits(torch.ones(50, 1, dtype=torch.bool), torch.zeros(50, 1, dtype=torch.int64), None)
    with pytest.raises(FloatingPointError, match=r"too long beside a ridge of 0\.1"):
        EllipticalMemory(1, 3, 0.1).walk(x, visits)
    with pytest.raises(FloatingPointError, match="nan"):
        EllipticalMemory(1, 3, 0.1).walk(x * float("nan"), visits)
    bonus, _ = EllipticalMemory(1, 3, 0.1).walk(x / 1e6, visits)  # a thousand is not
    assert bonus[-1, 0] == pytest.approx(1 / 49, rel=0.5)
