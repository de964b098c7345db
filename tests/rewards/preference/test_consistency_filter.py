import pytest
import torch
from rewards.preference.linear import Linear, completions, made_pairs

from guerdon.parts.curation import NO_ANSWER
from guerdon.rewards.preference.consistency_filter import ConsistencyFilter
from guerdon.types import FIRST, SECOND, TIE

X = torch.tensor([[g, b] for g in (2.0, -2.0) for b in (3.0, 0.01, -0.01, -3.0)])
"""Leads of the first by the two models, gold and best; the best is near even on four of them."""
GOLD, BEST = Linear(torch.tensor([1.0, 0.0])), Linear(torch.tensor([0.0, 1.0]))


def pairs(label=FIRST):
    label = torch.full((8,), label) if isinstance(label, int) else label
    return made_pairs(torch.stack([X, torch.zeros_like(X)], 1), label)


def run(asked=None, judge=None, label=FIRST, **kw):
    return ConsistencyFilter(**kw)(pairs(label), best=BEST, gold=GOLD, judge=judge)


def test_judges_are_asked_where_the_best_model_doubts_the_label():
    seen = []

    def judge(asked):
        seen.append(asked)
        return torch.full((len(asked.label),), FIRST)

    found = run(judge=judge)
    assert found.asked.tolist() == [False, True, True, True] * 2
    assert len(seen[0].label) == 6
    # gold agrees with the first four; judges agree wherever asked
    assert found.agreement.keep.tolist() == [True, True, True, True, False, False, False, False]
    assert found.agreement.recycle.tolist() == [False] * 6 + [True, True]
    assert len(found.pairs.label) == 6
    assert found.pairs.label.tolist() == [FIRST] * 4 + [SECOND] * 2
    assert len(run(judge=judge, recycle=False).pairs.label) == 4


def test_judges_who_disagree_or_say_nothing():
    against = run(judge=lambda asked: torch.full((len(asked.label),), SECOND)).agreement
    assert against.keep.tolist() == [True, True, False, False] + [False] * 4
    assert against.recycle.tolist() == [False] * 4 + [False, True, True, True]
    for silent in (TIE, NO_ANSWER):
        found = run(judge=lambda asked, s=silent: torch.full((len(asked.label),), s)).agreement
        assert found.keep.tolist() == run().agreement.keep.tolist() == [True, True, False, False] + [False] * 4
    assert not run().asked.any()


def test_swapping_every_label_swaps_what_is_kept_and_recycled():
    plain, swapped = run().agreement, run(label=SECOND).agreement
    assert torch.equal(plain.keep, swapped.recycle)
    assert torch.equal(plain.recycle, swapped.keep)


def test_ties_are_left_out_and_delta_widens_what_is_doubtful():
    found = run(label=torch.tensor([TIE] + [FIRST] * 7), judge=lambda asked: torch.zeros(len(asked.label)).long())
    assert found.agreement.undecided[0]
    assert not found.asked[0]
    assert run(judge=lambda asked: asked.label, delta=0.0).asked.tolist() == [False, False, True, True] * 2


def test_bad_input():
    with pytest.raises(ValueError, match="6 pairs need as many labels"):
        run(judge=lambda asked: torch.zeros(2).long())
    with pytest.raises(ValueError, match="6 pairs need as many labels"):
        run(judge=lambda asked: torch.full((6,), 3))
    with pytest.raises(ValueError, match="no pairs"):
        ConsistencyFilter()(pairs().rows([]), best=BEST, gold=GOLD)
    with pytest.raises(ValueError, match="8 of 8 pairs"):
        ConsistencyFilter()(pairs(), best=Linear(torch.full((2,), torch.nan)), gold=GOLD)
    assert completions(X).shape == (8, 0)
