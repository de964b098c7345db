import math

import pytest
import table_model
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.answers import majority
from guerdon.rewards.likelihood.crew import (
    CRew,
    answer_confidence,
    best_of_n,
    confidence_gap_pairs,
    low_confidence_correct,
    picks_the_right_one,
    weighted_vote,
)


def model() -> table_model.TableModel:
    """Two answers: behind "{" a 4 with 0.7 and a 5 with 0.2; behind 4, "2" with 0.5."""
    made = table_model.TableModel()
    made.put("{", "4", 0.7)
    made.logits.data[ord("{"), ord("5")] = math.log(0.2)
    made.logits.data[ord("{"), 6:40] = -40.0
    made.logits.data[ord("{")] -= made.logits.data[ord("{")].logsumexp(0)
    made.put("4", "2", 0.5)
    return made


def test_one_token_is_its_probability():
    m = model()
    p = m.logits[ord("{")].softmax(0)
    got = answer_confidence(m, ["q", "q"], [r"\boxed{4}", r"\boxed{5} sure"])
    torch.testing.assert_close(got, torch.stack([p[ord("4")], p[ord("5")]]))


def test_only_the_last_answer_counts_and_what_comes_after_it_does_not():
    m = model()
    base = answer_confidence(m, ["q"] * 3, [r"\boxed{42}", r"\boxed{5} no, \boxed{42}", r"\boxed{42} and so on"])
    torch.testing.assert_close(base, base[:1].expand(3))
    torch.testing.assert_close(base[0], (m.logits[ord("{")].softmax(0)[ord("4")] + 0.5) / 2)
    tagged = answer_confidence(m, ["q"], ["<answer>{42</answer>"], how="<answer>")
    assert tagged != base[0]


def test_no_answer_is_worth_nothing_and_one_out_of_reach_is_not_scored():
    m = model()
    m.max_length = 20
    c = table_model.completions(["q"] * 3, [r"\boxed{4}", "none", " " * 30 + r"\boxed{4}"], model=m)
    got = CRew().score(c, reference=m)
    assert got[0] > 0
    assert got[1] == 0
    assert got[2].isnan()
    assert answer_confidence(m, ["q"], ["none"]).isnan()


SCORE = torch.tensor([0.2, 0.9, 0.9, 0.5, math.nan, 0.4])
GROUP = torch.tensor([0, 0, 0, 1, 1, 1])
RIGHT = torch.tensor([True, False, True, False, True, True])


def test_best_of_n():
    assert best_of_n(SCORE, GROUP) == [1, 3]
    assert best_of_n(torch.tensor([math.nan, 0.1])) == [1]


def test_a_confident_minority_wins_the_vote():
    votes = weighted_vote(["7", "7", "8", "1", "2", None], torch.tensor([0.2, 0.2, 0.9, 0.3, math.nan, 0.9]), GROUP)
    assert [v.answer for v in votes] == ["8", "1"]
    assert votes[0].share == pytest.approx(0.9 / 1.3)


@given(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=9))
def test_equal_weights_are_the_majority(answers):
    assert weighted_vote(answers, torch.full((len(answers),), 0.3))[0].answer == majority(answers).answer


def test_the_right_one_must_be_strictly_first():
    one = torch.tensor([False, True, False, True, False, False])
    assert picks_the_right_one(SCORE, one, GROUP) == 0.5  # a tie with row 2 is no hit
    assert picks_the_right_one(torch.full((6,), math.nan), one, GROUP) == 0.0
    with pytest.raises(ValueError, match="group 0 must have one right"):
        picks_the_right_one(SCORE, RIGHT, GROUP)


def test_pairs_by_signed_gap():
    pairs = confidence_gap_pairs(SCORE, RIGHT, GROUP, per_question=None)
    assert [(p.chosen, p.rejected) for p in pairs] == [(2, 1), (5, 3), (0, 1)]
    assert [p.gap for p in pairs] == pytest.approx([0.0, -0.1, -0.7])
    assert len(confidence_gap_pairs(SCORE, RIGHT, GROUP)) == 2
    assert len(confidence_gap_pairs(SCORE, RIGHT, GROUP, limit=1)) == 1
    assert confidence_gap_pairs(SCORE, torch.ones(6), GROUP) == []


def test_low_confidence_correct():
    assert low_confidence_correct(SCORE, RIGHT, GROUP) == [0, 5]
    assert low_confidence_correct(SCORE, RIGHT, GROUP, k=3) == [0, 2, 5]
