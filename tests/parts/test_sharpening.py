"""Measures of self-sharpening, and collapse steps, on numbers small enough to check by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.answers import majority
from guerdon.parts.sharpening import model_collapse_step, sharpened, sharpening_metrics


def test_two_prompts_by_hand():
    answers = ["1", "1", "2", None, "3", "4", "4", "4"]
    truth = ["1"] * 4 + ["3"] * 4
    made = sharpening_metrics(answers, truth, group=torch.tensor([0] * 4 + [1] * 4))
    assert made == {
        "label_accuracy": 0.5,  # 1 is right, 4 is wrong
        "majority_ratio": (2 / 4 + 3 / 4) / 2,
        "ground_truth_ratio": (2 / 4 + 1 / 4) / 2,
        "pass@N": 1.0,
        "reward_accuracy": (4 / 4 + 0 / 4) / 2,  # of the second, all four are paid wrongly
    }


def test_the_reward_may_be_another():
    reward = torch.tensor([1.0, 0.0, 1.0, torch.nan])
    made = sharpening_metrics(["1", "1", "2", "2"], ["1"] * 4, reward=reward)
    assert made["reward_accuracy"] == pytest.approx(1 / 3)
    nothing = sharpening_metrics(["1"], ["1"], reward=torch.tensor([torch.nan]))
    assert math.isnan(nothing["reward_accuracy"])


@given(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=7))
def test_reward_accuracy_is_one_when_the_majority_is_right_or_nobody_is_rated_wrongly(answers):
    made = sharpening_metrics(answers, ["1"] * len(answers))
    vote = majority(answers)
    right = [a == "1" for a in answers]
    assert (made["reward_accuracy"] == 1) == (vote.won == right)
    if made["label_accuracy"] == 1:
        assert made["reward_accuracy"] == 1
    assert made["majority_ratio"] == pytest.approx(sum(vote.won) / len(answers))


def test_sizes_must_agree():
    for answers, truth in ((["1"], ["1", "2"]), ([], [])):
        with pytest.raises(ValueError, match="as many"):
            sharpening_metrics(answers, truth)


@given(st.floats(0.001, 0.999), st.floats(0.05, 10))
def test_log_odds_grow_by_one_over_beta_a_round(p, beta):
    after = p * math.exp(1 / beta) / (p * math.exp(1 / beta) + 1 - p)
    assert sharpened(p, beta=beta) == pytest.approx(after, rel=1e-9)
    odds = sharpened(p, beta=beta, rounds=2) / (1 - sharpened(p, beta=beta, rounds=2) + 1e-300)
    if odds < 1e6:
        assert odds == pytest.approx(p / (1 - p) * math.exp(2 / beta), rel=1e-6)
    assert sharpened(p, beta=beta, rounds=0) == pytest.approx(p)


def test_the_rate_of_sharpening():
    ratios = [(1 - sharpened(0.6, beta=0.5, rounds=k + 1)) / (1 - sharpened(0.6, beta=0.5, rounds=k)) for k in (5, 8)]
    assert ratios == pytest.approx([math.exp(-2)] * 2, rel=1e-3)
    with pytest.raises(ValueError, match="beta > 0"):
        sharpened(0.5, beta=0.0)


RISE_AND_FALL = [0.3, 0.4, 0.5, 0.4, 0.2, 0.1, 0.1]


def test_below():
    found = model_collapse_step(range(7), RISE_AND_FALL)
    assert found == (5, 0.15, 0.3, 2, 0.5, 0.1)  # half of the start
    assert model_collapse_step(range(0, 70, 10), RISE_AND_FALL, chance=0.2).step == 40  # 0.25 lies between
    assert model_collapse_step(range(7), RISE_AND_FALL, threshold=0.01).step is None
    assert model_collapse_step(range(7), [*RISE_AND_FALL[:6], 0.0], threshold=0.01).step == 6


def test_below_for_a_while():
    values = [0.4, 0.1, 0.4, 0.1, 0.1, 0.4]
    assert model_collapse_step(range(6), values).step == 1
    assert model_collapse_step(range(6), values, hold=2).step == 3
    assert model_collapse_step(range(6), values, hold=3).step is None
    assert model_collapse_step(range(6), values, smooth=2).step == 4  # means 0.4 0.25 0.25 0.25 0.1 0.25


def test_turn():
    assert model_collapse_step(range(7), RISE_AND_FALL, mode="turn").step == 2
    assert model_collapse_step(range(3), RISE_AND_FALL[:3], mode="turn").step is None  # still rising
    assert model_collapse_step(range(4), RISE_AND_FALL[:4], mode="turn").step is None  # fallen by 0.1 of 0.5
    assert model_collapse_step(range(4), RISE_AND_FALL[:4], mode="turn", threshold=0.09).step == 2
    assert model_collapse_step(range(7), RISE_AND_FALL, mode="turn", chance=0.05).threshold == pytest.approx(0.225)
    assert model_collapse_step([0], [0.5], mode="turn").step is None


@pytest.mark.parametrize(
    ("steps", "values", "options", "message"),
    [
        ([], [], {}, "at least one"),
        ([1, 2], [0.5], {}, "as many steps"),
        ([1, 2], [0.5, math.nan], {}, "not finite at 1 steps, first at 2"),
        ([2, 1], [0.5, 0.5], {}, "must increase"),
        ([1], [0.1], {"chance": 0.2}, "give a threshold"),
        ([1], [0.1], {"mode": "turned"}, "below or turn"),
        ([1], [0.1], {"hold": 0}, "at least 1"),
    ],
)
def test_bad_curves_are_refused(steps, values, options, message):
    with pytest.raises(ValueError, match=message):
        model_collapse_step(steps, values, **options)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=30), st.floats(0.1, 10))
def test_scaling_a_curve_moves_no_step(values, factor):
    for mode in ("below", "turn"):
        plain = model_collapse_step(range(len(values)), values, mode=mode)
        scaled = model_collapse_step(range(len(values)), [factor * v for v in values], mode=mode)
        if all(abs(v - plain.threshold) > 1e-9 for v in values) and mode == "below":
            assert scaled.step == plain.step
        assert scaled.peak_step == plain.peak_step or factor * plain.peak == pytest.approx(scaled.peak)
