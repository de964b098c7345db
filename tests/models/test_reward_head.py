"""The head of a reward model: layouts by hand, monotony, and what is refused."""

import math

import pytest
import torch
import torch.nn.functional as F

from guerdon.models.reward_head import ACTIVATIONS, RewardHead
from guerdon.parts.pair_loss import pair_loss


def test_silu_is_silu():
    silu = ACTIVATIONS["silu"]()
    z = torch.tensor([0.0, -1.2785], requires_grad=True)
    y = silu(z)
    slope = torch.autograd.grad(y.sum(), z)[0]
    assert y[0].item() == 0.0
    assert float(slope[0]) == pytest.approx(0.5)
    assert y[1].item() == pytest.approx(-0.2785, abs=1e-4)
    assert abs(float(slope[1])) < 1e-4, "its minimum"


def test_base_rewards_head_by_hand():
    head = RewardHead(3, hidden=(2,))
    h = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    with torch.no_grad():
        w1, b1 = head.layers[0].weight, head.layers[0].bias
        z = torch.stack([(w1[i] * h).sum(-1) + b1[i] for i in range(2)], -1)
        expected = (z * z.sigmoid()) @ head.last.weight[0] + head.last.bias
        torch.testing.assert_close(head(h), expected)
        assert head(h).shape == (2,)
        assert head(h.view(1, 2, 3)).shape == (1, 2)


def test_domain_rms_layout_has_an_activation_first_and_last_and_none_between():
    head = RewardHead(7, hidden=(6, 4, 2), activation="tanh", output_activation="tanh", inner=False)
    u = torch.rand(5, 7)
    with torch.no_grad():
        x = head.layers[0](u).tanh()
        x = head.last(head.layers[2](head.layers[1](x))).tanh()[:, 0]
        torch.testing.assert_close(head(u), x)


@pytest.mark.parametrize(("out", "low", "high"), [("relu", 0.5, 1.0), ("sigmoid", 0.5, math.e / (1 + math.e))])
def test_the_codes_layout_bounds_the_reward_of_reinforcement_learning(out, low, high):
    head = RewardHead(4, output_activation=out)
    r = head(10 * torch.randn(500, 4)).sigmoid()
    assert low <= float(r.min()) < low + 0.05
    assert high - 0.05 < float(r.max()) <= high + 1e-6


def test_zero_weights_know_nothing():
    head = RewardHead(4, hidden=(3,))
    torch.nn.init.zeros_(head.last.weight)
    first, second = head(torch.randn(6, 4)), head(torch.randn(6, 4))
    loss = pair_loss(first, second, torch.zeros(6, dtype=torch.long))
    torch.testing.assert_close(loss, torch.full((6,), math.log(2)))


def test_gradient_of_a_linear_head():
    head = RewardHead(3)
    better, worse = torch.rand(3), torch.rand(3)
    loss = pair_loss(head(better)[None], head(worse)[None], torch.tensor([0])).sum()
    (gradient,) = torch.autograd.grad(loss, head.last.weight)
    p = (head(better) - head(worse)).sigmoid()
    torch.testing.assert_close(gradient[0], (-(1 - p) * (better - worse)).detach())


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "none"])
def test_a_monotone_head_never_falls(activation):
    torch.manual_seed(0)
    head = RewardHead(5, hidden=(8, 4), activation=activation, monotone=True)
    low = torch.randn(200, 5)
    high = low + torch.rand(200, 5)
    assert bool((head(high) >= head(low) - 1e-6).all())
    free = RewardHead(5, hidden=(8, 4), activation=activation)
    assert bool((free(high) < free(low) - 1e-6).any()), "and without the option it does"


def test_only_a_plain_matrix_product_is_linear():
    assert RewardHead(3).linear
    for options in ({"hidden": (2,)}, {"output_activation": "relu"}, {"monotone": True}):
        assert not RewardHead(3, **options).linear


def test_low_precision_features_are_read_in_float32():
    assert RewardHead(3)(torch.randn(2, 3).bfloat16()).dtype == torch.float32


def test_without_activation_depth_adds_nothing():
    head = RewardHead(3, hidden=(8,), activation="none")
    x, y = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(head(x) + head(y), head(x + y) + head(torch.zeros(4, 3)))
    assert not torch.allclose(F.silu(x) + F.silu(y), F.silu(x + y))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"activation": "swish"}, "no activation is called 'swish'; there are silu"),
        ({"hidden": (4, 0)}, "at least 1"),
        ({"hidden": (4,), "monotone": True}, "never fall"),
        ({"output_activation": "silu", "monotone": True}, "never fall"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        RewardHead(3, **options)
