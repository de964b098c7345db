"""Regret of segments: what the definition promises, and the bounds of successor features."""

import pytest
import torch
from table_walks import walk, world

from guerdon.parts.segment_regret import deterministic_regret, general_regret, soft_maximum, successor_set
from guerdon.parts.tabular_mdp import optimal_value

M = 4


def paid(mdp, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*mdp.shape, M, dtype=torch.float64, generator=g)


def both(mdp, reward, segments, value_of=None):
    """Deterministic and general regret [B] of segments under a reward [S, A]."""
    best = optimal_value(mdp, reward if value_of is None else value_of)
    state = segments.obs["state"]
    value, valid = best.value[state], segments.valid.long()
    total = reward[state[:-1], segments.action].sum(0)
    q = best.q[state[:-1], segments.action]
    return deterministic_regret(total, value, valid, mdp.gamma), general_regret(value, q, valid)


@pytest.mark.parametrize("seed", range(5))
def test_where_nothing_is_left_to_chance_both_regrets_are_one_and_never_below_zero(seed):
    mdp = world(seed=seed)
    f = paid(mdp, seed)
    own, general = both(mdp, f.sum(-1), walk(mdp, f, 200, seed=seed))
    torch.testing.assert_close(own, general, atol=1e-9, rtol=0)
    assert general.min() >= -1e-12
    assert general.max() > 0.1


@pytest.mark.parametrize("certain", [True, False])
def test_optimal_segments_have_no_regret(certain):
    mdp = world(certain=certain)
    f = paid(mdp)
    segments = walk(mdp, f, 400)
    best = optimal_value(mdp, f.sum(-1)).policy.argmax(-1)
    played = (segments.action == best[segments.obs["state"][:-1]]).all(0)
    _, general = both(mdp, f.sum(-1), segments)
    assert 3 <= played.sum() < 200
    assert general[played].abs().max() < 1e-9
    assert general[~played].min() > 1e-6


def test_luck_is_regret_of_the_deterministic_kind_only():
    mdp = world(certain=False)
    f = paid(mdp)
    own, general = both(mdp, f.sum(-1), walk(mdp, f, 2000))
    assert own.min() < -0.1  # more came than could be expected
    assert general.min() >= -1e-12
    torch.testing.assert_close(own.mean(), general.mean(), atol=0.05, rtol=0)  # on average the same


def test_at_a_discount_of_one_it_is_the_formula_of_the_paper():
    value, total = torch.tensor([[5.0], [4.0], [2.0]]), torch.tensor([1.0])
    found = deterministic_regret(total, value, torch.ones(2, 1), 1.0)
    assert found.tolist() == [5.0 - (1.0 + 2.0)]


def test_steps_that_are_padding_count_nothing():
    value, q = torch.tensor([[5.0], [4.0], [9.0]]), torch.tensor([[3.0], [7.0]])
    valid = torch.tensor([[1], [0]])
    assert general_regret(value, q, valid).tolist() == [2.0]
    assert deterministic_regret(torch.tensor([1.0]), value, valid, 0.5).tolist() == [5.0 - 2.0 - 1.0]


@pytest.mark.parametrize("seed", range(3))
def test_shaping_changes_partial_returns_but_not_general_regret(seed):
    mdp = world(seed=seed, certain=False)
    f = paid(mdp, seed)
    segments = walk(mdp, f, 100, seed=seed)
    potential = torch.randn(mdp.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    shaped = f.sum(-1) + mdp.gamma * mdp.transition @ potential - potential[:, None]
    plain, moved = (both(mdp, r, segments)[1] for r in (f.sum(-1), shaped))
    torch.testing.assert_close(moved, plain, atol=1e-9, rtol=0)
    state = segments.obs["state"][:-1]
    returns = [r[state, segments.action].sum(0) for r in (f.sum(-1), shaped)]
    assert (returns[0] - returns[1]).std() > 0.1


def test_a_constant_changes_regret_only_where_episodes_end():
    endless = world()
    f = paid(endless)
    r, segments = f.sum(-1), walk(endless, f, 100)
    torch.testing.assert_close(both(endless, r + 3, segments), both(endless, r, segments), atol=1e-9, rtol=0)
    ending = world()
    ending.transition[0] = torch.eye(6, dtype=torch.float64)[0]  # state 0 leads to itself and pays nothing
    r = r.clone()
    r[0] = 0
    more = r + 3
    more[0] = 0
    segments = walk(ending, f, 100)
    assert (both(ending, more, segments)[1] - both(ending, r, segments)[1]).abs().max() > 0.1


def test_a_soft_maximum_is_near_the_maximum_and_below():
    values = torch.tensor([[1.0, 2.0, 2.5], [0.0, 0.0, 0.0]])
    assert soft_maximum(values, 1e-3).tolist() == pytest.approx([2.5, 0.0])
    p = torch.tensor([1.0, 2.0, 2.5]).softmax(0)
    assert float(soft_maximum(values, 1.0)[0]) == pytest.approx(float((p * values[0]).sum()))
    drawn = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert (soft_maximum(drawn, 0.3) <= drawn.amax(-1)).all()
    assert (soft_maximum(drawn, 0.3) >= drawn.mean(-1)).all()


@pytest.mark.parametrize("certain", [True, False])
def test_successor_features_bound_optimal_values_and_reach_them(certain):
    mdp = world(certain=certain)
    f = paid(mdp)
    g = torch.Generator().manual_seed(1)
    w = torch.randn(M, dtype=torch.float64, generator=g)
    others = torch.randn(3, M, generator=g)
    best = optimal_value(mdp, f @ w)
    few, all_ = successor_set(mdp, f, others), successor_set(mdp, f, torch.cat([others, w[None].float()]))
    assert ((few @ w).amax(0) <= best.value + 1e-9).all()
    assert ((few @ w).amax(0) < best.value - 1e-3).any()
    torch.testing.assert_close((all_ @ w).amax(0), best.value, atol=1e-5, rtol=0)
    with_actions = successor_set(mdp, f, torch.cat([others, w[None].float()]), actions=True)
    torch.testing.assert_close((with_actions @ w).amax(0), best.q, atol=1e-5, rtol=0)


def test_equal_policies_are_kept_once():
    mdp = world()
    f = paid(mdp)
    w = torch.randn(1, M)
    assert len(successor_set(mdp, f, torch.cat([w, 2 * w, 3 * w]))) == 1
