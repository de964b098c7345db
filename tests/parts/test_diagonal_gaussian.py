"""Gaussians with independent entries against sampling, and what an answer tells."""

import math

import pytest
import torch

from guerdon.parts.diagonal_gaussian import gaussian_entropy, gaussian_kl, information_gain, least_entropy


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_kl_is_what_sampling_says():
    mu, log_var, m, lv = (drawn(3, seed=s) for s in range(4))
    g = torch.Generator().manual_seed(9)
    x = mu + (0.5 * log_var).exp() * torch.randn(400_000, 3, dtype=torch.float64, generator=g)
    p, q = (torch.distributions.Normal(a, (0.5 * b).exp()) for a, b in ((mu, log_var), (m, lv)))
    sampled = (p.log_prob(x) - q.log_prob(x)).sum(-1).mean()
    assert float(gaussian_kl(mu, log_var, m, lv)) == pytest.approx(float(sampled), rel=0.01)
    by_hand = -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum()  # the usual form for N(0, 1): half of VPL's code
    zero = torch.zeros(3, dtype=torch.float64)
    assert float(gaussian_kl(mu, log_var, zero, zero)) == pytest.approx(float(by_hand))


def test_kl_of_equals_is_nothing_and_never_below():
    mu, log_var = drawn(50, 4), drawn(50, 4, seed=1)
    assert gaussian_kl(mu, log_var, mu, log_var).abs().max() < 1e-12
    assert (gaussian_kl(mu, log_var, mu.flip(0), log_var.flip(0)) > 0).all()


def test_entropy_is_that_of_torch():
    log_var = drawn(5, 3)
    known = torch.distributions.Normal(torch.zeros(3).double(), (0.5 * log_var).exp()).entropy().sum(-1)
    torch.testing.assert_close(gaussian_entropy(log_var), known)
    assert float(least_entropy(log_var)) == pytest.approx(float(known.min()))


def test_moments_of_a_mixture_in_one_dimension():
    mu, log_var = torch.tensor([[-1.0], [2.0]]).double(), torch.tensor([[0.0], [math.log(0.25)]]).double()
    weight = torch.tensor([0.3, 0.7]).double()
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)[:, None]
    density = (weight * torch.distributions.Normal(mu[:, 0], (0.5 * log_var[:, 0]).exp()).log_prob(x).exp()).sum(1)
    mean = torch.trapezoid(density * x[:, 0], x[:, 0])
    var = torch.trapezoid(density * (x[:, 0] - mean) ** 2, x[:, 0])
    by_hand = 0.5 * var.log() - 0.5 * (weight @ log_var[:, 0])
    assert float(information_gain(mu, log_var, weight)) == pytest.approx(float(by_hand), abs=1e-6)


def test_an_answer_never_tells_less_than_nothing():
    mu, log_var = drawn(200, 8, 4), drawn(200, 8, 4, seed=1)
    weight = drawn(200, 8, seed=2).softmax(-1)
    assert (information_gain(mu, log_var, weight) > 0).all()
    same = information_gain(mu[:, :1].expand(-1, 8, -1), log_var[:, :1].expand(-1, 8, -1), weight)
    assert same.abs().max() < 1e-9


def test_it_bounds_what_is_told_and_meets_it_where_answers_are_far_apart_or_unlikely():
    far = torch.tensor([[-50.0], [50.0]]).double()
    half = torch.tensor([0.5, 0.5]).double()
    assert float(information_gain(far, torch.zeros(2, 1).double(), half)) > math.log(2)  # one bit is all there is
    sure = torch.tensor([1.0, 0.0]).double()
    assert float(information_gain(far, torch.zeros(2, 1).double(), sure)) == pytest.approx(0.0, abs=1e-12)
