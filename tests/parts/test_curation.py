import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.curation import (
    NO_ANSWER,
    agreement_filter,
    doubtful,
    flipped,
    majority,
    nearest,
    retrieval_budget,
    retrieve,
    treated,
)
from guerdon.parts.preference_strength import treat
from guerdon.types import FIRST, SECOND, TIE, Pairs


def budget(p, **kw):
    return retrieval_budget(torch.tensor([p]), **kw).item()


def test_the_table_of_the_card():
    table = {0.2: 8, 0.5: 8, 0.51: 4, 0.6: 4, 0.63: 3, 0.75: 2, 0.76: 2, 0.88: 1, 0.99: 1, 1.0: 0, 0.0: 8}
    assert {p: budget(p) for p in table} == table
    assert budget(0.7499999) == budget(0.75) == 2
    assert budget(0.74) == 3
    assert budget(0.5, k_max=3) == 3
    assert retrieval_budget(torch.tensor([0.75], dtype=torch.float64)).item() == 2


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.integers(1, 12))
def test_the_budget_never_grows_with_p(p, k_max):
    found = retrieval_budget(torch.tensor(sorted(p)), k_max=k_max).tolist()
    assert found == sorted(found, reverse=True)
    assert max(found) <= k_max


def test_budgets_refuse_what_is_no_probability():
    for wrong in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="probability"):
            budget(wrong)
    with pytest.raises(ValueError, match="at least one"):
        retrieval_budget(torch.zeros(0))
    with pytest.raises(ValueError, match="k_max"):
        budget(0.5, k_max=0)


POOL = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 2.0], [-1.0, 0.0], [5.0, 0.0]])


def test_neighbours_by_cosine_without_duplicates():
    query = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.05]])
    assert retrieve(query, POOL, torch.tensor([2, 1, 3])).tolist() == [0, 4, 2, 1]  # 0 and 4 are equally near
    assert retrieve(query, POOL, torch.tensor([0, 0, 0])).tolist() == []
    assert sorted(retrieve(query, POOL, torch.tensor([9, 0, 0])).tolist()) == [0, 1, 2, 3, 4]
    assert retrieve(query, POOL[:0], torch.tensor([2, 1, 3])).tolist() == []


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 99))
def test_each_query_gets_its_nearest(queries, pool, seed):
    g = torch.Generator().manual_seed(seed)
    q, p = torch.randn(queries, 3, generator=g), torch.randn(pool, 3, generator=g)
    k = torch.randint(0, 5, (queries,), generator=g)
    found = retrieve(q, p, k)
    assert len(found) == len(set(found.tolist()))
    cosine = torch.nn.functional.cosine_similarity(q[:, None], p[None], dim=-1)
    wanted = {j for i in range(queries) for j in cosine[i].argsort(descending=True)[: k[i]].tolist()}
    assert set(found.tolist()) == wanted


def test_the_nearest_examples_come_in_order_and_equal_ones_by_row():
    assert nearest(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), POOL, 3).tolist() == [[0, 4, 1], [2, 1, 0]]
    assert nearest(POOL, POOL[:1], 4).tolist() == [[0]] * 5
    assert nearest(POOL, POOL, 0).shape == (5, 0)


def test_retrieval_refuses_other_shapes_and_nan():
    with pytest.raises(ValueError, match="no verified pairs"):
        retrieve(POOL[:0], POOL, torch.zeros(0).long())
    with pytest.raises(ValueError, match="embeddings"):
        retrieve(torch.zeros(2, 3), POOL, torch.ones(2).long())
    with pytest.raises(ValueError, match="budget"):
        retrieve(POOL, POOL, torch.ones(2).long())
    with pytest.raises(ValueError, match="NaN"):
        retrieve(POOL, POOL * math.nan, torch.ones(5).long())


