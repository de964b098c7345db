"""One-to-many metrics: the cards' hand-computed values, invariances, chance levels, bad input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.one_to_many import (
    Scores,
    accuracy,
    best_of,
    compared,
    rank,
    rank_score,
    reciprocal_rank,
    ties_score,
    win_rate,
)

METRICS = (accuracy, best_of, reciprocal_rank, rank_score, win_rate)
WHOLE = st.lists(st.integers(-5, 5), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [((5, 1, 1, 1), 1), ((5, 5, 1, 1), 1 / 2), ((5, 5, 5, 1), 1 / 3), ((5, 5, 5, 5), 1 / 4), ((1, 5, 5, 5), 0)],
)
def test_best_of_shares_a_point_among_those_that_tie(scores, expected):
    assert best_of(Scores(scores[:1], scores[1:])) == pytest.approx(expected)


def test_constant_scores_are_never_accurate_but_always_with_ties():
    constant = Scores([3.0], [3.0] * 9)
    assert accuracy(constant) == 0
    assert accuracy(constant, ties=True) == 1
    assert reciprocal_rank(constant) == pytest.approx(0.1)  # a tie stands behind the wrong ones
    assert rank_score(constant) == 0
    assert win_rate(constant) == 0


def test_random_scores_have_the_closed_forms():
    drawn = np.random.default_rng(0).random((20_000, 10))
    found = [(accuracy(s), reciprocal_rank(s)) for row in drawn for s in [Scores(row[:1], row[1:])]]
    acc, mrr = np.mean(found, 0)
    assert acc == pytest.approx(0.1, abs=0.007)
    assert mrr == pytest.approx(sum(1 / k for k in range(1, 11)) / 10, abs=0.007)


def test_several_right_answers():
    mixed = Scores([4, 1], [2, 0])
    assert (accuracy(mixed), best_of(mixed), rank(mixed), win_rate(mixed)) == (0, 1, 1, 0.75)
    assert best_of(Scores([2, 2], [2])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("wins", range(10))
def test_comparisons_as_scores(wins):
    scores = compared([True] * wins + [False] * (9 - wins))
    assert accuracy(scores) == (wins == 9)
    assert reciprocal_rank(scores) == pytest.approx(1 / (10 - wins))


@given(WHOLE, WHOLE)
def test_increasing_transforms_and_orders_change_nothing(right, wrong):
    plain = Scores(right, wrong)
    moved = Scores([math.exp(x) for x in reversed(right)], [math.exp(x) for x in reversed(wrong)])
    for metric in METRICS:
        assert metric(plain) == pytest.approx(metric(moved))


HAND = [  # ref, tied, score, preferred, preferred_hard: the card's
    (Scores([2], [0]), Scores([2, 1.5], [0, -1]), 1.00964, 1, 1),
    (Scores([2], [0]), Scores([3, 1], [0.5, 0]), 0.59365, 0, 0),
    (Scores([2], [1.8]), Scores([2, 1.5], [0, -1]), 0.79463, 1, 0),
    (Scores([1], [1]), Scores([1, 1], [1]), 0.0, 0, 0),
    (Scores([2], [0]), Scores([2, 2], [0]), 1.01, 1, 1),
    (Scores([0], [2]), Scores([2, 2], [0]), 0.49, 1, 0),
]


@pytest.mark.parametrize(("ref", "tied", "score", "preferred", "hard"), HAND)
def test_ties_score_by_hand(ref, tied, score, preferred, hard):
    found = ties_score({"0": ref}, {"0": tied})
    assert found.score == pytest.approx(score, abs=5e-6)
    assert (found.preferred, found.preferred_hard) == (preferred, hard)


@given(st.floats(0.1, 10), st.floats(-10, 10))
def test_ties_score_knows_no_unit_and_no_origin(scale, shift):
    for ref, tied, score, _, _ in HAND[:3]:
        moved = [
            Scores([scale * x + shift for x in s.right], [scale * x + shift for x in s.wrong]) for s in (ref, tied)
        ]
        assert ties_score({"0": moved[0]}, {"0": moved[1]}).score == pytest.approx(score, abs=1e-4)


def test_ties_score_is_not_free_of_other_transforms():
    ref, tied = Scores([2], [0]), Scores([3, 1], [0.5, 0])
    bent = [Scores([math.sqrt(x) for x in s.right], [math.sqrt(x) for x in s.wrong]) for s in (ref, tied)]
    assert ties_score({"0": ref}, {"0": tied}).score != pytest.approx(ties_score({"0": bent[0]}, {"0": bent[1]}).score)


def test_accuracies_are_over_all_and_the_rest_over_twins():
    good, bad = Scores([2], [0]), Scores([0], [2])
    found = ties_score({"0": good, "1": bad}, {"0": good})
    assert (found.ref, found.tied, found.preferred) == (0.5, 1, 1)


def test_no_twins_is_an_error_with_both_counts():
    with pytest.raises(ValueError, match="1 ref and 1 tied"):
        ties_score({"0": Scores([1], [0])}, {"1": Scores([1], [0])})


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [([], [1], "right"), ([1], [], "wrong"), ([math.nan], [1], "nan"), ([1], [0, math.inf], "inf")],
)
def test_bad_scores_are_refused(metric, right, wrong, said):
    with pytest.raises(ValueError, match=said):
        metric(Scores(right, wrong))


def test_no_comparisons_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        compared([])
