"""Best-of-N: the pick, its curves, and what foretells it."""

import math

import numpy as np
import pytest

from guerdon.compare.best_of_n import agreement, best_of_n, pick


def test_the_top_score_is_picked_and_ties_are_voted_on():
    assert pick([1, 3, 2], "abc") == 1
    assert pick([5, 5, 1, 5], ["x", "y", "z", "y"]) == 1
    assert pick([5, 5], ["x", "y"]) == 0
    assert pick([5, 5, 5], ["7", "1/2", "0.5"], same=lambda a: eval(a, {})) == 1


@pytest.mark.parametrize(("scores", "answers"), [([], []), ([1.0], ["a", "b"]), ([math.nan, 1.0], ["a", "b"])])
def test_no_pick_without_scores(scores, answers):
    with pytest.raises(ValueError, match="pick needs"):
        pick(scores, answers)


def test_curves_by_hand():
    scores, gold = [[1, 2, 3, 0], [4, 3, 2, 1]], [[0, 1, 0, 0], [1, 0, 0, 0]]
    found = best_of_n(scores, gold, ns=(1, 2, 4, 8))
    assert found.n == (1, 2, 4)
    assert found.proxy == (2.5, 3, 3.5)
    assert found.gold == (0.5, 1, 0.5)
    assert found.kl == pytest.approx((0, math.log(2) - 0.5, math.log(4) - 0.75))
    assert found.lost == 0.5


def test_a_reward_that_is_the_gold_is_never_over_optimised():
    drawn = np.random.default_rng(0).normal(size=(300, 16))
    found = best_of_n(drawn.tolist(), drawn.tolist())
    assert found.gold == found.proxy
    assert list(found.gold) == sorted(found.gold)
    assert found.lost == 0


def test_a_heavy_tailed_error_is_over_optimised():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(2000, 256))
    proxy = gold + rng.standard_t(1.5, size=gold.shape)
    found = best_of_n(proxy.tolist(), gold.tolist())
    assert found.lost > 0.1
    assert found.proxy[-1] > 5 * found.gold[-1]


def test_sizes_and_counts_that_do_not_fit():
    with pytest.raises(ValueError, match="no size"):
        best_of_n([[1]], [[1]], ns=(2,))
    with pytest.raises(ValueError, match="same samples"):
        best_of_n([[1]], [[1, 2]])
    with pytest.raises(ValueError, match="gold is NaN"):
        best_of_n([[1]], [[math.nan]])


def test_agreement_over_models():
    assert agreement([1, 2, 3], [2, 4, 6]) == pytest.approx((1, 1))
    assert agreement([1, 2, 3], [1, 10, 100]).spearman == pytest.approx(1)
    assert math.isnan(agreement([1, 1, 1], [1, 2, 3]).pearson)
    with pytest.raises(ValueError, match="three models"):
        agreement([1, 2], [1, 2])
