"""Advantages within groups: closed forms of the estimators, their table, missing scores, and bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from guerdon.parts.group_advantages import (
    gigpo_advantages,
    group_advantages,
    normalise_then_sum,
    on_tokens,
    row_rewards,
    sum_then_normalise,
)

NAN = math.nan
DR_GRPO = {"spread": "none"}
RLOO = {"baseline": "leave-one-out", "spread": "none"}


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ragged(seed: int, groups: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and ids of groups of 2 to 6 answers, shuffled; ids are neither sorted nor without gaps."""
    g = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, 7, (groups,), generator=g)
    ids = torch.repeat_interleave(torch.randperm(50, generator=g)[:groups] - 20, sizes)
    ids = ids[torch.randperm(len(ids), generator=g)]
    return torch.randn(len(ids), generator=g, dtype=torch.float64), ids


@given(st.integers(0, 10_000))
def test_every_choice_is_its_formula_spelt_out(seed):
    reward, group = ragged(seed)
    for baseline in ("group", "leave-one-out", "batch", "none"):
        for spread in ("group", "batch", "none"):
            found = group_advantages(reward, group, baseline=baseline, spread=spread, eps=1e-3)
            for i, (r, g) in enumerate(zip(reward.tolist(), group.tolist(), strict=True)):
                mates = [x for j, x in enumerate(reward.tolist()) if group[j] == g]
                others = [x for j, x in enumerate(reward.tolist()) if group[j] == g and j != i]
                pools = {"group": mates, "leave-one-out": others, "batch": reward.tolist(), "none": [0.0]}
                mean = sum(pools[baseline]) / len(pools[baseline])
                pool = pools.get(spread, [])
                centre = sum(pool) / max(1, len(pool))
                std = math.sqrt(sum((x - centre) ** 2 for x in pool) / (len(pool) - 1)) if spread != "none" else None
                expected = r - mean if std is None else (r - mean) / (std + 1e-3)
                assert found[i].item() == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 10_000))
def test_rloo_is_a_multiple_of_dr_grpo_and_both_sum_to_zero_in_each_group(seed):
    reward, group = ragged(seed)
    plain, rloo = group_advantages(reward, group, **DR_GRPO), group_advantages(reward, group, **RLOO)
    for g in group.unique():
        size = int((group == g).sum())
        torch.testing.assert_close(rloo[group == g], size / (size - 1) * plain[group == g])
        assert plain[group == g].sum().item() == pytest.approx(0, abs=1e-12)


@given(st.integers(0, 10_000), st.floats(0.1, 100), st.floats(-50, 50))
def test_grpo_has_unit_variance_and_knows_neither_scale_nor_offset(seed, scale, offset):
    reward, group = ragged(seed)
    found = group_advantages(reward, group, eps=0.0)
    for g in group.unique():
        assert found[group == g].var().item() == pytest.approx(1.0)
    torch.testing.assert_close(group_advantages(scale * reward + offset, group, eps=0.0), found, atol=1e-7, rtol=1e-7)


@given(st.integers(0, 10_000))
def test_the_order_of_the_answers_and_the_names_of_the_groups_do_not_matter(seed):
    reward, group = ragged(seed)
    order = torch.randperm(len(reward), generator=torch.Generator().manual_seed(seed + 1))
    found = group_advantages(reward, group)
    torch.testing.assert_close(group_advantages(reward[order], 7 - 3 * group[order]), found[order])


@pytest.mark.parametrize(("size", "right"), [(8, 1), (8, 4), (8, 7), (3, 2), (2, 1)])
def test_binary_groups_have_the_card_s_closed_forms(size, right):
    reward = doubles(*[1.0] * right, *[0.0] * (size - right))
    group = torch.zeros(size, dtype=torch.long)
    rloo = group_advantages(reward, group, **RLOO)
    assert rloo[0].item() == pytest.approx((size - right) / (size - 1))
    assert rloo[-1].item() == pytest.approx(-right / (size - 1))
    grpo = group_advantages(reward, group, eps=0.0)
    assert grpo[0].item() == pytest.approx(math.sqrt((size - right) * (size - 1) / (size * right)))
    assert grpo[-1].item() == pytest.approx(-math.sqrt(right * (size - 1) / (size * (size - right))))


@pytest.mark.parametrize("how", [{}, DR_GRPO, RLOO, {"spread": "batch"}])
def test_a_group_of_equal_rewards_gets_exactly_zero(how):
    reward = torch.tensor([0.1] * 3 + [0.3, 0.7])  # the float mean of three 0.1 is not 0.1
    found = group_advantages(reward, torch.tensor([0, 0, 0, 1, 1]), **{"eps": 0.0} | how)
    assert found[:3].tolist() == [0.0, 0.0, 0.0]
    assert found[3] < 0 < found[4]


