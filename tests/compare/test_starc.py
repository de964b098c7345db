import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.compare.dard import dard, sampled_dard
from guerdon.compare.distance import Simulator
from guerdon.compare.epic import epic, sampled_epic
from guerdon.compare.starc import Cosines, fit_value, sampled_starc, starc
from guerdon.parts.canonicalisation import (
    DARD,
    EPIC,
    VAL,
    Identity,
    Minimal,
    MinimalPotential,
    Norm,
    VALPotential,
    shaped,
)  # fmt: skip
from guerdon.parts.tabular_mdp import TabularMDP, expected_reward, policy_value, uniform

S, A, GAMMA = 16, 4, 0.95
INVARIANT = [VAL(), VALPotential(), MinimalPotential(), Minimal(), EPIC(), DARD()]


def world(seed, states=S, actions=A, gamma=GAMMA):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(states, actions, states, generator=g, dtype=torch.float64)
    tau = torch.where(logits < 1.0, -20.0, logits).softmax(-1)
    rewards = torch.randn(3, states, actions, states, generator=g, dtype=torch.float64)
    return TabularMDP(tau, gamma=gamma), rewards, 5 * torch.randn(states, generator=g, dtype=torch.float64), g


def d(mdp, a, b, form):
    return starc(mdp, a, b, canonicalise=form).raw


@pytest.mark.parametrize("form", INVARIANT, ids=lambda f: type(f).__name__)
def test_shaping_and_scale_are_no_distance(form):
    mdp, rewards, potential, _ = world(0)
    assert d(mdp, rewards, shaped(mdp, 2.5 * rewards, potential), form).max() < 1e-12
    assert d(mdp, rewards, rewards + 3, form).max() < 1e-12
    torch.testing.assert_close(d(mdp, rewards, -rewards, form), torch.full((3,), 2.0).double())


@pytest.mark.parametrize("form", INVARIANT, ids=lambda f: type(f).__name__)
def test_redistribution(form):
    """The figures of the card: about 0.13 to 0.16 for those that do not forget it."""
    mdp, rewards, _, g = world(1)
    noise = torch.randn(S, A, S, generator=g, dtype=torch.float64)
    moved = rewards + 0.2 * (noise - expected_reward(mdp, noise)[..., None])
    found = d(mdp, rewards, moved, form)
    assert (found.max() < 1e-12) if form.redistribution else (found.min() > 0.01)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 2, float("inf")]), st.booleans())
def test_it_is_a_metric(seed, p, weighted):
    mdp, rewards, _, _ = world(seed, 5, 2)
    norm = Norm(p, weighted)
    for form in (*INVARIANT, Identity()):
        raw = starc(mdp, rewards, canonicalise=form, norm=norm, metric=norm).raw
        assert raw.diagonal().tolist() == [0, 0, 0]
        torch.testing.assert_close(raw, raw.T)
        assert raw.max() <= 2 + 1e-12
        assert raw[0, 2] <= raw[0, 1] + raw[1, 2] + 1e-12
        for i, j in ((0, 1), (1, 2)):
            pair = starc(mdp, rewards[i], rewards[j], canonicalise=form, norm=norm, metric=norm).raw
            torch.testing.assert_close(raw[i, j], pair)


def test_trivial_rewards():
    mdp, rewards, potential, _ = world(2)
    nothing = shaped(mdp, torch.zeros(S, A, S), potential)
    for distance in (starc, epic, dard):
        raw = distance(mdp, torch.stack([nothing, torch.zeros(S, A, S).double(), rewards[0]])).raw
        assert raw[0, 1] == 0
        torch.testing.assert_close(raw[:2, 2], torch.ones(2).double())


def test_without_norm_it_is_no_ratio():
    mdp, rewards, _, _ = world(3)
    plain = starc(mdp, rewards[0], rewards[1], norm=None).raw
    torch.testing.assert_close(starc(mdp, 3 * rewards[0], 3 * rewards[1], norm=None).raw, 3 * plain)


def test_the_result_tells_what_it_depends_on():
    mdp, rewards, _, _ = world(4)
    found = starc(mdp, rewards, canonicalise=Minimal(), norm=Norm(1), metric=Norm(2, True))
    assert found.metric == "STARC: c=Minimal, n=L1, m=tau-weighted L2"
    assert found.coverage == "tau"
    assert (found.gamma, found.seeds, found.low) == (GAMMA, (), None)
    torch.testing.assert_close(found.half * 2, found.raw)


