from __future__ import annotations

import math

import pytest
import torch

from guerdon.parts.policy_losses import clipped_policy_loss, masked_mean, normalise_advantage, value_loss


def test_at_ratio_one_the_gradient_is_that_of_the_plain_policy_gradient():
    log_prob = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantage = torch.tensor([1.0, -2.0, 3.0])
    clipped_policy_loss(log_prob - log_prob.detach(), advantage, 0.2).sum().backward()
    assert log_prob.grad is not None
    torch.testing.assert_close(log_prob.grad, -advantage)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, -1.2), (0.5, 1.0, -0.5), (1.5, -1.0, 1.5), (0.5, -1.0, 0.8), (1.1, 2.0, -2.2)],
)
def test_the_clip_takes_the_worse_of_both(ratio, advantage, expected):
    loss = clipped_policy_loss(torch.tensor([math.log(ratio)]), torch.tensor([advantage]), 0.2)
    assert loss.item() == pytest.approx(expected)


def test_a_gradient_stops_where_the_clip_holds():
    log_ratio = torch.tensor([math.log(1.5)], requires_grad=True)
    clipped_policy_loss(log_ratio, torch.tensor([1.0]), 0.2).backward()
    assert log_ratio.grad is not None
    assert log_ratio.grad.item() == 0.0


def test_value_loss_and_its_clip():
    value, target = torch.tensor([3.0]), torch.tensor([1.0])
    assert value_loss(value, target).item() == 2.0
    assert value_loss(value, target, torch.tensor([0.0]), 0.5).item() == 2.0  # the unclipped one is worse
    assert value_loss(torch.tensor([1.0]), target, torch.tensor([0.0]), 0.5).item() == 0.125
    with pytest.raises(ValueError, match="old_value"):
        value_loss(value, target, clip=0.5)


def test_masked_means_ignore_what_is_masked_and_an_empty_mask_keeps_its_graph():
    x = torch.tensor([1.0, 5.0, float(3)], requires_grad=True)
    assert masked_mean(x, torch.tensor([1.0, 1.0, 0.0])).item() == 3.0
    empty = masked_mean(x, torch.zeros(3))
    assert empty.item() == 0.0
    empty.backward()


def test_normalised_advantages_have_unit_spread_over_the_mask():
    x = torch.tensor([1.0, 3.0, 100.0])
    z = normalise_advantage(x, torch.tensor([1.0, 1.0, 0.0]))
    assert z[:2].tolist() == pytest.approx([-1.0, 1.0])
    assert normalise_advantage(torch.full((4,), 2.0), torch.ones(4)).tolist() == [0.0] * 4
