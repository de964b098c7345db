"""KL estimators against exact divergences of small distributions: their values and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.kl import AdaptiveKL, kl_estimate, kl_in_reward


def distributions(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a policy (with gradient) and log-probabilities of a reference over six tokens."""
    g = torch.Generator().manual_seed(seed)
    policy, reference = torch.randn(2, 6, generator=g, dtype=torch.float64)
    return policy.requires_grad_(), reference.log_softmax(0)


def divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    return (log_p.exp() * (log_p - log_q)).sum()


@given(st.integers(0, 10_000), st.sampled_from(["k1", "k3", "k1+", "k3+"]))
def test_expected_k1_and_k3_are_the_divergence_exactly(seed, kind):
    logits, q = distributions(seed)
    p = logits.log_softmax(0)
    expected = (p.exp() * kl_estimate(p, q, kind)).sum().item()
    assert expected == pytest.approx(divergence(p, q).item(), abs=1e-12)


@given(st.integers(0, 10_000))
def test_the_gradients_are_those_of_the_table(seed):
    logits, q = distributions(seed)

    def gradient(loss) -> torch.Tensor:
        return torch.autograd.grad(loss(logits.log_softmax(0)), logits)[0]

    reverse = gradient(lambda p: divergence(p, q))
    forward = gradient(lambda p: divergence(q, p))
    for kind, expected in {"k1": 0 * reverse, "k2": reverse, "k3": forward, "k1+": reverse, "k3+": reverse}.items():
        found = gradient(lambda p, k=kind: (p.exp().detach() * kl_estimate(p, q, k)).sum())
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)


@given(st.floats(-30, 30))
def test_k3_is_not_negative_and_close_to_k2_near_zero(d):
    one = torch.tensor([d], dtype=torch.float64)
    assert kl_estimate(one, torch.zeros_like(one), "k3").item() >= 0
    small = one / 1000
    k2, k3 = (kl_estimate(small, torch.zeros_like(one), kind).item() for kind in ("k2", "k3"))
    assert abs(k3 - k2) <= abs(small.item()) ** 3 + 1e-17


def test_k3_keeps_its_digits_in_single_precision():
    assert kl_estimate(torch.tensor([1e-4]), torch.zeros(1), "k3").item() == pytest.approx(5e-9, rel=1e-2)


def test_values_by_hand_and_clamps():
    d = torch.tensor([-100.0, -3.0, 1.0, 100.0], dtype=torch.float64)
    zero = torch.zeros_like(d)
    assert kl_estimate(d, zero, "k1").tolist() == [-100, -3, 1, 100]
    assert kl_estimate(d, zero, "k2").tolist() == [5000, 4.5, 0.5, 5000]
    expected = [math.exp(20) - 21, math.exp(3) - 4, math.exp(-1), math.exp(-20) + 19]
    assert kl_estimate(d, zero, "k3").tolist() == pytest.approx(expected)
    assert kl_estimate(d, zero, "k3", clamp=10).tolist() == pytest.approx([10, 10, math.exp(-1), 10])


def test_kl_in_reward_stands_on_tokens_and_the_outcome_on_the_last_one():
    log_prob = torch.tensor([[-1.0, -2.0, -9.0], [-3.0, -9.0, -9.0]], requires_grad=True)
    reference = torch.tensor([[-2.0, -2.5, 0.0], [-1.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = kl_in_reward(torch.tensor([1.0, 2.0]), log_prob, reference, mask, beta=0.1)
    torch.testing.assert_close(found, torch.tensor([[-0.1, 0.95, 0.0], [2.2, 0.0, 0.0]]))
    assert not found.requires_grad
    of_tokens = kl_in_reward(torch.ones(2, 3), log_prob, reference, mask, beta=0.1)
    torch.testing.assert_close(of_tokens, torch.tensor([[0.9, 0.95, 0.0], [1.2, 0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"\[N\] or \[N, L\]"):
        kl_in_reward(torch.ones(3), log_prob, reference, mask, beta=0.1)


def test_the_adaptive_coefficient_follows_its_target_and_its_state_travels():
    kl = AdaptiveKL(beta=0.2, target=6.0, horizon=1000.0)
    assert kl.update(6.6, 100) == pytest.approx(0.2 * (1 + 0.1 * 0.1))
    again = AdaptiveKL(target=6.0, horizon=1000.0)
    again.load_state_dict(kl.state_dict())
    assert again.update(60.0, 100) == pytest.approx(kl.beta * 1.02)  # an error counts as 20 % at most
    assert again.update(0.0, 100) == pytest.approx(kl.beta * 1.02 * 0.98)


def test_unknown_kinds_and_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="'k4'"):
        kl_estimate(torch.zeros(2), torch.zeros(2), "k4")
    with pytest.raises(ValueError, match=r"\[2\] and \[3\]"):
        kl_estimate(torch.zeros(2), torch.zeros(3))