def test_a_constant_group_with_another_baseline_follows_its_rule():
    reward, group = doubles(2.0, 2.0, 0.0, 4.0), torch.tensor([0, 0, 1, 1])
    how = {"baseline": "none", "spread": "group", "eps": 0.0}
    assert group_advantages(reward, group, **how)[:2].tolist() == [0.0, 0.0]
    assert group_advantages(reward, group, constant="unscaled", **how)[:2].tolist() == [2.0, 2.0]


@given(st.integers(0, 10_000), st.sampled_from([{}, DR_GRPO, RLOO, {"baseline": "batch", "spread": "batch"}]))
def test_an_unscored_answer_counts_nowhere_and_gets_zero(seed, how):
    reward, group = ragged(seed)
    g = torch.Generator().manual_seed(seed)
    missing = torch.rand(len(reward), generator=g) < 0.2
    assume(all(int((~missing & (group == x)).sum()) >= 2 for x in group.unique()))
    found = group_advantages(reward.masked_fill(missing, NAN), group, **how)
    assert not found[missing].any()
    torch.testing.assert_close(found[~missing], group_advantages(reward[~missing], group[~missing], **how))


def test_an_answer_whose_siblings_are_all_unscored_gets_zero_and_so_does_a_batch_without_scores():
    reward, group = torch.tensor([5.0, NAN, 0.0, 1.0]), torch.tensor([0, 0, 1, 1])
    for how in ({}, RLOO):
        found = group_advantages(reward, group, **how)
        assert found[:2].tolist() == [0.0, 0.0]
        assert found[3] > 0
    assert group_advantages(torch.full((4,), NAN), group).tolist() == [0.0] * 4
    assert group_advantages(torch.zeros(0), torch.zeros(0, dtype=torch.long)).tolist() == []


def test_a_group_of_one_raises_by_name_or_follows_its_rule():
    reward, group = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([7, 4, 4])
    for how in ({}, DR_GRPO, RLOO, {"baseline": "batch", "spread": "group"}):
        with pytest.raises(ValueError, match="group 7 has one answer"):
            group_advantages(reward, group, **how)
        assert group_advantages(reward, group, singleton="raw", **how)[0] == 3.0
        assert group_advantages(reward, group, singleton="zero", **how)[0] == 0.0
    assert group_advantages(reward, group, baseline="batch", spread="none")[0] == 1.0  # looks at no group


def test_auto_divides_unless_rewards_are_two_valued_and_groups_small():
    group = torch.arange(16) // 8
    binary = (torch.arange(16) % 3 == 0).float()
    assert group_advantages(binary, group, spread="auto").equal(group_advantages(binary, group, spread="none"))
    graded = binary.clone()
    graded[0] = 0.5
    assert group_advantages(graded, group, spread="auto").equal(group_advantages(graded, group))
    one = torch.zeros(16, dtype=torch.long)
    assert group_advantages(binary, one, spread="auto").equal(group_advantages(binary, one))
    with_missing = binary.masked_fill(torch.arange(16) == 5, NAN)
    assert group_advantages(with_missing, group, spread="auto")[5] == 0
    assert group_advantages(with_missing, group, spread="auto").equal(
        group_advantages(with_missing, group, spread="none")
    )


def test_bad_input_is_named():
    ones, ids = torch.ones(4), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"shape \[N\], got \[\[4, 1\]"):
        group_advantages(ones[:, None], ids)
    with pytest.raises(ValueError, match=r"got \[\[4\], \[3\]\]"):
        group_advantages(ones, ids[:3])
    with pytest.raises(ValueError, match="1 of 4 rewards are infinite"):
        group_advantages(torch.tensor([1.0, 2.0, math.inf, 0.0]), ids)
    with pytest.raises(ValueError, match="group ids must be integers"):
        group_advantages(ones, ids.float())
    with pytest.raises(ValueError, match="pass `group`"):
        group_advantages(ones, None)
    with pytest.raises(ValueError, match="no baseline is called 'mean'"):
        group_advantages(ones, ids, baseline="mean")
    with pytest.raises(ValueError, match="no spread is called 'std'"):
        group_advantages(ones, ids, spread="std")


