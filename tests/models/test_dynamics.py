"""Forward and inverse models, one by one and side by side."""

import pytest
import samples
import torch

from guerdon.models.dynamics import ActionFeatures, ForwardEnsemble, ForwardModel, InverseModel, StackedLinear


def test_shapes_with_any_leading_dimensions():
    features, action, noise = torch.randn(5, 2, 6), torch.randn(5, 2, 3), torch.randn(5, 2, 4)
    assert ForwardModel(6, 3)(features, action).shape == (5, 2, 6)
    assert ForwardModel(6, 7)(features, action, noise).shape == (5, 2, 6)
    assert InverseModel(6, 3)(features, features).shape == (5, 2, 3)


def test_an_ensemble_is_its_members_one_by_one():
    torch.manual_seed(0)
    ensemble = ForwardEnsemble(6, 3, members=4, hidden=8)
    features, action = torch.randn(10, 6), torch.randn(10, 3)
    together = ensemble(features, action)
    assert together.shape == (4, 10, 6)
    x = torch.cat([features, action], -1)
    for e in range(4):
        hidden = (x @ ensemble.first.weight[e] + ensemble.first.bias[e]).relu()
        torch.testing.assert_close(together[e], hidden @ ensemble.last.weight[e] + ensemble.last.bias[e])
    assert not torch.allclose(together[0], together[1]), "members begin differently"


def test_every_member_may_have_rows_of_its_own():
    ensemble = ForwardEnsemble(6, 3, members=2)
    features, action = torch.randn(2, 10, 6), torch.randn(2, 10, 3)
    own = ensemble(features, action)
    for e in range(2):
        torch.testing.assert_close(own[e], ensemble(features[e], action[e])[e])


def test_a_members_gradient_is_its_own():
    ensemble = ForwardEnsemble(6, 3, members=3)
    ensemble(torch.randn(10, 6), torch.randn(10, 3))[1].square().sum().backward()
    moved = ensemble.first.weight.grad.flatten(1).any(1)
    assert moved.tolist() == [False, True, False]


def test_layers_start_orthogonal():
    layer = StackedLinear(2, 8, 8, gain=1.0)
    for weight in layer.weight.detach():
        torch.testing.assert_close(weight @ weight.T, torch.eye(8), atol=1e-5, rtol=0)


def test_an_inverse_model_tells_the_order_of_its_inputs():
    torch.manual_seed(0)
    model, a, b = InverseModel(6, 3), torch.randn(4, 6), torch.randn(4, 6)
    assert not torch.allclose(model(a, b), model(b, a))


def test_wrong_sizes_are_refused():
    with pytest.raises(RuntimeError):
        ForwardModel(6, 3)(torch.randn(4, 6), torch.randn(4, 2))


def test_features_without_a_forward_model_say_so():
    net = ActionFeatures(samples.spec(), reader="mine")
    with pytest.raises(ValueError, match="mine"):
        net.predict(torch.zeros(8, 4, 128), samples.rollout().action)
    assert set(net.learn(samples.rollout())) == {"inverse"}


def test_an_observation_between_two_steps_is_encoded_once():
    net, seen = ActionFeatures(samples.spec(), batch_size=16), []
    net.net.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    net.learn(samples.rollout(steps=8))
    assert sum(seen) == 2 * (4 + 1) * 4, "two blocks of four steps of four environments"
    seen.clear()
    assert net.encode(samples.rollout(steps=8).obs).shape == (9, 4, 128)
    assert sum(seen) == 9 * 4
