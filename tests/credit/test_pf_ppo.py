"""Filtration weights against the released ones, draws against their weights, and R^2 against its definition."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit.pf_ppo import PolicyFiltration, choose_filtration, filtration_weights, reliability
from guerdon.types import Completions, Scored

FIVE = torch.tensor([0.3, 0.9, -0.2, 0.1, 0.4])
ZERO = torch.zeros(5, dtype=torch.long)


def completions(group) -> Completions:
    n = len(group)
    mask = torch.ones(n, 2, dtype=torch.bool)
    return Completions(prompt=["q"] * n, text=["a"] * n, ids=torch.zeros(n, 2).long(), mask=mask, group=group)


def scored(value) -> Scored:
    return Scored(value, {"r": value}, {})


@pytest.mark.parametrize(("strategy", "expected"), [
    ("none", [0.2] * 5),
    ("BoN", [0, 1, 0, 0, 0]),
    ("BR", [0.1 / 0.8, 0.4 / 0.8, 0.1 / 0.8, 0.1 / 0.8, 0.1 / 0.8]),  # released: 0.4 and 0.1, before normalisation
    ("BW", [0, 0.5, 0.5, 0, 0]),
    ("pow", [0.09 / 1.11, 0.81 / 1.11, 0.04 / 1.11, 0.01 / 1.11, 0.16 / 1.11]),
    ((5, 3, 2, 0, 0), [0.2, 0.5, 0, 0, 0.3]),
])  # fmt: skip
def test_weights_by_hand(strategy, expected):
    assert filtration_weights(FIVE, ZERO, strategy).tolist() == pytest.approx(expected, abs=1e-6)


def test_equalities_and_ties():
    for strategy in ("BR", "BW", "none"):
        assert filtration_weights(FIVE[:2], ZERO[:2], strategy).tolist() == [0.5, 0.5]
    assert filtration_weights(FIVE, ZERO, "pow", power=0.0).tolist() == pytest.approx([0.2] * 5)
    tied = torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0])
    assert filtration_weights(tied, ZERO, "BW").tolist() == [0.5, 0, 0, 0, 0.5]
    assert filtration_weights(tied, ZERO, "BoN").tolist() == [1.0, 0, 0, 0, 0]


@pytest.mark.parametrize("strategy", ["BoN", "BR", "BW", "pow"])
def test_one_answer_or_equal_rewards_are_weighted_evenly(strategy):
    reward, group = torch.tensor([0.5, 0.0, 0.0, 0.0, 0.9, 0.1]), torch.tensor([4, 7, 7, 7, 9, 9])
    with pytest.warns(UserWarning, match="weighted evenly"):
        weight = filtration_weights(reward, group, strategy)
    assert weight[:4].tolist() == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3])
    assert float(weight[4:].sum()) == pytest.approx(1.0)


@given(st.integers(0, 10_000), st.sampled_from(["none", "BoN", "BR", "BW", "pow"]))
def test_weights_belong_to_prompts(seed, strategy):
    g = torch.Generator().manual_seed(seed)
    reward, group = torch.randn(12, generator=g), torch.arange(12) % 3
    weight = filtration_weights(reward, group, strategy)
    for k in range(3):
        assert float(weight[group == k].sum()) == pytest.approx(1.0, abs=1e-5)
    order = torch.randperm(12, generator=g)
    torch.testing.assert_close(filtration_weights(reward[order], group[order], strategy), weight[order])
    if strategy != "pow":  # ranks only, and only within a prompt
        moved = 3 * reward + 10 * group
        torch.testing.assert_close(filtration_weights(moved, group, strategy), weight)


@pytest.mark.parametrize(("reward", "strategy", "match"), [
    (torch.tensor([0.1, math.nan]), "BR", "NaN"),
    (torch.tensor([0.1, 0.2]), "best", "one of"),
    (torch.tensor([0.1, 0.2]), (1.0, 0.0, 0.0), "3 weights by rank"),
    (torch.tensor([0.1, 0.2]), (0.0, 0.0), "not all 0"),
    (torch.tensor([0.1, 0.2]), (2.0, -1.0), "not all 0"),
    (torch.tensor([0.1, 0.2, 0.3]), "BR", r"\[N\]"),
])  # fmt: skip
def test_bad_input(reward, strategy, match):
    with pytest.raises(ValueError, match=match):
        filtration_weights(reward, torch.zeros(2), strategy)


def test_reweighting_has_mean_1_and_leaves_unscored_answers_out():
    reward = torch.tensor([0.3, 0.9, math.nan, -0.2, 0.1, 0.4, 0.5])
    group = torch.tensor([0, 0, 0, 0, 0, 0, 1])
    with pytest.warns(UserWarning, match="evenly"):
        weight = PolicyFiltration()(completions(group), scored(reward))
    assert weight.tolist() == pytest.approx([0.625, 2.5, 0, 0.625, 0.625, 0.625, 1.0])
    tokens = torch.stack([reward / 2, reward / 2], 1)
    with pytest.warns(UserWarning, match="evenly"):
        torch.testing.assert_close(PolicyFiltration()(completions(group), scored(tokens)), weight)
    nothing = PolicyFiltration()(completions(group), scored(torch.full((7,), math.nan)))
    assert not nothing.any()


def test_frequencies_of_resampling_match_the_weights():
    keep = PolicyFiltration(variant="resample", seed=3)
    rounds = 20_000
    many = completions(torch.arange(rounds).repeat_interleave(5))
    count = keep(many, scored(FIVE.repeat(rounds)))
    assert float(count.sum()) == 5 * rounds
    share = count.view(rounds, 5).sum(0) / (5 * rounds)
    expected = torch.tensor([0.125, 0.5, 0.125, 0.125, 0.125])
    deviation = (expected * (1 - expected) / (5 * rounds)).sqrt()
    assert bool(((share - expected).abs() < 3 * deviation).all())


def test_selection_keeps_the_best_and_one_random_other():
    rounds = 4000
    many, reward = completions(torch.arange(rounds).repeat_interleave(5)), FIVE.repeat(rounds)
    kept = PolicyFiltration(variant="select")(many, scored(reward)).view(rounds, 5)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert bool((kept[:, 1] == 1).all())
    assert bool((kept.sum(1) == 2).all())
    others = kept.mean(0)[[0, 2, 3, 4]]
    assert bool(((others - 0.25).abs() < 3 * math.sqrt(0.25 * 0.75 / rounds)).all())
    bw = PolicyFiltration(strategy="BW", variant="select")(completions(ZERO), scored(FIVE))
    assert bw.tolist() == [0, 1, 1, 0, 0]
    pair = PolicyFiltration(variant="select")(completions(ZERO[:2]), scored(FIVE[:2]))
    assert pair.tolist() == [1, 1]


def test_pow_standardises_the_batch():
    raw = PolicyFiltration(strategy="pow", standardise=False)(completions(ZERO), scored(FIVE))
    standard = (FIVE - FIVE.mean()) / FIVE.std(correction=0)
    got = PolicyFiltration(strategy="pow")(completions(ZERO), scored(FIVE))
    torch.testing.assert_close(got, standard**2)  # they sum to the size of the group
    assert not torch.allclose(got, raw)


def test_draws_go_on_where_they_stopped():
    made = PolicyFiltration(variant="resample", seed=1)
    group = torch.arange(40) // 5
    reward = torch.randn(40, generator=torch.Generator().manual_seed(0))
    first = made(completions(group), scored(reward))
    state = copy.deepcopy(made.state_dict())
    second = made(completions(group), scored(reward))
    again = PolicyFiltration(variant="resample", seed=9)
    again.load_state_dict(state)
    assert torch.equal(again(completions(group), scored(reward)), second)
    assert not torch.equal(first, second)
    assert torch.equal(pickle.loads(pickle.dumps(again))(completions(group), scored(reward)),
                       made(completions(group), scored(reward)))  # fmt: skip


def test_wrong_filters():
    with pytest.raises(ValueError, match="variant"):
        PolicyFiltration(variant="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="selects no answers"):
        PolicyFiltration(strategy="pow", variant="select")
    ungrouped = completions(ZERO)
    ungrouped.group = None
    with pytest.raises(ValueError, match=r"Completions\.group"):
        PolicyFiltration()(ungrouped, scored(FIVE))


def test_r_squared_is_that_of_weighted_least_squares():
    g = torch.Generator().manual_seed(0)
    r = torch.randn(300, 5, generator=g, dtype=torch.float64)
    s = 0.5 * r + torch.randn(300, 5, generator=g, dtype=torch.float64)
    for strategy in ("none", "BR", "BW", "BoN", "pow"):
        w = filtration_weights(r.flatten(), torch.arange(300).repeat_interleave(5), strategy).sqrt()
        design = torch.stack([torch.ones(1500), r.flatten()], 1).double() * w[:, None]
        beta = torch.linalg.lstsq(design, s.flatten() * w).solution
        sse = float(((s.flatten() * w - design @ beta) ** 2).sum())
        mean = float((w**2 * s.flatten()).sum() / (w**2).sum())
        sst = float((w**2 * (s.flatten() - mean) ** 2).sum())
        assert reliability(r, s, strategy, bins=0).r_squared == pytest.approx(1 - sse / sst, abs=1e-9)


def test_r_squared_of_perfect_and_of_unrelated_rewards():
    g = torch.Generator().manual_seed(0)
    s = torch.rand(2000, 5, generator=g)
    for bins in (0, 20):
        assert reliability(3 * s - 1, s, "BW", bins=bins).r_squared == pytest.approx(1.0, abs=1e-6)
    assert reliability(torch.randn(2000, 5, generator=g), s, "none", bins=0).r_squared < 0.01
    assert reliability(s, s, "none").effective == pytest.approx(1.0)
    assert reliability(s, s, "BW").effective == pytest.approx(0.4)
    assert reliability(s, s, "BoN").effective == pytest.approx(0.2)
    assert reliability(s, s, "BR").effective == pytest.approx(1 / (5 * 0.3125))
    assert reliability(torch.zeros(3, 5), torch.rand(3, 5), "none").r_squared == 0.0


def test_r_squared_is_refused_where_it_is_undefined():
    with pytest.raises(ValueError, match="do not vary"):
        reliability(torch.rand(10, 5), torch.full((10, 5), 0.3))
    with pytest.raises(ValueError, match=r"\[B, M\]"):
        reliability(torch.rand(10), torch.rand(10))
    with pytest.raises(ValueError, match="finite"):
        reliability(torch.rand(2, 2), torch.tensor([[0.1, math.nan], [0.2, 0.3]]))


def test_the_strategy_is_chosen_where_the_reward_can_be_trusted():
    g = torch.Generator().manual_seed(0)
    s = torch.rand(2000, 5, generator=g)
    ends = torch.where((s < 0.2) | (s > 0.8), s, 0.2 + 0.6 * torch.rand(2000, 5, generator=g))
    best, table = choose_filtration(ends, s, strategies=("none", "BoN", "BR", "BW"), bins=0)
    assert best == "BW"
    assert "pow" in choose_filtration(ends, s, bins=0)[1]
    assert table["BW"].r_squared > table["none"].r_squared
    assert choose_filtration(ends, s, strategies=("none", "BoN"), bins=0)[0] == "none"
    with pytest.raises(ValueError, match="leaves"):
        choose_filtration(ends, s, strategies=("BoN",))