def test_epic_is_pearsons_distance_and_half_of_the_l2_form():
    mdp, rewards, _, _ = world(5)
    found = epic(mdp, rewards[0], rewards[1]).half
    forms = EPIC()(mdp, rewards[:2]).flatten(1)
    rho = torch.corrcoef(forms)[0, 1]
    torch.testing.assert_close(found, ((1 - rho) / 2).sqrt())
    torch.testing.assert_close(found, starc(mdp, rewards[0], rewards[1], canonicalise=EPIC()).half)


def test_coverages_count():
    mdp, rewards, potential, g = world(6)
    states = torch.rand(S, generator=g).double()
    actions = torch.rand(A, generator=g).double()
    cover = {"states": states / states.sum(), "actions": actions / actions.sum()}
    assert epic(mdp, rewards, shaped(mdp, rewards, potential), **cover).raw.max() < 1e-7
    assert (epic(mdp, rewards[:1], rewards[1:2], **cover).raw - epic(mdp, rewards[:1], rewards[1:2]).raw).abs() > 1e-3
    w = mdp.transition / mdp.transition.sum()
    assert torch.equal(dard(mdp, rewards[0], rewards[1]).raw, dard(mdp, rewards[0], rewards[1], coverage=w).raw)
    with pytest.raises(ValueError, match="coverage"):
        epic(mdp, rewards[0], rewards[1], coverage=torch.ones(S, A, S))
    with pytest.raises(ValueError, match="coverage"):
        dard(mdp, rewards[0], rewards[1], actions=torch.ones(A))


def test_bad_input():
    mdp, rewards, _, _ = world(7)
    with pytest.raises(ValueError, match="equal shapes"):
        starc(mdp, rewards, rewards[0])
    with pytest.raises(ValueError, match=r"\[N, S, A, S\]"):
        starc(mdp, rewards[0])
    with pytest.raises(ValueError, match="shape"):
        starc(mdp, rewards[:, :-1], rewards[:, :-1])
    with pytest.raises(ValueError, match="NaN"):
        starc(mdp, rewards / 0 * 0, rewards)
    with pytest.raises(ValueError, match="below 1"):
        TabularMDP(mdp.transition, gamma=1.0)


def tabular_simulator(mdp):
    tau = mdp.transition

    def step(here, action, g):
        return torch.multinomial(tau[here, action], 1, generator=g)[:, 0]

    return Simulator(
        lambda n, g: torch.randint(mdp.shape[0], (n,), generator=g),
        lambda n, g: torch.randint(mdp.shape[1], (n,), generator=g), step, mdp.gamma,
    )  # fmt: skip


def tables(rewards):
    return [lambda s, a, t, r=r: r[s, a, t] for r in rewards]


def one_hot(states):
    return torch.nn.functional.one_hot(states, 6).double()


@pytest.mark.parametrize(
    ("sampled", "form", "options"),
    [
        (sampled_starc, lambda mdp, r: starc(mdp, r), {"features": one_hot}),
        (sampled_epic, lambda mdp, r: epic(mdp, r), {}),
        (sampled_dard, lambda mdp, r: dard(mdp, r), {}),
    ],
    ids=["starc", "epic", "dard"],
)
def test_samples_converge_to_the_exact_distance(sampled, form, options):
    """The error falls as 1 / sqrt(N): 16 times the samples and draws, a quarter of it (at least a third less)."""
    mdp, rewards, _, _ = world(8, 6, 3, 0.8)
    exact = form(mdp, rewards).raw
    error = []
    for samples, draws in ((128, 8), (2048, 128)):
        found = sampled(
            tables(rewards), tabular_simulator(mdp), seeds=range(6), samples=samples, draws=draws, **options
        )
        assert found.raw.diagonal().tolist() == [0, 0, 0]
        assert (found.low <= found.raw).all()
        assert (found.high >= found.raw).all()
        error.append((found.raw - exact).abs().max().item())
    assert error[1] < 0.02
    assert error[1] < error[0] * 2 / 3


def test_given_values_replace_the_fit():
    mdp, rewards, _, _ = world(9, 6, 3, 0.8)
    value = policy_value(mdp, expected_reward(mdp, rewards), uniform(mdp))
    found = sampled_starc(
        tables(rewards), tabular_simulator(mdp), values=[lambda s, v=v: v[s] for v in value], samples=4096, draws=64
    )
    torch.testing.assert_close(found.raw, starc(mdp, rewards).raw, rtol=0, atol=0.03)


