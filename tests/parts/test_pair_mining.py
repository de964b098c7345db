import math
from itertools import pairwise

import pytest
import samples
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.pair_mining import Mined, mine_pairs, pairs_of
from guerdon.types import FIRST

SCORE = torch.tensor([0.95, 0.2, 0.5, 0.4, 0.8, 0.1])
GROUP = torch.tensor([0, 0, 0, 1, 1, 1])


def rows(mined):
    return [(p.chosen, p.rejected) for p in mined]


def test_highest_against_lowest():
    assert rows(mine_pairs(SCORE, GROUP)) == [(0, 1), (4, 5)]
    assert mine_pairs(SCORE, GROUP)[0].gap == pytest.approx(0.75)
    assert rows(mine_pairs(SCORE, GROUP, min_gap=0.76)) == []


def test_right_against_wrong_may_be_less_confident():
    right = torch.tensor([False, True, False, True, False, False])
    assert rows(mine_pairs(SCORE, GROUP, right=right)) == [(3, 5), (1, 2)]
    assert mine_pairs(SCORE, GROUP, right=right)[1].gap == pytest.approx(-0.3)
    assert rows(mine_pairs(SCORE, GROUP, right=right, min_gap=0.0)) == [(3, 5)]
    assert rows(mine_pairs(SCORE, GROUP, right=right, limit=1)) == [(3, 5)]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=8))
def test_all_pairs_are_counted_and_come_by_gap(items):
    score, right = torch.tensor([s for s, _ in items]), torch.tensor([r for _, r in items])
    mined = mine_pairs(score, torch.zeros(len(items)), right=right, per_group=None)
    assert len(mined) == int(right.sum()) * int((~right).sum())
    assert all(a.gap >= b.gap for a, b in pairwise(mined))


def test_equals_make_no_pair_and_ties_go_to_the_lowest_row():
    assert mine_pairs(torch.ones(3), torch.zeros(3)) == []
    assert rows(mine_pairs(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.zeros(4))) == [(0, 2)]


def test_unscored_rows_take_no_part():
    assert rows(mine_pairs(torch.tensor([math.nan, 0.4, 0.1]), torch.zeros(3))) == [(1, 2)]
    with pytest.raises(ValueError, match="must all be"):
        mine_pairs(SCORE, GROUP[:2])


def test_pairs_of_completions():
    c = samples.completions()
    pairs = pairs_of(c, [Mined(4, 5, 0.5), Mined(1, 0, 0.25)])
    assert pairs.first.text == [c.text[4], c.text[1]]
    assert torch.equal(pairs.second.ids, c.ids[[5, 0]])
    assert pairs.label.tolist() == [FIRST, FIRST]
    assert pairs.columns == {"gap": [0.5, 0.25]}
