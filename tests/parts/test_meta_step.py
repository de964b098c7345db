import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from guerdon.parts.meta_step import ascended, difference, meta_step


def model(value=1.0):
    made = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(made.weight, value)
    return made


def test_difference_by_hand_and_its_bounds():
    scores = torch.tensor([[0.0, 1.0, 3.0]])
    expected = 2 / 9 * sum(1 / (1 + math.exp(-d)) for d in (1, 3, 2))
    assert difference(scores).item() == pytest.approx(expected)
    for k in (2, 3, 7):
        assert difference(torch.full((4, k), 2.5)).item() == pytest.approx((k - 1) / (2 * k))
        assert difference(1e4 * torch.arange(k).repeat(2, 1)).item() == pytest.approx((k - 1) / k)
    assert difference(torch.cat([scores, torch.zeros(1, 3)])).item() == pytest.approx((expected + 1 / 3) / 2)


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=8))
def test_difference_lies_between_its_bounds(values):
    k = len(values)
    assert (k - 1) / (2 * k) - 1e-6 <= difference(torch.tensor([values])).item() <= (k - 1) / k + 1e-6


def test_equal_answers_give_no_gradient_and_one_answer_is_refused():
    scores = torch.ones(2, 3, requires_grad=True)
    difference(scores).backward()
    assert scores.grad.abs().max() == 0
    for wrong in (torch.zeros(2, 1), torch.zeros(0, 2), torch.zeros(3)):
        with pytest.raises(ValueError, match="k >= 2"):
            difference(wrong)
    with pytest.raises(ValueError, match="finite"):
        difference(torch.tensor([[0.0, math.nan]]))


@pytest.mark.parametrize(("eta", "lr", "a", "b"), [(0.3, 0.1, 0.5, 2.0), (1.0, 0.5, -1.0, 0.7), (0.0, 0.1, 3.0, 1.0)])
def test_a_quadratic_loss_and_a_linear_objective(eta, lr, a, b):
    scorer = model(1.3)
    w = scorer.weight
    optimiser = torch.optim.SGD([w], lr=lr)
    seen = meta_step(scorer, lambda: 0.5 * (w - a).square().sum(), lambda: b * w.sum(), optimiser, eta=eta)
    assert w.item() == pytest.approx(1.3 - lr * (1.3 + eta * b - a))
    assert seen == pytest.approx(0.5 * (1.3 + eta * b - a) ** 2)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def test_without_a_look_ahead_it_is_plain_sgd_to_the_bit():
    x, s = torch.randn(16, 2, 4, generator=torch.Generator().manual_seed(1)), torch.randn(5, 3, 4)
    ours, plain = net(), net()
    for scorer, meta in ((ours, True), (plain, False)):
        optimiser = torch.optim.SGD(scorer.parameters(), lr=0.3)

        def loss(scorer=scorer):
            first, second = scorer(x)[..., 0].unbind(1)
            return -nn.functional.logsigmoid(first - second).mean()

        for _ in range(5):
            if meta:
                meta_step(scorer, loss, lambda scorer=scorer: difference(scorer(s)[..., 0]), optimiser, eta=0.0)
            else:
                optimiser.zero_grad()
                loss().backward()
                optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


def test_the_joint_control_steps_on_the_sum_at_the_same_place():
    scorer = model(1.3)
    w = scorer.weight
    optimiser = torch.optim.SGD([w], lr=0.1)
    meta_step(scorer, lambda: 0.5 * (w - 1).square().sum(), lambda: 2 * w.sum(), optimiser, eta=0.3, mode="joint")
    assert w.item() == pytest.approx(1.3 - 0.1 * (0.3 - 0.3 * 2))
    with pytest.raises(ValueError, match="'meta' or 'joint'"):
        meta_step(scorer, lambda: w.sum(), lambda: w.sum(), optimiser, eta=0.1, mode="other")


def test_ascended_spreads_scores_and_gives_the_weights_back():
    scorer, s = net(), torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(2))
    before = [p.clone() for p in scorer.parameters()]

    def spread():
        return difference(scorer(s)[..., 0])

    plain = spread().item()
    with ascended(scorer, spread, 0.5):
        assert spread().item() > plain
    assert all(torch.equal(a, b) for a, b in zip(before, scorer.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="stop"), ascended(scorer, spread, 0.5):
        raise RuntimeError("stop")
    assert all(torch.equal(a, b) for a, b in zip(before, scorer.parameters(), strict=True))


def test_weights_outside_the_objective_stay_and_a_wild_loss_is_no_step():
    scorer = nn.ModuleList([model(1.0), model(2.0)])
    first, second = (m.weight for m in scorer)
    with ascended(scorer, lambda: first.sum(), 0.5):
        assert (first.item(), second.item()) == (1.5, 2.0)
    optimiser = torch.optim.SGD(scorer.parameters(), lr=1.0)
    with pytest.raises(FloatingPointError, match="lower lr"):
        meta_step(scorer, lambda: first.sum() * math.inf, lambda: first.sum(), optimiser, eta=0.5)
    assert first.item() == 1.0
