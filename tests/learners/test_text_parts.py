"""What the text learner is made of: the optimiser, the questions, deadlines, joined completions."""

from __future__ import annotations

import math
import threading

import pytest
import samples
import torch

from guerdon.learners import Descent
from guerdon.learners.deadline import within
from guerdon.learners.samplers import Questions
from guerdon.learners.text_batch import Batch, joined
from guerdon.parts.joined import join
from guerdon.types import Scored


def weight_and(**options) -> tuple[torch.nn.Parameter, Descent]:
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    descent = Descent(**options)
    descent.start([weight])
    return weight, descent


def test_schedules_in_closed_form():
    _, d = weight_and(lr=2.0, schedule="linear", warmup=4, updates=14)
    assert [d.rate(i) for i in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert [d.rate(i) for i in (9, 14, 99)] == [1.0, 0.0, 0.0]
    _, d = weight_and(lr=2.0, schedule="cosine", updates=10)
    assert [d.rate(i) for i in (0, 5, 10)] == pytest.approx([2.0, 1.0, 0.0])
    assert d.rate(2) == pytest.approx(1 + math.cos(0.2 * math.pi))
    assert Descent(lr=2.0, warmup=2).rate(1000) == 2.0
    with pytest.raises(ValueError, match="how many `updates`"):
        Descent(schedule="cosine")
    with pytest.raises(ValueError, match="not 'cosin'"):
        Descent(schedule="cosin")
    with pytest.raises(ValueError, match="nothing can be learnt"):
        Descent().start([torch.nn.Parameter(torch.zeros(2), requires_grad=False)])


def test_the_gradient_is_bounded_and_its_own_norm_reported():
    weight, d = weight_and(lr=1.0, max_grad_norm=1.0, betas=(0.0, 0.0))
    (weight**2).sum().backward()  # gradient (6, 8), of norm 10
    seen = d.step()
    assert seen == {"gradient_norm": pytest.approx(10.0), "lr": 1.0}
    assert weight.grad is None
    state = d.adam.state_dict()["state"][0]
    torch.testing.assert_close(state["exp_avg"], torch.tensor([0.6, 0.8]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_gradient_that_is_no_number_never_reaches_the_weights(bad):
    weight, d = weight_and(lr=1.0)
    weight.grad = torch.tensor([1.0, bad])
    with pytest.raises(FloatingPointError, match="Lower lr"):
        d.step()
    assert weight.tolist() == [3.0, 4.0]
    assert d.done == 0


def test_each_pass_asks_every_question_once_in_an_order_of_its_own():
    rows = [{"prompt": str(i)} for i in range(7)]
    asked = Questions(rows, seed=3)
    taken = [row["prompt"] for n in (3, 5, 6) for row in asked.take(n)]
    assert sorted(taken[:7]) == sorted(taken[7:]) == [str(i) for i in range(7)]
    assert taken[:7] != taken[7:]
    again = Questions(rows, seed=3)
    again.taken = 4
    assert [row["prompt"] for row in again.take(10)] == taken[4:]
    with pytest.raises(ValueError, match="no questions"):
        Questions([])
    with pytest.raises(ValueError, match="question 1 has"):
        Questions([{"prompt": "a", "answer": 1}, {"prompt": "b"}])
    with pytest.raises(ValueError, match="question 0"):
        Questions([{"question": "a"}])


def test_a_call_that_does_not_come_back_is_given_up():
    never = threading.Event()
    with pytest.raises(TimeoutError, match=r"Slow has not answered for 0\.05 s"):
        within(0.05, never.wait, "Slow")
    never.set()
    assert within(10.0, lambda: 3, "three") == 3
    assert within(None, lambda: 4, "four") == 4
    with pytest.raises(KeyError, match="its own"):
        within(10.0, lambda: {}["its own"], "a table")


def test_joined_completions_keep_their_rows_and_their_groups_apart():
    one, two = samples.completions(4, 3, seed=1), samples.completions(6, 5, seed=2)
    for c, width in ((one, 2), (two, 4)):
        n = len(c.text)
        c.columns = {"answer": [f"{width}.{i}" for i in range(n)]}
        c.prompt_ids, c.prompt_mask = torch.ones(n, width, dtype=torch.long), torch.ones(n, width, dtype=torch.bool)
    both = join([one, two])
    assert both.shape == (10, 5)
    assert both.group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert both.columns["answer"] == one.columns["answer"] + two.columns["answer"]
    assert torch.equal(both.ids[:4, :3], one.ids)
    assert not both.mask[:4, 3:].any()
    assert both.prompt_mask[:4].tolist() == [[False, False, True, True]] * 4
    assert torch.equal(both.log_prob[4:], two.log_prob)
    two.columns = {"other": [0] * 6}
    with pytest.raises(ValueError, match="different columns"):
        join([one, two])
    two.columns, two.log_prob = one.columns and {"answer": [0] * 6}, None
    with pytest.raises(ValueError, match="1 of 2 completions have no log_prob"):
        join([one, two])
    with pytest.raises(ValueError, match="no completions"):
        join([])


def test_joined_batches_keep_scores_with_their_rows():
    def batch(rows, length, seed):
        c = samples.completions(rows, length, seed)
        per_token = torch.rand(rows, length) * c.mask
        scored = Scored(per_token, {"a": per_token, "b": torch.arange(float(rows))}, {"a": per_token})
        return Batch(c, scored, torch.ones(rows))

    one, two = batch(4, 3, 0), batch(2, 5, 1)
    both = joined([one, two])
    assert both.groups == 3
    assert torch.equal(both.scored.value[:4, :3], one.scored.value)
    assert torch.equal(both.scored.value[4:], two.scored.value)
    assert both.scored.terms["b"].tolist() == [0, 1, 2, 3, 0, 1]
    again = both.rows(torch.tensor([5, 0]))
    assert again.scored.terms["b"].tolist() == [1, 0]
    assert again.completions.text == [two.completions.text[1], one.completions.text[0]]
