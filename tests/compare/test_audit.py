"""Audits: scores and intervals, biases, findings, worst cases, what is unscored."""

import json
import math

import numpy as np
import pytest

from guerdon.compare.audit import audit
from guerdon.compare.bias import bias, estimate
from guerdon.compare.suites import Suite
from guerdon.parts.one_to_many import Scores
from guerdon.parts.questions import Question

RNG = np.random.default_rng(0)


def pairs(n, right=lambda i: "right", wrong=lambda i: "wrong", subset=lambda i: "s"):
    return [Question(f"q{i}", f"prompt {i}", (right(i),), (wrong(i),), subset(i)) for i in range(n)]


def test_scores_and_intervals_of_pairs():
    suite = Suite("pairs", pairs(400, subset=lambda i: "ab"[i % 2]))
    values = [[1.0, 0.0] if i % 2 or i % 4 else [0.0, 1.0] for i in range(400)]  # b: all right; a: half
    found = audit(suite, values)
    a, b = found.subsets
    assert (a.name, a.questions, a.score.value, b.score.value) == ("a", 200, 0.5, 1)
    assert a.score.low == pytest.approx(0.5 - 1.96 * 0.5 / 200**0.5, abs=0.015)
    assert (b.score.low, b.score.high) == (1, 1)
    assert found.score.value == 0.75
    assert a.chance == 0.5
    assert found.findings() == ["Not distinguishable from chance: a."]


def test_a_tie_counts_a_half_and_is_said():
    found = audit(Suite("pairs", pairs(10)), [[0.0, 0.0]] * 10)
    assert (found.score.value, found.subsets[0].tied, found.distinct) == (0.5, 10, 1)
    assert found.subsets[0].metrics == {"accuracy": 0, "accuracy with ties": 1}
    assert "10 of 10 questions the best right and the best wrong" in found.findings()[-1]


def test_the_score_of_rewardbench_2_is_the_mean_of_subsets():
    questions = [Question(str(i), "?", ("a",), ("b", "c", "d"), "Math") for i in range(30)]
    questions += [Question(str(i), "?", ("a",), ("b", "c", "d"), "Focus") for i in range(10)]
    questions += [Question(f"{kind}:{i}", "?", ("a", "b")[: 1 + (kind == "tied")], ("c",), "Ties")
                  for i in range(8) for kind in ("ref", "tied")]  # fmt: skip
    values = [[1.0, 1, 1, 1]] * 30 + [[1.0, 0, 0, 0]] * 10 + [[2.0, 0], [2.0, 1.5, 0]] * 8
    found = audit(Suite("RewardBench 2", questions), values)
    ties = 1 + 0.01 * math.tanh(2)  # leads 2 and 1.5, spread 0.5
    assert [s.score.value for s in found.subsets] == pytest.approx([0.25, 1, ties])
    assert found.score.value == pytest.approx((0.25 + 1 + ties) / 3)
    assert found.subsets[2].score.low == pytest.approx(ties)


def test_rewardmath_counts_problems_won_against_all():
    questions = [Question(str(i), "?", ("a",), ("b", "c"), "RewardMATH") for i in range(4)]
    found = audit(Suite("RewardMATH", questions), [[2, 1, 1], [2, 2, 1], [2, 3, 1], [2, 3, 3]])
    metrics = found.subsets[0].metrics
    assert found.score.value == 0.25
    assert metrics == pytest.approx({"accuracy": 0.25, "accuracy with ties": 0.5, "MRR": (1 + 0.5 + 0.5 + 1 / 3) / 4,
                                     "pairs won": (1 + 0.5 + 0.5 + 0) / 4})  # fmt: skip


def test_contrasts_have_both_consistencies():
    questions = [Question(f"f, item {i}{m}", "?", ("R",), ("S",), "f") for i in range(5) for m in ("", " mirrored")]
    found = audit(Suite("contrast instructions", questions), [[3.0, 1.0], [2.0, 4.0]] * 5)  # as in the closed form
    assert (found.more["C_res"].value, found.more["C_ins"].value, found.score.value) == (0.5, 0.5, 0.5)


