import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from guerdon.parts.abstention import (
    abstains,
    abstention_metrics,
    abstention_mixture,
    abstention_reward,
    abstention_threshold,
    agreement,
    proper_score,
    risk_coverage,
)


def pay(u, ok, abstained, c, **options) -> float:
    return abstention_reward(*(torch.tensor([float(x)]) for x in (u, ok, abstained, c)), **options).item()


@pytest.mark.parametrize("c", [0.0, 0.5, 1.0])
def test_the_table(c):
    assert pay(0, 1, 0, c) == c
    assert pay(0, 1, 0, c, flat=True) == 1.0
    assert pay(0, 0, 0, c) == -c
    assert pay(0, 0, 1, c) == -0.5
    assert pay(1, 0, 1, c) == 1.0
    assert pay(1, 0, 0, c) == pay(1, 1, 0, c) == -(1 + c)
    assert pay(1, 0, 0, c, hallucination=3.0) == -3 * (1 + c)
    assert math.isnan(pay(math.nan, 0, 0, c))


@pytest.mark.parametrize(
    ("row", "said"),
    [((2, 0, 0, 0.5), "unanswerable"), ((0, 0.5, 0, 0.5), "right"), ((0, 1, 1, 0.5), "both"), ((0, 0, 0, 1.1), "conf")],
)
def test_impossible_rows_are_refused(row, said):
    with pytest.raises(ValueError, match=said):
        pay(*row)
    with pytest.raises(ValueError, match="four"):
        abstention_reward(torch.ones(2), torch.ones(1), torch.ones(2), torch.ones(2))


@given(*[st.floats(0.1, 5)] * 4, st.floats(0, 1), st.floats(0, 1))
def test_the_threshold_is_where_both_are_worth_the_same(right_pay, abstain_pay, hallucination, miss, q, m):
    m = m * (1 - q)
    pays = {"right_pay": right_pay, "abstain_pay": abstain_pay, "hallucination": hallucination, "miss": miss}
    outcomes = [(q, 0, 1), (m, 0, 0), (1 - q - m, 1, 0)]  # its chance, unanswerable, right
    answer = sum(p * pay(u, ok, 0, 1, flat=True, **pays) for p, u, ok in outcomes)
    abstain = sum(p * pay(u, 0, 1, 1, flat=True, **pays) for p, u, _ in outcomes)
    threshold = abstention_threshold(**pays, m=m)
    if abs(q - threshold) > 1e-4:
        assert (answer > abstain) == (q > threshold)


def test_the_threshold_moves_up_with_the_price_of_hallucination():
    assert abstention_threshold() == pytest.approx(3 / 4.5)
    assert abstention_threshold(hallucination=0.0) == pytest.approx(1 / 2.5)
    assert abstention_threshold(hallucination=3.0) == pytest.approx(7 / 8.5)


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_the_proper_score_is_best_at_the_true_chance(p):
    c = torch.linspace(0, 1, 101)
    expected = p * proper_score(c, torch.ones(101)) + (1 - p) * proper_score(c, torch.zeros(101))
    assert c[expected.argmax()].item() == pytest.approx(p)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_metrics_agree_with_sklearn(rows):
    u, ok, abstained = (torch.tensor([r[i] for r in rows]) for i in range(3))
    got = abstention_metrics(u, ok & ~abstained, abstained)
    if u.any() or abstained.any():
        assert got.f1 == pytest.approx(f1_score(u, abstained, zero_division=0))
    (tn, fp), (fn, tp) = confusion_matrix(u, abstained, labels=[False, True])
    assert got.hallucination == pytest.approx(fn / (fn + tp)) if fn + tp else math.isnan(got.hallucination)
    assert got.needless == pytest.approx(fp / (fp + tn)) if fp + tn else math.isnan(got.needless)
    right = int((ok & ~abstained & ~u).sum())
    assert got.accuracy == pytest.approx((tp + right) / len(rows))
    assert got.coverage == pytest.approx((tn + fn) / len(rows))


def test_risk_and_coverage():
    coverage, risk = risk_coverage(torch.tensor([0.2, 0.9, 0.5]), torch.tensor([False, True, False]))
    torch.testing.assert_close(coverage, torch.tensor([1 / 3, 2 / 3, 1.0]))
    torch.testing.assert_close(risk, torch.tensor([0.0, 0.5, 2 / 3]))


def test_the_phrase_in_any_spelling_and_alone():
    assert abstains(" I don't know. ", "i don't know")
    assert abstains("UNKNOWN!", "unknown")
    assert not abstains("unknown, but maybe 3", "unknown")
    assert not abstains("", "unknown")


def test_agreement():
    group = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    got = agreement(["1", "1", "2", "2", "3", "3.0", None], group)
    torch.testing.assert_close(got, torch.tensor([0.5] * 4 + [1.0] * 3))


def test_the_mixture_holds_its_share():
    rows = [{"prompt": str(i), "answer": i, "unanswerable": int(i % 5 == 0)} for i in range(50)]
    rows.append({"prompt": "?", "answer": 0, "unanswerable": None})
    mixed = abstention_mixture(rows, 40, seed=0, share=0.25, weight=0.5)
    assert sum(r["unanswerable"] for r in mixed) == 10
    assert all(r["solution"] == ("unknown" if r["unanswerable"] else str(r["answer"])) for r in mixed)
    assert {r["weight"] for r in mixed if r["unanswerable"]} == {0.5}
    assert mixed == abstention_mixture(rows, 40, seed=0, share=0.25, weight=0.5)
    assert mixed != abstention_mixture(rows, 40, seed=1, share=0.25, weight=0.5)
    with pytest.raises(ValueError, match="unanswerable=1"):
        abstention_mixture([rows[1]], 4, seed=0)
