import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.parts.tabular_mdp import (
    TabularMDP,
    action_value,
    expected_reward,
    mean_return,
    occupancy,
    optimal_value,
    policy_value,
    regret,
    successor_features,
    uniform,
)


def random_mdp(seed, states=5, actions=3, gamma=0.9):
    g = torch.Generator().manual_seed(seed)
    tau = torch.rand(states, actions, states, generator=g, dtype=torch.float64) ** 4
    start = torch.rand(states, generator=g, dtype=torch.float64)
    return TabularMDP(tau / tau.sum(-1, keepdim=True), start / start.sum(), gamma), g


def random_policy(g, *shape):
    p = torch.rand(*shape, generator=g, dtype=torch.float64)
    return p / p.sum(-1, keepdim=True)


def test_a_state_that_leads_to_itself_is_a_geometric_series():
    mdp = TabularMDP(torch.eye(2)[:, None, :], gamma=0.9)
    value = policy_value(mdp, torch.tensor([[[1.0], [2.0]], [[0.0], [-1.0]]]), uniform(mdp))
    torch.testing.assert_close(value, torch.tensor([[10.0, 20.0], [0.0, -10.0]], dtype=torch.float64))


def test_chain_by_hand():
    """0 -> 1 -> 2 -> 2; action 1 stays. Reaching 2 pays 1."""
    tau = torch.zeros(3, 2, 3)
    tau[[0, 1, 2], 0, [1, 2, 2]] = 1
    tau[[0, 1, 2], 1, [0, 1, 2]] = 1
    mdp = TabularMDP(tau, torch.tensor([1.0, 0, 0]), gamma=0.5)
    reward = torch.zeros(3, 2, 3)
    reward[1, 0, 2] = 1
    mean = expected_reward(mdp, reward)
    best = optimal_value(mdp, mean)
    assert best.value.tolist() == [0.5, 1.0, 0.0]
    assert best.q.tolist() == [[0.5, 0.25], [1.0, 0.5], [0.0, 0.0]]
    assert best.policy[:2].argmax(-1).tolist() == [0, 0]
    stay = torch.tensor([[0.0, 1.0]] * 3)
    assert regret(mdp, mean, stay).item() == 0.5
    assert regret(mdp, mean, stay, normalised=True).item() == 1.0
    assert occupancy(mdp, best.policy).sum(-1).tolist() == [1.0, 0.5, 0.5]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_policy_iteration_finds_the_best_of_all_policies(seed):
    mdp, g = random_mdp(seed, states=4, actions=2)
    reward = torch.randn(3, 4, 2, generator=g, dtype=torch.float64)
    every = torch.stack([torch.eye(2, dtype=torch.float64)[list(c)] for c in itertools.product(range(2), repeat=4)])
    values = policy_value(mdp, reward[:, None], every)  # [3, 16, S]
    best = optimal_value(mdp, reward)
    torch.testing.assert_close(best.value, values.amax(1))
    torch.testing.assert_close(best.value, best.q.amax(-1))
    torch.testing.assert_close(mean_return(mdp, reward, best.policy), (values @ mdp.start).amax(1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 0.99]))
def test_value_occupancy_and_successor_features_agree(seed, gamma):
    mdp, g = random_mdp(seed, gamma=gamma)
    features, w = torch.randn(5, 3, 4, generator=g).double(), torch.randn(4, generator=g).double()
    for policy in (random_policy(g, 5, 3), random_policy(g, 2, 5, 3)):
        reward = features @ w
        value = policy_value(mdp, reward, policy)
        torch.testing.assert_close(value, successor_features(mdp, policy, features) @ w)
        visits = occupancy(mdp, policy)
        torch.testing.assert_close((visits * reward).sum((-1, -2)), mean_return(mdp, reward, policy))
        torch.testing.assert_close(visits.sum((-1, -2)), torch.full(policy.shape[:-2], 1 / (1 - gamma)).double())
        torch.testing.assert_close(value, (policy * action_value(mdp, reward, value)).sum(-1))


def test_many_rewards_are_one_reward_each():
    mdp, g = random_mdp(3)
    rewards = torch.randn(2, 7, 5, 3, 5, generator=g).double()
    policy = random_policy(g, 5, 3)
    mean = expected_reward(mdp, rewards)
    together, best = policy_value(mdp, mean, policy), optimal_value(mdp, mean)
    for i, j in itertools.product(range(2), range(7)):
        alone = expected_reward(mdp, rewards[i, j])
        torch.testing.assert_close(together[i, j], policy_value(mdp, alone, policy))
        torch.testing.assert_close(best.value[i, j], optimal_value(mdp, alone).value)


