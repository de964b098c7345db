"""Whose pairs are whose, and splits in which nothing that is predicted was looked at."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.user_pools import UserPools


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rows_are_grouped_in_order_of_appearance():
    pools = UserPools.of(["bo", "al", "bo", "bo"])
    assert pools.names == ["bo", "al"]
    assert pools.rows[pools.mask].tolist() == [0, 2, 3, 1]
    assert pools.count.tolist() == [3, 1]


@given(st.lists(st.integers(0, 4), min_size=8, max_size=40), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_what_is_predicted_was_not_looked_at_and_is_of_the_same_user(users, context, targets, seed):
    pools = UserPools.of(users)
    split = pools.draw(16, context, targets, rng(seed))
    for c, seen, t, asked in zip(*split, strict=True):
        looked, predicted = c[seen].tolist(), t[asked].tolist()
        assert 1 <= len(looked) <= context
        assert 1 <= len(predicted) <= targets
        assert len({*looked, *predicted}) == len(looked) + len(predicted)
        assert len({users[row] for row in looked + predicted}) == 1


def test_any_number_up_to_the_context_is_looked_at_and_every_row_gets_its_turn():
    pools = UserPools.of([0] * 6 + [1] * 3)
    split = pools.draw(4000, 4, 2, rng())
    counts = split.seen.sum(1)
    assert counts.bincount(minlength=5)[1:].min() > 400
    first = split.context[:, 0].bincount(minlength=9)
    assert first[:6].min() > 250
    assert first[6:].min() > 500


def test_an_exact_number_is_always_looked_at():
    pools = UserPools.of([0] * 5 + [1] * 3)
    split = pools.draw(50, 3, 8, rng(), exact=True)
    assert split.seen.all()
    assert split.context.max() < 5  # the second user has nothing left to predict
    assert split.asked.sum(1).tolist() == [2] * 50


@pytest.mark.parametrize("nobody", [None, "", float("nan")])
def test_a_pair_without_a_user_is_refused(nobody):
    with pytest.raises(ValueError, match="pair 1 has no user"):
        UserPools.of(["al", nobody])


@pytest.mark.parametrize(
    ("users", "exact", "message"), [([1, 2], False, "2 pairs"), ([1, 1], True, "4 pairs"), ([], False, "0 users")]
)
def test_too_few_pairs_are_refused(users, exact, message):
    with pytest.raises(ValueError, match=message):
        UserPools.of(users).draw(4, 3, 2, rng(), exact=exact)