def test_a_majority_of_majorities_is_not_that_of_the_pool():
    def votes(first, second):
        return [FIRST] * first + [SECOND] * second

    cast = torch.tensor([votes(5, 0), votes(2, 3), votes(2, 3)])
    assert majority(cast).tolist() == [FIRST, SECOND, SECOND]
    assert majority(majority(cast)).item() == SECOND
    assert majority(cast.flatten()).item() == FIRST
    assert majority(torch.tensor([[FIRST, SECOND], [TIE, FIRST], [NO_ANSWER, NO_ANSWER]])).tolist() == [TIE, FIRST, TIE]
    for wrong in (torch.tensor([3]), torch.tensor([-2]), torch.tensor([0.5])):
        with pytest.raises(ValueError, match="a vote is"):
            majority(wrong)


def test_what_is_near_even_is_doubtful():
    p = torch.tensor([0.2, 0.5, 0.54, 0.56, 0.99])
    assert doubtful(p).tolist() == [True, True, True, False, False]
    assert doubtful(p, delta=0.0).tolist() == [True, True, False, False, False]
    with pytest.raises(ValueError, match="NaN"):
        doubtful(torch.tensor([math.nan]))


BITS = torch.tensor([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])  # gold, judged, best


def test_the_truth_table_of_the_second_filter():
    gold, judged, best = BITS.T
    found = agreement_filter(gold.bool(), best.bool(), judged)
    assert [f"{i:03b}" for i in range(8) if found.keep[i]] == ["101", "110", "111"]
    assert [f"{i:03b}" for i in range(8) if found.recycle[i]] == ["000", "001", "010"]
    assert (found.keep.long() + found.recycle.long() + found.undecided.long()).tolist() == [1] * 8


def test_swapping_all_labels_swaps_what_is_kept_and_recycled():
    gold, judged, best = BITS.T
    plain, swapped = (agreement_filter(g.bool(), b.bool(), j) for g, j, b in ((gold, judged, best), 1 - BITS.T))
    assert torch.equal(plain.keep, swapped.recycle)
    assert torch.equal(plain.recycle, swapped.keep)


def test_without_judges_both_models_must_agree():
    gold, best = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 1, 0]).bool()
    for judged in (None, torch.full((4,), NO_ANSWER)):
        found = agreement_filter(gold, best, judged)
        assert found.keep.tolist() == [True, False, False, False]
        assert found.recycle.tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match="equal shape"):
        agreement_filter(gold, best[:2])
    with pytest.raises(ValueError, match="NO_ANSWER"):
        agreement_filter(gold, best, torch.full((4,), 2))


def pairs():
    label = torch.tensor([FIRST, SECOND, TIE])
    return Pairs(first=["a", "b", "c"], second=["d", "e", "f"], label=label, columns={"user": [1, 2, 3]})


def test_flipped_pairs():
    mask = torch.tensor([True, True, True])
    assert flipped(pairs(), mask).label.tolist() == [SECOND, FIRST, TIE]
    assert flipped(flipped(pairs(), mask), mask).label.tolist() == pairs().label.tolist()
    assert flipped(pairs(), ~mask).label.tolist() == pairs().label.tolist()
    with pytest.raises(ValueError, match="mask"):
        flipped(pairs(), mask[:2])
    with pytest.raises(ValueError, match="mask"):
        flipped(pairs(), mask.long())


def test_treated_pairs_carry_what_the_loss_reads():
    mu = torch.tensor([-1.0, 0.5, math.nan])
    lowest = mu < 0
    made = treated(pairs(), treat(mu, flip=lowest, margin=True))
    assert made.label.tolist() == [SECOND, SECOND, TIE]
    assert made.columns == {"user": [1, 2, 3], "alpha": [0.0, 0.0, 0.0], "margin": [1.0, 0.5, 0.0]}
    left = treated(pairs(), treat(mu, drop=lowest))
    assert left.first == ["b", "c"]
    assert left.columns["user"] == [2, 3]
