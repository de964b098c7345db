"""Noise inferred in hindsight, and the critic that keeps it free of what was known."""

import math

import pytest
import torch

from guerdon.models.hindsight import Hindsight, HindsightGenerator, InvarianceCritic


def made(**options):
    return Hindsight(
        3, 2, generator=torch.Generator().manual_seed(0), **{"size": 4, "hidden": 32, "lr": 3e-3, **options}
    )


def test_noise_depends_on_all_it_is_given():
    torch.manual_seed(0)
    generator = HindsightGenerator(3, 2, size=4)
    context, target, eps = torch.randn(5, 6, 3), torch.randn(5, 6, 2), torch.randn(4)
    z = generator(context, target, eps)
    assert z.shape == (5, 6, 4)
    for other in ((context + 1, target, eps), (context, target + 1, eps), (context, target, eps + 1)):
        assert not torch.allclose(generator(*other), z)


def test_one_draw_of_eps_is_shared_and_none_is_drawn_for_each():
    hindsight, context, target = made(), torch.zeros(6, 3), torch.zeros(6, 2)
    assert hindsight.infer(context, target, torch.ones(4)).std(0).max() < 1e-6
    assert hindsight.infer(context, target).std(0).min() > 1e-3


def test_every_pair_is_scored_within_bounds():
    critic = InvarianceCritic(3, 4)
    context, noise = torch.randn(5, 3), torch.randn(7, 4)
    scores = critic(context, noise)
    torch.testing.assert_close(scores[2:3, 4:5], critic(context[2:3], noise[4:5]))
    assert critic(1e4 * context, 1e4 * noise).abs().max() <= 20


def test_the_critic_finds_what_is_there_and_nothing_where_nothing_is():
    hindsight, torch_g = made(negatives=64), torch.Generator().manual_seed(1)
    for _ in range(300):
        context = torch.randn(64, 3, generator=torch_g)
        hindsight.learn(context, torch.randn(64, 4, generator=torch_g))
    context, noise = torch.randn(4096, 3, generator=torch_g), torch.randn(4096, 4, generator=torch_g)
    independent = [float(hindsight.dependence(context, noise).detach()) for _ in range(50)]
    assert abs(sum(independent) / 50) < 0.05
    for _ in range(300):
        context = torch.randn(64, 3, generator=torch_g)
        hindsight.learn(context, torch.nn.functional.pad(context, (0, 1)))
    copied = hindsight.dependence(context, torch.nn.functional.pad(context, (0, 1)))
    assert 2 < float(copied.detach()) <= math.log(64)


def test_learning_is_the_critics_alone_and_dependence_reaches_the_rest():
    hindsight, context = made(), torch.randn(32, 3, requires_grad=True)
    noise = hindsight.infer(context, torch.randn(32, 2))
    before = [p.clone() for p in hindsight.generator.parameters()]
    critic = [p.clone() for p in hindsight.critic.parameters()]
    hindsight.learn(context, noise)
    assert all(torch.equal(a, b) for a, b in zip(before, hindsight.generator.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(critic, hindsight.critic.parameters(), strict=True))
    grads = torch.autograd.grad(hindsight.dependence(context, noise), [context, *hindsight.generator.parameters()])
    assert all(g.any() for g in grads)


def test_targets_get_no_gradient():
    hindsight, target = made(), torch.randn(8, 2, requires_grad=True)
    assert hindsight.infer(torch.randn(8, 3), target).requires_grad
    (grad,) = torch.autograd.grad(hindsight.infer(torch.randn(8, 3), target).sum(), target, allow_unused=True)
    assert grad is None


def test_a_single_row_says_nothing():
    hindsight = made()
    before = [p.clone() for p in hindsight.critic.parameters()]
    hindsight.learn(torch.randn(1, 3), torch.randn(1, 4))
    assert all(torch.equal(a, b) for a, b in zip(before, hindsight.critic.parameters(), strict=True))
    assert hindsight.dependence(torch.randn(1, 3), torch.randn(1, 4)) == 0
    with pytest.raises(ValueError, match="negatives"):
        made(negatives=1)