def test_unscored_questions_are_left_out_and_counted():
    found = audit(Suite("pairs", pairs(4)), [[1, 0], [math.nan, 0], [0, 1], [1, math.nan]])
    assert (found.score.value, found.unscored, found.subsets[0].scored) == (0.5, 2, 2)
    assert "2 of 8 answers have no score; 2 questions are left out" in found.findings()[-1]
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["subsets"][0]["questions"] == 4


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1, 0]] * 3, "4 questions, and scores of 3"),
        ([[1, 0, 2]] * 4, "q0 has 2 answers, and 3 scores"),
        ([[math.nan, 0]] * 4, "no question has all"),
        ([[math.inf, 0]] * 4, "4 scores are infinite"),
    ],
)
def test_scores_that_fit_nothing_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        audit(Suite("pairs", pairs(4)), values)


def test_worst_cases_are_those_whose_wrong_answer_leads_by_most():
    questions = [Question(str(i), "?", ("a", "b"), ("c", "d")) for i in range(3)]
    found = audit(Suite("pairs", questions), [[5, 1, 3, 0], [5, 4, 3, 0], [5, 1, 9, 0]], worst=5)
    assert [(c.question.key, c.right, c.wrong, c.right_score, c.wrong_score) for c in found.worst] == [
        ("2", "b", "c", 1, 9), ("0", "b", "c", 1, 3),
    ]  # fmt: skip


def texts(n=200):
    """Right and wrong answers whose length says nothing."""
    lengths = RNG.integers(5, 100, (n, 2))
    return pairs(n, lambda i: "x" * lengths[i, 0], lambda i: "x" * lengths[i, 1])


def test_a_reward_that_counts_letters_is_found_out():
    questions = texts()
    scores = [Scores([len(q.right[0])], [len(q.wrong[0])]) for q in questions]
    found = bias(questions, scores)
    assert found.longer.liked.value == 1
    assert found.longer.right.value == pytest.approx(0.5, abs=0.1)
    assert found.longer.excess.low > 0.35
    assert found.correlation.value > 0.9
    assert (found.right_longer.value, found.right_shorter.value) == (1, 0)
    said = audit(Suite("pairs", questions), [[*s.right, *s.wrong] for s in scores]).findings()
    assert any("likes length" in text for text in said)
    assert any("100% of pairs where it is the longer, 0%" in text for text in said)


def test_a_reward_that_is_right_has_no_bias_even_where_right_answers_are_long():
    questions = pairs(200, lambda i: "x" * 90, lambda i: "x" * 10)
    found = bias(questions, [Scores([1.0], [0.0])] * 200)
    assert (found.longer.liked.value, found.longer.excess.value) == (1, 0)
    assert found.right_shorter is None
    fair = texts()
    interval = bias(fair, [Scores([float(i % 2)], [0.5]) for i in range(200)]).longer.excess
    assert interval.low < 0 < interval.high


@pytest.mark.parametrize(
    ("style", "plain", "styled"),
    [
        ("list items", "a b", "- a\n- b"),
        ("list items", "a", "1. a"),
        ("headings", "a", "## a"),
        ("bold", "*a*", "**a**"),
        ("code", "a", "`a`"),
        ("digits", "one", "1"),
        ("exclamation marks", "a", "a!"),
        ("apologies and refusals", "No.", "I'm sorry, I cannot help."),
        ("apologies and refusals", "It is.", "I can\u2019t."),
    ],
)
def test_styles_are_counted(style, plain, styled):
    questions = pairs(40, lambda i: (plain, styled)[i % 2], lambda i: (styled, plain)[i % 2])
    scores = [Scores([float(i % 2)], [1.0 - i % 2]) for i in range(40)]  # the styled one is always scored higher
    found = {p.of: p for p in bias(questions, scores).styles}[style]
    assert (found.questions, found.liked.value, found.right.value, found.excess.value) == (40, 1, 0.5, 0.5)


def test_few_questions_say_nothing_of_style_and_equal_ones_nothing_of_length():
    found = bias(pairs(9, lambda i: "a!", lambda i: "ab"), [Scores([1], [0])] * 9)
    assert found.styles == []
    assert found.longer is None
    assert found.correlation is None


def test_an_interval_covers_as_often_as_it_says():
    hits = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        score = estimate((rng.random(150) < 0.7).astype(float), rng, 300)
        hits += score.low <= 0.7 <= score.high
    assert hits / 120 > 0.87


def test_ties_have_no_level_of_chance():
    questions = [Question(f"{kind}:{i}", "?", ("a",), ("b",), "Ties") for i in range(4) for kind in ("ref", "tied")]
    found = audit(Suite("RewardBench 2", questions), [[0.0, 1.0]] * 8)
    assert found.subsets[0].chance is None
    assert found.subsets[0].score.value == pytest.approx(-0.01)
    assert not any("chance" in text for text in found.findings())
