"""Bits that answers take away: closed forms, the sum over a dialogue, and answers that cannot be."""

from __future__ import annotations

import warnings

import pytest
import torch

from guerdon.rewards.feedback.nous import EntropyReduction
from guerdon.tasks.text.inquiry import Inquiry
from guerdon.types import Completions

PRIOR = {"colour": {"red": 0.5, "blue": 0.25, "green": 0.25}, "size": {"small": 0.5, "large": 0.5}}


def completions(rows) -> Completions:
    """Two tokens a turn, and a token of the user's after each."""
    turns = max(len(r or [0]) for r in rows)
    step = (torch.arange(3 * turns) // 3).expand(len(rows), -1).clone()
    mask = (torch.arange(3 * turns) % 3 != 2) & (step < torch.tensor([len(r or [0]) for r in rows])[:, None])
    return Completions(
        prompt=["draw"] * len(rows), text=["?"] * len(rows), ids=torch.zeros(mask.shape).long(), mask=mask, step=step,
        columns={"constraints": rows},
    )  # fmt: skip


def test_a_dialogue_by_hand():
    made = completions([
        [{"colour": ["red", "blue"]}, {"colour": ["red"]}, {"colour": ["red"], "size": ["large"]}],
        [{}, None],
    ])  # fmt: skip
    value = EntropyReduction(prior=PRIOR).score(made)
    two_thirds = 0.9182958340544896  # H(2/3, 1/3)
    expected = torch.zeros(2, 9)
    expected[0, [1, 4, 7]] = torch.tensor([1.5 - two_thirds, two_thirds, 1.0])
    torch.testing.assert_close(value, expected)
    assert float(value[0].sum()) == pytest.approx(2.5)


def test_cap_weights_and_soft_answers():
    both = [{"colour": {"red"}, "size": {"small"}}]
    assert float(EntropyReduction(prior=PRIOR, at_most=1).gains([both]).sum()) == pytest.approx(1.5)
    assert float(EntropyReduction(prior=PRIOR, at_most=None).gains([both]).sum()) == pytest.approx(2.5)
    assert float(EntropyReduction(prior=PRIOR, weights={"size": 3.0}).gains([both]).sum()) == pytest.approx(4.5)
    soft = EntropyReduction(prior=PRIOR).gains([[{"size": {"small": 0.9, "large": 0.1}}]])
    assert float(soft) == pytest.approx(1 - 0.4689955935892812)  # 1 - H(0.9, 0.1)


def test_contradictions_are_reported_and_repeats_pay_nothing():
    reward = EntropyReduction(prior=PRIOR)
    with pytest.warns(UserWarning, match="contradicts"):
        gains = reward.gains([[{"colour": ["red"]}, {"colour": ["blue"]}, {"colour": ["blue"]}]])[0]
    assert gains.tolist() == pytest.approx([1.5, 0.0, 0.0])
    floored = EntropyReduction(prior=PRIOR, floor=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gains = floored.gains([[{"colour": ["red"]}, {"colour": ["red"]}]])[0]
    assert 1.45 < float(gains[0]) < 1.5
    assert float(gains[1]) == pytest.approx(0.0, abs=1e-12)


def test_questions_in_the_midst_of_a_dialogue():
    made = completions([[{"colour": ["red"]}], [{"colour": ["red"]}], [{"colour": ["red"]}]])
    made.columns["heard"] = [[], [{}, {"colour": ["red", "blue"]}], [{"colour": {"red"}}]]
    value = EntropyReduction(prior=PRIOR, before="heard").score(made)
    assert value[:, 1].tolist() == pytest.approx([1.5, 0.9182958, 0.0])


def test_a_row_without_answers_is_not_scored():
    made = completions([[{"size": ["small"]}], None])
    value = EntropyReduction(prior=PRIOR).score(made)
    assert value[0].tolist() == [0, 1, 0]
    assert value[1].isnan().tolist() == [False, True, False]


def test_it_scores_the_inquiry_game():
    task = Inquiry(attributes=6, task_seed=1)
    reward, row = EntropyReduction(prior=task.prior), task.rows(1, seed=0)[0]
    replies = [task.ask(row["specification"], f"Which {name}?") for name in task.prior]
    gains = reward.gains([[reply.constraints for reply in replies]])[0]
    whole = -sum(p * torch.tensor(p).double().log2().item() for d in task.prior.values() for p in d.values())
    assert float(gains.sum()) == pytest.approx(whole, abs=1e-5)


def test_bad_input():
    for prior in ({}, {"a": {}}, {"a": {"x": 0.5, "y": 0.4}}, {"a": {"x": 1.5, "y": -0.5}}):
        with pytest.raises(ValueError, match=r"prior|attribute"):
            EntropyReduction(prior=prior).gains([[{}]])
    reward = EntropyReduction(prior=PRIOR)
    with pytest.raises(ValueError, match="EntropyReduction: there is no attribute 'shape'; there are colour, size"):
        reward.gains([[{"shape": ["round"]}]])
    with pytest.raises(ValueError, match="colour has no value 'pink'"):
        reward.gains([[{"colour": ["pink"]}]])
    made = completions([[{}, {}]])
    made.columns["constraints"] = [[{}]]
    with pytest.raises(ValueError, match="2 turns and 1 entries"):
        reward.score(made)
    with pytest.raises(ValueError, match="shape"):
        EntropyReduction(prior=PRIOR, weights={"shape": 1.0})
    with pytest.raises(ValueError, match="at_most"):
        EntropyReduction(prior=PRIOR, at_most=0)
