import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.parts.canonicalisation import (
    DARD,
    EPIC,
    VAL,
    Identity,
    Minimal,
    MinimalPotential,
    Norm,
    VALPotential,
    even,
    shaped,
    standardise,
)
from guerdon.parts.tabular_mdp import (
    TabularMDP,
    action_value,
    expected_reward,
    mean_return,
    policy_value,
    uniform,
)

S, A = 6, 3
FORMS = [VAL(), VALPotential(), MinimalPotential(), MinimalPotential(weighted=True), Minimal(), EPIC(), DARD()]
SEEDS = st.integers(0, 10_000)


def world(seed, gamma=0.9):
    """A random MDP with impossible transitions, four random rewards [4, S, A, S], and a potential."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(S, A, S, generator=g, dtype=torch.float64)
    tau = torch.where(logits < 0.5, -20.0, logits).softmax(-1)
    mdp = TabularMDP(tau, gamma=gamma)
    rewards = torch.randn(4, S, A, S, generator=g, dtype=torch.float64)
    return mdp, rewards, 3 * torch.randn(S, generator=g, dtype=torch.float64), g


def full(mdp, form, reward):
    return form(mdp, reward).expand(*reward.shape[:-1], mdp.shape[0])


@pytest.mark.parametrize("form", FORMS, ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_shaping_is_removed_and_forms_are_linear(form, seed):
    mdp, rewards, potential, _ = world(seed)
    plain = full(mdp, form, rewards)
    torch.testing.assert_close(full(mdp, form, shaped(mdp, rewards, potential)), plain, rtol=0, atol=1e-11)
    assert full(mdp, form, shaped(mdp, torch.zeros(S, A, S), potential)).abs().max() < 1e-12
    torch.testing.assert_close(full(mdp, form, rewards + 7.0), plain, rtol=0, atol=1e-11)  # a constant is a potential
    together = full(mdp, form, 2 * rewards[0] - 3 * rewards[1])
    torch.testing.assert_close(together, 2 * plain[0] - 3 * plain[1], rtol=0, atol=1e-11)
    for i in range(4):  # one at a time, the same
        torch.testing.assert_close(full(mdp, form, rewards[i]), plain[i], rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_redistribution_is_removed_by_those_that_say_so(form):
    mdp, rewards, _, g = world(1)
    noise = torch.randn(S, A, S, generator=g, dtype=torch.float64)
    moved = rewards + noise - expected_reward(mdp, noise)[..., None]
    change = (full(mdp, form, moved) - full(mdp, form, rewards)).abs().max()
    assert (change < 1e-12) if form.redistribution else (change > 0.1)


@pytest.mark.parametrize(
    "form", [VAL(), VALPotential(), MinimalPotential(), MinimalPotential(weighted=True), Minimal()], ids=repr
)
def test_a_form_is_its_own_form(form):
    mdp, rewards, _, _ = world(2)
    once = full(mdp, form, rewards)
    torch.testing.assert_close(full(mdp, form, once), once, rtol=0, atol=1e-11)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.5, 0.99]))
def test_val_is_the_advantage(seed, gamma):
    mdp, rewards, _, g = world(seed, gamma)
    policy = torch.rand(S, A, generator=g, dtype=torch.float64)
    policy /= policy.sum(-1, keepdim=True)
    mean = expected_reward(mdp, rewards)
    value = policy_value(mdp, mean, policy)
    form = VAL(policy)(mdp, rewards)
    torch.testing.assert_close(form[..., 0], action_value(mdp, mean, value) - value[..., None])
    assert (form[..., 0] * policy).sum(-1).abs().max() < 1e-12 / (1 - gamma)
    torch.testing.assert_close(expected_reward(mdp, VALPotential(policy)(mdp, rewards)), form[..., 0])


def test_val_moves_all_returns_by_the_same():
    mdp, rewards, _, g = world(3)
    level = policy_value(mdp, expected_reward(mdp, rewards), uniform(mdp)) @ mdp.start
    for _ in range(5):
        policy = torch.rand(S, A, generator=g, dtype=torch.float64)
        policy /= policy.sum(-1, keepdim=True)
        levelled = mean_return(mdp, VAL()(mdp, rewards)[..., 0], policy)
        torch.testing.assert_close(levelled, mean_return(mdp, expected_reward(mdp, rewards), policy) - level)


@pytest.mark.parametrize("weighted", [False, True])
def test_minimal_potential_is_the_least_squares_solution(weighted):
    mdp, rewards, _, g = world(4)
    weight = (mdp.transition if weighted else torch.ones(S, A, S).double()).sqrt().reshape(-1, 1)
    eye = torch.eye(S, dtype=torch.float64)
    matrix = (mdp.gamma * eye[None, None] - eye[:, None, None]).expand(S, A, S, S).reshape(-1, S)
    for reward in rewards:
        best = torch.linalg.lstsq(weight * matrix, -weight * reward.reshape(-1, 1)).solution[:, 0]
        torch.testing.assert_close(MinimalPotential(weighted)(mdp, reward), shaped(mdp, reward, best))
    norm, form = Norm(2, weighted), MinimalPotential(weighted)(mdp, rewards)
    for _ in range(5):
        other = shaped(mdp, form, 0.1 * torch.randn(S, generator=g, dtype=torch.float64))
        assert (norm(mdp, other) > norm(mdp, form)).all()


def test_minimal_is_the_least_of_all_equivalent_rewards():
    mdp, rewards, _, g = world(5)
    form, norm = Minimal()(mdp, rewards), Norm(2)
    assert (norm(mdp, form) < norm(mdp, MinimalPotential()(mdp, rewards))).all()
    assert (norm(mdp, form) < norm(mdp, full(mdp, VAL(), rewards))).all()
    torch.testing.assert_close(VAL()(mdp, form), VAL()(mdp, rewards))  # equivalent, indeed
    for _ in range(10):
        potential, noise = 0.1 * torch.randn(S, generator=g).double(), 0.1 * torch.randn(S, A, S, generator=g).double()
        other = shaped(mdp, form, potential) + noise - expected_reward(mdp, noise)[..., None]
        assert (norm(mdp, other) > norm(mdp, form)).all()


def test_epic_and_dard_by_hand():
    """The expectations, written as loops."""
    mdp, rewards, _, _ = world(6)
    r, tau, gamma = rewards[0], mdp.transition, mdp.gamma
    here = torch.arange(1.0, S + 1).double() / (S * (S + 1) / 2)
    act = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    epic, dard = EPIC(here, act)(mdp, r), DARD(act)(mdp, r)

    def m(x):
        return sum(act[a] * here[t] * r[x, a, t] for a in range(A) for t in range(S))

    level = sum(here[s] * m(s) for s in range(S))
    for s, a, t in [(0, 0, 0), (1, 2, 3), (5, 1, 2)]:
        assert epic[s, a, t].item() == pytest.approx((r[s, a, t] + gamma * m(t) - m(s) - gamma * level).item())
        total = r[s, a, t].clone()
        for b in range(A):
            for near in range(S):
                total -= act[b] * tau[s, b, near] * r[s, b, near]
                total += act[b] * tau[t, b, near] * gamma * r[t, b, near]
                for far in range(S):
                    total -= act[b] * tau[s, b, near] * tau[t, b, far] * gamma * r[near, b, far]
        assert dard[s, a, t].item() == pytest.approx(total.item())


def test_norms_by_hand():
    mdp = TabularMDP(torch.tensor([[[0.25, 0.75]], [[1.0, 0.0]]]))
    table = torch.tensor([[[3.0, -4.0]], [[0.0, 12.0]]]).double()
    assert Norm(1)(mdp, table) == 19
    assert Norm(2)(mdp, table) == 13
    assert Norm(math.inf)(mdp, table) == 12
    assert Norm(1, True)(mdp, table) == 0.25 * 3 + 0.75 * 4
    assert Norm(2, True)(mdp, table) == pytest.approx(math.sqrt(0.25 * 9 + 0.75 * 16))
    assert Norm(math.inf, True)(mdp, table) == 3


@pytest.mark.parametrize("p", [1, 2, math.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_level_table_stands_for_the_whole(p, weighted):
    mdp, rewards, _, _ = world(7)
    level = rewards[..., :1]
    norm = Norm(p, weighted)
    torch.testing.assert_close(norm(mdp, level), norm(mdp, level.expand(4, S, A, S).contiguous()))
    for form in (*FORMS, Identity()):
        torch.testing.assert_close(
            full(mdp, form, level), full(mdp, form, level.expand(4, S, A, S)), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_what_orders_nothing_is_zero_and_not_noise(form):
    mdp, _, potential, g = world(8)
    noise = torch.randn(S, A, S, generator=g, dtype=torch.float64)
    nothing = [torch.zeros(S, A, S), torch.full((S, A, S), 3.0), shaped(mdp, torch.zeros(S, A, S), 1e6 * potential)]
    nothing += [noise - expected_reward(mdp, noise)[..., None]] if form.redistribution else []
    for reward in nothing:
        assert not standardise(mdp, reward, form, Norm(2)).any()
    small = standardise(mdp, 1e-30 * noise, form, Norm(2))  # small, but not nothing
    assert Norm(2)(mdp, small).item() == pytest.approx(1.0)


@pytest.mark.parametrize("form", [*FORMS, Identity()], ids=repr)
def test_bad_rewards_are_refused(form):
    mdp, rewards, _, _ = world(9)
    for bad in (math.nan, math.inf):
        broken = rewards.clone()
        broken[1, 2, 0, 3] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            form(mdp, broken)
    with pytest.raises(ValueError, match="shape"):
        form(mdp, rewards[..., :2])


def test_bad_norms_and_coverages_are_refused():
    with pytest.raises(ValueError, match="1, 2 or inf"):
        Norm(3)
    for weights in (torch.ones(2), torch.tensor([1.5, -0.5]), torch.tensor([1.0]), torch.tensor([math.nan, 1.0])):
        with pytest.raises(ValueError, match="coverage"):
            even(weights, 2)
