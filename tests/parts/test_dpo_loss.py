from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.dpo_loss import dpo_loss, implicit_reward

LOGPS = st.floats(-200, 0)


def loss(chosen, rejected, ref_chosen, ref_rejected, **kw) -> float:
    return dpo_loss(*(torch.tensor([float(x)]) for x in (chosen, rejected, ref_chosen, ref_rejected)), **kw).item()


@given(LOGPS, LOGPS, st.floats(0.01, 5), st.floats(0, 0.5))
def test_where_policy_and_reference_agree_it_is_log_two(chosen, rejected, beta, smoothing):
    found = loss(chosen, rejected, chosen, rejected, beta=beta, label_smoothing=smoothing)
    assert found == pytest.approx(math.log(2), abs=1e-5)


def test_values_by_hand():
    assert loss(-10, -20, -12, -17) == pytest.approx(-math.log(1 / (1 + math.exp(-0.5))), abs=1e-6)
    assert loss(-10, -20, -12, -17, beta=1.0) == pytest.approx(math.log1p(math.exp(-5)), abs=1e-6)
    smoothed = 0.9 * math.log1p(math.exp(-0.5)) + 0.1 * math.log1p(math.exp(0.5))
    assert loss(-10, -20, -12, -17, label_smoothing=0.1) == pytest.approx(smoothed, abs=1e-6)
    assert loss(-1000, 0, 0, -1000, beta=1.0) == pytest.approx(2000)  # finite, however wrong


@given(st.floats(-100, 100), st.floats(0.01, 2))
def test_the_gradient_s_weight_is_beta_times_the_chance_of_the_wrong_order(margin, beta):
    chosen = torch.tensor([margin], dtype=torch.float64, requires_grad=True)
    rejected = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    dpo_loss(chosen, rejected, zero, zero, beta=beta).sum().backward()
    expected = -beta * torch.sigmoid(torch.tensor(-beta * margin, dtype=torch.float64)).item()
    assert chosen.grad.item() == pytest.approx(expected, abs=1e-8)
    assert rejected.grad.item() == pytest.approx(-expected, abs=1e-8)
    assert abs(expected) <= beta


def test_the_margin_is_the_difference_of_implicit_rewards():
    g = torch.Generator().manual_seed(0)
    policy, reference = -torch.rand(2, 4, 6, generator=g, dtype=torch.float64)
    mask = torch.arange(6) <= torch.tensor([[2], [5], [0], [3]])
    reward = implicit_reward(policy, reference + torch.where(mask, 0.0, torch.nan), mask, beta=0.3)
    sums, refs = ((x * mask).sum(1) for x in (policy, reference))
    found = dpo_loss(sums[:2], sums[2:], refs[:2], refs[2:], beta=0.3)
    torch.testing.assert_close(found, -torch.nn.functional.logsigmoid(reward[:2] - reward[2:]))


def test_bad_input_is_named():
    ones = torch.ones(2)
    with pytest.raises(ValueError, match="rejected must have shape"):
        dpo_loss(ones, torch.ones(3), ones, ones)
    with pytest.raises(ValueError, match="sum over tokens first"):
        dpo_loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="ref_chosen has a log-probability that is NaN"):
        dpo_loss(ones, ones, torch.tensor([0.0, math.nan]), ones)
    with pytest.raises(ValueError, match="beta must be positive"):
        dpo_loss(ones, ones, ones, ones, beta=0.0)
    with pytest.raises(ValueError, match=r"label_smoothing in 0\.\.0\.5"):
        dpo_loss(ones, ones, ones, ones, label_smoothing=0.6)
    with pytest.raises(ValueError, match="one shape"):
        implicit_reward(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2))
    with pytest.raises(ValueError, match="NaN or infinite on a token"):
        implicit_reward(torch.full((1, 2), -math.inf), torch.ones(1, 2), torch.ones(1, 2))