def test_several_rewards_by_hand():
    rewards = torch.tensor([[0.0, 10.0], [1.0, 10.0], [1.0, 30.0], [0.0, 50.0]], dtype=torch.float64)
    group = torch.tensor([0, 0, 1, 1])
    summed = sum_then_normalise(rewards, group, [1.0, 0.1], eps=0.0)
    root = math.sqrt(0.5)
    torch.testing.assert_close(summed, doubles(-root, root, -root, root))
    z = doubles(-root, root, root - 2 * root, -root + 2 * root)  # second reward: constant in the first group
    torch.testing.assert_close(
        normalise_then_sum(rewards, group, [1.0, 2.0], eps=0.0), (z - z.mean()) / z.std(), atol=1e-12, rtol=0
    )
    torch.testing.assert_close(normalise_then_sum(rewards, group, [1.0, 2.0], eps=0.0, over_batch=False), z)
    with pytest.raises(ValueError, match="one weight for each"):
        sum_then_normalise(rewards, group, [1.0])
    with pytest.raises(ValueError, match=r"shape \[N, K\]"):
        normalise_then_sum(rewards[:, 0], group)


@given(st.integers(0, 10_000), st.floats(0.01, 1000))
def test_normalise_then_sum_does_not_see_the_scale_of_a_reward(seed, scale):
    reward, group = ragged(seed)
    rewards = torch.stack([reward, reward.flip(0)], 1)
    # where the two cancel, what is left is rounding, which eps=0 would blow up
    assume(float(normalise_then_sum(rewards, group, eps=0.0, over_batch=False).std()) > 1e-6)
    scaled = rewards * torch.tensor([1.0, scale], dtype=torch.float64)
    found = normalise_then_sum(scaled, group, eps=0.0)
    torch.testing.assert_close(found, normalise_then_sum(rewards, group, eps=0.0), atol=1e-7, rtol=1e-7)


def test_gigpo_by_hand():
    episode = doubles(1.0, 1.0, 0.0)  # trajectory 0 has two steps, trajectory 1 one
    step = doubles(0.9, 1.0, 0.0)
    group, trajectory = torch.zeros(3, dtype=torch.long), torch.tensor([0, 0, 1])
    anchor = torch.tensor([5, 6, 5])  # both began at 5; nobody else was at 6
    found = gigpo_advantages(episode, step, group, trajectory, anchor, weight=2.0)
    torch.testing.assert_close(found, doubles(0.5 + 2 * 0.45, 0.5, -0.5 - 2 * 0.45))
    divided = gigpo_advantages(episode, step, group, trajectory, anchor, divide=True, eps=0.0)
    root = math.sqrt(0.5)
    torch.testing.assert_close(divided, doubles(2 * root, root, -2 * root))


@given(st.integers(0, 10_000))
def test_gigpo_without_its_step_term_is_dr_grpo_of_episodes_however_long_they_are(seed):
    reward, group = ragged(seed)
    g = torch.Generator().manual_seed(seed)
    steps = torch.randint(1, 5, (len(reward),), generator=g)
    row = torch.repeat_interleave(torch.arange(len(reward)), steps)
    anchor = torch.randint(3, (len(row),), generator=g)
    noise = torch.randn(len(row), generator=g, dtype=torch.float64)
    found = gigpo_advantages(reward[row], noise, group[row], row, anchor, weight=0.0)
    torch.testing.assert_close(found, group_advantages(reward, group, spread="none")[row])
    both = gigpo_advantages(reward[row], noise, group[row], row, anchor)
    keys = group[row] * 10 + anchor
    for key in keys.unique():  # the step term sums to zero over steps that began alike
        assert (both - found)[keys == key].sum().item() == pytest.approx(0, abs=1e-9)


def test_gigpo_wants_one_return_a_trajectory():
    ids = torch.tensor([0, 0, 1])
    with pytest.raises(ValueError, match="one episode_return"):
        gigpo_advantages(doubles(1, 2, 3), doubles(1, 2, 3), ids * 0, ids, ids)
    with pytest.raises(ValueError, match=r"shape \[N\]"):
        gigpo_advantages(doubles(1, 1, 3), doubles(1, 2), ids * 0, ids, ids)


def test_on_tokens_and_back_to_rows():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    spread = on_tokens(torch.tensor([2.0, -1.0]), mask)
    assert spread.tolist() == [[2.0, 2.0, 0.0], [-1.0, 0.0, 0.0]]
    assert row_rewards(torch.tensor([[1.0, 2.0, 9.0], [NAN, 0.0, 0.0]]), mask).isnan().tolist() == [False, True]
    assert row_rewards(torch.tensor([[1.0, 2.0, NAN], [4.0, 0.0, NAN]]), mask).tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match=r"\[N\] or \[N, L\]"):
        row_rewards(torch.ones(3), mask)