def test_sampled_shaping_is_removed_exactly_within_the_features():
    mdp, rewards, potential, _ = world(10, 6, 3, 0.8)
    same = [*tables(torch.stack([rewards[0], shaped(mdp, 2 * rewards[0], potential)]))]
    nothing = tables([shaped(mdp, torch.zeros(6, 3, 6), potential)])
    found = sampled_starc(same + nothing, tabular_simulator(mdp), features=one_hot, samples=256, draws=2)
    assert found.raw[0, 1] < 1e-6
    torch.testing.assert_close(found.raw[:2, 2], torch.ones(2).double())


def test_continuous_states():
    """A point on a line that moves by its action; a potential that the cosines can tell is removed."""

    def step(here, action, g):
        return (0.9 * here + 0.3 * action).clamp(-1, 1)

    simulator = Simulator(
        lambda n, g: 2 * torch.rand(n, 1, generator=g) - 1, lambda n, g: 2 * torch.rand(n, 1, generator=g) - 1,
        step, 0.9,
    )  # fmt: skip

    def close(s, a, t):
        return -(t[:, 0] ** 2)

    def shaping(s, a, t):
        return 3 * close(s, a, t) + 0.9 * torch.sin(2 * t[:, 0]) - torch.sin(2 * s[:, 0])

    def cheap(s, a, t):
        return -(a[:, 0] ** 2)

    found = sampled_starc([close, shaping, cheap], simulator, samples=1024, draws=1)
    assert found.raw[0, 1] < 0.05
    assert found.raw[0, 2] > 0.5


def test_terminal_states_have_no_value():
    """Everything ends at once: V is the mean reward, and nothing is added for what would come after."""
    simulator = Simulator(
        lambda n, g: torch.zeros(n, dtype=torch.long), lambda n, g: torch.randint(2, (n,), generator=g),
        lambda s, a, g: torch.ones_like(s), 0.9, ended=lambda s: s == 1,
    )  # fmt: skip
    found = sampled_starc(
        [lambda s, a, t: a.double(), lambda s, a, t: a + 5.0, lambda s, a, t: 1.0 - a], simulator,
        features=lambda s: torch.nn.functional.one_hot(s, 2).double(), samples=512, draws=1,
    )  # fmt: skip
    assert found.raw[0, 1] < 1e-6
    assert found.raw[0, 2].item() == pytest.approx(2.0)


def test_fit_value_is_exact_where_every_transition_is_seen_once():
    here = torch.eye(2)
    there = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    weights = fit_value(torch.tensor([[1.0, 2.0]]), here, there, 0.5)
    torch.testing.assert_close(weights, torch.tensor([[3.0, 4.0]]).double(), rtol=0, atol=1e-6)


def test_bad_sampled_input():
    mdp, rewards, _, _ = world(11, 6, 3)
    simulator = tabular_simulator(mdp)
    two = tables(rewards[:2])
    with pytest.raises(ValueError, match="two rewards"):
        sampled_starc(two[:1], simulator, features=one_hot)
    with pytest.raises(ValueError, match="a seed"):
        sampled_epic(two, simulator, seeds=())
    with pytest.raises(ValueError, match="at least 1"):
        sampled_starc(two, simulator, draws=0)
    with pytest.raises(ValueError, match="1, 2 or inf"):
        sampled_starc(two, simulator, p=3)
    with pytest.raises(ValueError, match="as many values"):
        sampled_starc(two, simulator, values=[lambda s: s])
    with pytest.raises(ValueError, match="reward 1 is NaN"):
        sampled_dard([two[0], lambda s, a, t: torch.full((len(s),), float("nan"))], simulator)
    with pytest.raises(ValueError, match=r"reward 1 must return \[8\]"):
        sampled_starc([two[0], lambda s, a, t: torch.zeros(1)], simulator, samples=2, features=one_hot)
    with pytest.raises(ValueError, match="below 1"):
        Simulator(simulator.states, simulator.actions, simulator.step, 1.0)


def test_cosines_do_not_depend_on_units():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=g)
    one, other = (Cosines(k * x, torch.Generator().manual_seed(1)) for k in (1.0, 1000.0))
    torch.testing.assert_close(one(x), other(1000 * x), rtol=0, atol=1e-4)
