import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.compare.difference import _between, _disagree, difference
from guerdon.compare.task_table import TaskTable
from guerdon.parts.canonicalisation import shaped
from guerdon.parts.tabular_mdp import TabularMDP, expected_reward, mean_return, optimal_value, uniform


def world(seed, states=6, actions=3, gamma=0.9):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(states, actions, states, generator=g, dtype=torch.float64)
    mdp = TabularMDP(torch.where(logits < 0.3, -30.0, logits).softmax(-1), gamma=gamma)
    steps = (mdp.transition > 1e-9).nonzero()
    table = TaskTable(
        TabularMDP(clean(mdp.transition), gamma=gamma), steps, clean(mdp.transition)[tuple(steps.T)],
        torch.zeros(len(steps)).double(), torch.zeros(states).bool(), torch.arange(states), states,
        [f"state {i}" for i in range(states)], "drawn",
    )  # fmt: skip
    return table, torch.randn(4, states, actions, states, generator=g, dtype=torch.float64), g


def clean(transition):
    kept = torch.where(transition > 1e-9, transition, 0.0)
    return kept / kept.sum(-1, keepdim=True)


def compare(table, a, b):
    return difference(table, table.pay(a), table.pay(b), ("A", "B"))


def test_what_orders_alike_is_told_apart():
    table, (r, noise, *_), g = world(0)
    potential = 5 * torch.randn(6, generator=g, dtype=torch.float64)
    moved = noise - expected_reward(table.mdp, noise)[..., None]
    found = compare(table, r, r.clone())
    assert (found.kind, found.scale, found.witness) == ("same", 1.0, None)
    found = compare(table, r, 2.5 * r)
    assert found.kind == "scale"
    assert found.scale == pytest.approx(2.5)
    assert "B is 2.5 times A" in found.words
    found = compare(table, r, shaped(table.mdp, r, potential))
    assert found.kind == "shaping"
    assert f"potential from {potential.min():.4g} to {potential.max():.4g}" in found.words
    assert "redistribution" not in found.words
    found = compare(table, r, shaped(table.mdp, 0.3 * r, potential) + moved)
    assert found.kind == "scale and shaping"
    assert found.scale == pytest.approx(0.3)
    assert "redistribution" in found.words


def test_rewards_rounded_to_float32_are_still_alike():
    table, (r, *_), g = world(1)
    other = shaped(table.mdp, r, 100 * torch.randn(6, generator=g, dtype=torch.float64))
    assert compare(table, r.float(), other.float()).kind == "shaping"


def test_rewards_that_prefer_nothing():
    table, (r, *_), g = world(2)
    nothing = shaped(table.mdp, torch.zeros_like(r), torch.randn(6, generator=g, dtype=torch.float64))
    assert "B prefers no policy" in compare(table, r, nothing).words
    assert "A prefers no policy" in compare(table, torch.zeros_like(r), r).words
    assert compare(table, torch.ones_like(r), nothing).words.startswith("neither")


def test_opposites():
    table, (r, *_), _ = world(3)
    found = compare(table, r, -r)
    assert found.kind == "opposite"
    assert found.regret == pytest.approx((1.0, 1.0))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 0.1, 1e-3]))
def test_a_witness_is_one(seed, apart):
    """Also where the rewards are so near that the same policy is best for both."""
    table, (r, other, *_), _ = world(seed)
    second = r + apart * other
    found = compare(table, r, second)
    assert found.kind == "order"
    p, q = found.witness.policies
    for reward, (better, worse) in ((r, (p, q)), (second, (q, p))):
        mean = expected_reward(table.mdp, reward)
        assert mean_return(table.mdp, mean, better) > mean_return(table.mdp, mean, worse)
    assert found.witness.returns[0][0] > found.witness.returns[0][1]
    assert found.witness.returns[1][0] < found.witness.returns[1][1]


def test_the_same_best_policy_needs_another_pair():
    """One state, three actions worth (3, 2, 1) and (3, 1, 2): the best one is the same."""
    table = bandit(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([3.0, 1.0, 2.0]))
    found = difference(table, *table.extrinsic, ("A", "B"))
    assert found.kind == "order"
    assert found.regret == (0.0, 0.0)
    assert found.witness.names == ("one that A prefers", "one that B prefers")


def test_a_mixture_is_a_witness_where_no_pair_of_deterministic_policies_is():
    """Worth (4, 1, 0) and (4, 3, 0) all six pairs agree; half of the first and last against the middle do not."""
    table = bandit(torch.tensor([4.0, 1.0, 0.0]), torch.tensor([4.0, 3.0, 0.0]))
    means = table.mean(table.extrinsic)
    pure = torch.eye(3, dtype=torch.float64)[:, None]
    assert not any(_disagree(table.mdp, means, torch.stack([p, q])) for p in pure for q in pure)
    pair = _between(table.mdp, means)
    assert _disagree(table.mdp, means, pair)
    assert difference(table, *table.extrinsic, ("A", "B")).witness is not None


def bandit(*worth):
    steps = torch.tensor([[0, a, 0] for a in range(3)])
    return TaskTable(
        TabularMDP(torch.ones(1, 3, 1), gamma=0.5), steps, torch.ones(3).double(), torch.stack(worth).double(),
        torch.zeros(1).bool(), torch.zeros(1).long(), 1, ["a start"], "a bandit",
    )  # fmt: skip


def test_regret_is_a_share_of_what_there_is():
    """The best of B is the worst of A."""
    table = bandit(torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.8, 0.0, 1.0]))
    found = difference(table, *table.extrinsic, ("A", "B"))
    assert found.regret == pytest.approx((1.0, 0.2))
    assert "loses 100.0% of what A has to give, that of A 20.0% of B's" in found.words
    assert found.witness.data()["actions"] == [[0], [2]]


def test_terminal_rewards_and_means():
    table, (r, *_), _ = world(5)
    torch.testing.assert_close(table.mean(table.pay(r)), expected_reward(table.mdp, r))
    best = optimal_value(table.mdp, table.mean(table.pay(r)))
    assert mean_return(table.mdp, expected_reward(table.mdp, r), best.policy) >= mean_return(
        table.mdp, expected_reward(table.mdp, r), uniform(table.mdp)
    )
