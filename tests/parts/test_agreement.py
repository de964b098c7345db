from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.agreement import cohen_kappa, fleiss_kappa, raw_agreement


def rated(*counts: tuple[str, str, int]) -> tuple[list[str], list[str]]:
    """Two raters' answers from (of the one, of the other, how often)."""
    pairs = [(a, b) for a, b, n in counts for _ in range(n)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_cohen_kappa_by_hand():
    both = rated(("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15))
    assert raw_agreement(*both) == pytest.approx(0.7)
    assert cohen_kappa(*both) == pytest.approx(0.4)  # p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    assert cohen_kappa(*rated(("a", "b", 3), ("b", "a", 3))) == pytest.approx(-1)


def test_fleiss_kappa_of_fourteen_raters_by_hand():
    """Ten items in five categories: P = 0.378, p_e = 0.213."""
    table = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    ratings = [[j for j, n in enumerate(row) for _ in range(n)] for row in table]
    assert fleiss_kappa(ratings) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([*ratings, [0], []]) == fleiss_kappa(ratings), "one answer says nothing about agreement"


def test_fleiss_kappa_with_items_rated_by_two_and_by_three():
    # P = (1 + 1/3) / 2; shares 4/5 and 1/5: p_e = 17/25
    assert fleiss_kappa([["a", "a"], ["a", "a", "b"]]) == pytest.approx((2 / 3 - 17 / 25) / (8 / 25))


def test_what_is_not_defined_is_nan_and_not_agreement():
    assert math.isnan(raw_agreement([], []))
    assert math.isnan(cohen_kappa([], []))
    assert raw_agreement(["a", "a"], ["a", "a"]) == 1
    assert math.isnan(cohen_kappa(["a", "a"], ["a", "a"]))
    assert math.isnan(fleiss_kappa([["a"], ["b"]]))
    assert math.isnan(fleiss_kappa([["a", "a"], ["a", "a"]]))
    with pytest.raises(ValueError, match="1 and 2"):
        raw_agreement(["a"], ["a", "b"])


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 2), min_size=1))
def test_kappa_does_not_mind_who_is_first_and_is_at_most_one(pairs):
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    found = cohen_kappa(one, other)
    assert found == pytest.approx(cohen_kappa(other, one), nan_ok=True)
    assert math.isnan(found) or (found <= 1 + 1e-12 and (found > 1 - 1e-12) == (one == other))
    assert fleiss_kappa(pairs) == pytest.approx(fleiss_kappa([(b, a) for a, b in pairs]), nan_ok=True)
