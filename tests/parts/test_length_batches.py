"""Batches of like length: all rows once, within the budget, with little padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.length_batches import length_batches


@given(st.lists(st.integers(0, 500), max_size=60), st.integers(1, 2000), st.floats(0, 1), st.integers(0, 600))
def test_every_row_once_within_the_budget(lengths, budget, waste, least):
    made = length_batches(lengths, budget, waste=waste, least=least)
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        assert lengths[batch[0]] == max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget


def test_a_batch_ends_where_padding_would_cost_more_than_a_pass():
    lengths = [100] * 6 + [10] * 6
    assert [len(b) for b in length_batches(lengths, 10_000, least=512)] == [6, 6]
    assert [len(b) for b in length_batches(lengths, 10_000, least=10_000)] == [12]
    assert [len(b) for b in length_batches(lengths, 10_000, waste=1.0)] == [12]


@pytest.mark.parametrize("budget", [1, 7])
def test_what_is_longer_than_the_budget_stands_alone(budget):
    assert length_batches([8, 9], budget) == [[1], [0]]
