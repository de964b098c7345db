"""A slow copy of a network."""

import copy

import pytest
import torch
from torch import nn

from guerdon.parts.ema_target import EMATarget


def test_it_begins_equal_and_follows_by_hand():
    module = nn.Linear(3, 2)
    target = EMATarget(module, decay=0.9)
    first = copy.deepcopy(module)
    assert torch.equal(target.module.weight, module.weight)
    with torch.no_grad():
        module.weight += 1.0
    target.update(module)
    torch.testing.assert_close(target.module.weight, first.weight + 0.1)
    target.update(module)
    torch.testing.assert_close(target.module.weight, first.weight + 0.19)
    assert torch.equal(target.module.bias, first.bias)


def test_it_answers_without_gradients_and_is_not_trained():
    target = EMATarget(nn.Linear(3, 2))
    assert not target(torch.randn(4, 3)).requires_grad
    assert not any(p.requires_grad for p in target.parameters())


def test_buffers_are_copied():
    module = nn.BatchNorm1d(3)
    target = EMATarget(module)
    module(torch.randn(8, 3) + 5)
    target.update(module)
    assert torch.equal(target.module.running_mean, module.running_mean)


@pytest.mark.parametrize(("decay", "moved"), [(1.0, 0.0), (0.0, 1.0)])
def test_the_ends_of_its_range(decay, moved):
    module = nn.Linear(3, 2)
    target, first = EMATarget(module, decay=decay), module.weight.detach().clone()
    with torch.no_grad():
        module.weight += 1.0
    target.update(module)
    torch.testing.assert_close(target.module.weight, first + moved)


def test_other_decays_are_refused():
    with pytest.raises(ValueError, match="decay"):
        EMATarget(nn.Linear(3, 2), decay=1.5)