def test_one_factorisation_serves_all_rewards(monkeypatch):
    mdp, g = random_mdp(4)
    calls, factor = [], torch.linalg.lu_factor
    monkeypatch.setattr(torch.linalg, "lu_factor", lambda a: calls.append(a) or factor(a))
    for _ in range(3):
        policy_value(mdp, torch.randn(10, 5, 3, generator=g), uniform(mdp))
    occupancy(mdp, uniform(mdp))
    assert len(calls) == 1
    policies = [random_policy(g, 5, 3) for _ in range(20)]
    for policy in policies:
        policy_value(mdp, torch.ones(5, 3), policy)
    assert len(calls) == 21
    assert len(mdp._kept) <= 8
    torch.testing.assert_close(policy_value(mdp, torch.ones(5, 3), uniform(mdp)), torch.full((5,), 10.0).double())


def test_a_reward_may_leave_out_the_next_state():
    mdp, g = random_mdp(7)
    reward = torch.randn(2, 5, 3, 1, generator=g)
    torch.testing.assert_close(expected_reward(mdp, reward), expected_reward(mdp, reward.expand(2, 5, 3, 5)))


def test_ties_end():
    mdp, _ = random_mdp(5)
    best = optimal_value(mdp, torch.ones(2, 5, 3) * torch.tensor([1.0, 0.0])[:, None, None])
    torch.testing.assert_close(best.value, torch.tensor([[10.0], [0.0]]).double().expand(2, 5))
    assert regret(mdp, torch.ones(5, 3), uniform(mdp), normalised=True).item() == 0.0


def test_regret_is_a_share_of_the_span():
    mdp, g = random_mdp(6)
    reward = torch.randn(4, 5, 3, generator=g).double()
    assert regret(mdp, reward, optimal_value(mdp, reward).policy, normalised=True).abs().max() < 1e-12
    worst = optimal_value(mdp, -reward).policy
    torch.testing.assert_close(regret(mdp, reward, worst, normalised=True), torch.ones(4).double())
    mixed = random_policy(g, 5, 3)
    torch.testing.assert_close(
        regret(mdp, reward, mixed, normalised=True), regret(mdp, 5 * reward - 3, mixed, normalised=True)
    )


GOOD = torch.full((2, 1, 2), 0.5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"transition": torch.full((2, 1, 2), 0.6)}, "sums to 1.2"),
        ({"transition": torch.tensor([[[0.5, 0.5]], [[0.5, 0.5 + 1e-6]]])}, r"row \[1, 0\]"),
        ({"transition": torch.tensor([[[1.5, -0.5]], [[0.5, 0.5]]])}, "below 0"),
        ({"transition": torch.tensor([[[float("nan"), 0.5]], [[0.5, 0.5]]])}, "nan"),
        ({"transition": torch.full((2, 2), 0.5)}, r"\[S, A, S\]"),
        ({"transition": torch.zeros(0, 1, 0)}, r"\[S, A, S\]"),
        ({"start": torch.tensor([0.5, 0.6])}, "start"),
        ({"start": torch.ones(1)}, r"shape \[2\]"),
        ({"gamma": 1.0}, "below 1"),
        ({"gamma": -0.1}, "at least 0"),
        ({"gamma": float("nan")}, "gamma"),
    ],
)
def test_a_wrong_mdp_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        TabularMDP(**({"transition": GOOD, "start": torch.tensor([0.5, 0.5]), "gamma": 0.9} | change))


def test_wrong_rewards_and_policies_are_refused():
    mdp = TabularMDP(GOOD)
    with pytest.raises(ValueError, match=r"\[\.\.\., 2, 1, 2\], got \[3, 1, 2\]"):
        expected_reward(mdp, torch.zeros(3, 1, 2))
    with pytest.raises(ValueError, match="infinite at 2 states"):
        expected_reward(mdp, torch.tensor([[[1.0, float("inf")]], [[float("nan"), 0]]]))
    with pytest.raises(ValueError, match="policy"):
        policy_value(mdp, torch.zeros(2, 1), torch.ones(2, 2) / 2)
    with pytest.raises(ValueError, match="sums to 2"):
        policy_value(mdp, torch.zeros(2, 1), 2 * torch.ones(2, 1))
