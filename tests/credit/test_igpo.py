"""Credit of turns against values computed by hand and the identities of the paper's modes."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit.igpo import TurnReturns, turn_returns
from guerdon.parts.group_advantages import group_advantages
from guerdon.types import Completions, Scored

# Three turns of two tokens with a tool's token after the first; two turns; one turn of a single token.
STEP = torch.tensor([[0, 0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]).bool()
GAIN = torch.tensor([[0, 0.1, 0, 0, 0.3, 0, 0], [0.2, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])
OUTCOME = torch.tensor([1.0, 0.0, -2.0])


def completions(group=(0, 0, 0), step=STEP, mask=MASK) -> Completions:
    n = len(mask)
    return Completions(
        prompt=["q"] * n, text=["a"] * n, ids=torch.zeros(mask.shape).long(), mask=mask, step=step,
        group=None if group is None else torch.tensor(group),
    )  # fmt: skip


def scored(gain=GAIN, outcome=OUTCOME) -> Scored:
    at = completions().ends()
    placed = torch.where(at, outcome.nan_to_num()[:, None], 0.0)
    return Scored(gain + placed, {"gain": gain, "outcome": outcome}, {})


def on_turns(advantage) -> list[list[float]]:
    """The value of each turn, which must be the same on all of its tokens and 0 elsewhere."""
    assert bool((advantage[~MASK] == 0).all())
    assert advantage[0, 0] == advantage[0, 1]
    assert advantage[0, 3] == advantage[0, 4]
    assert advantage[0, 5] == advantage[0, 6]
    assert advantage[1, 1] == advantage[1, 2]
    return [advantage[0, [0, 3, 5]].tolist(), advantage[1, [0, 1]].tolist(), advantage[2, [0]].tolist()]


def test_joint_by_hand():
    pool = torch.tensor([0.1, 0.3, 1.0, 0.2, 0.0, -2.0])
    r = (pool - pool.mean()) / (pool.std() + 1e-6)
    expected = [
        [float(r[:3].sum()), float(r[1:3].sum()), float(r[2])],
        [float(r[3] + r[4]), float(r[4])],
        [float(r[5])],
    ]
    got = on_turns(TurnReturns(mode="joint")(completions(), scored()))
    for a, b in zip(got, expected, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    assert float(r.var()) == pytest.approx(1.0, abs=1e-4)


def test_separate_by_hand_with_a_discount():
    g, o = torch.tensor([0.1, 0.3, 0.2]), OUTCOME
    g, o = (g - g.mean()) / (g.std() + 1e-6), (o - o.mean()) / (o.std() + 1e-6)
    a2 = g[1] + 0.5 * o[0]
    expected = [
        [float(g[0] + 0.5 * a2), float(a2), float(o[0])],
        [float(g[2] + 0.5 * o[1]), float(o[1])],
        [float(o[2])],
    ]
    got = on_turns(TurnReturns(mode="separate", gamma=0.5)(completions(), scored()))
    for a, b in zip(got, expected, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_positionwise_by_hand():
    advantage = TurnReturns(mode="positionwise")(completions(), scored())
    # returns 1.4 1.4 - 1.3 1.3 1 1; 0.2 0 0 - - - -; -2 - - - - - -. Means by position: -0.4/3, 0.7, 0, ...
    assert advantage[0].tolist() == pytest.approx([1.4 + 0.4 / 3, 0.7, 0, 0, 0, 0, 0], abs=1e-6)
    assert advantage[1].tolist() == pytest.approx([0.2 + 0.4 / 3, -0.7, 0, 0, 0, 0, 0], abs=1e-6)
    assert advantage[2].tolist() == pytest.approx([-2 + 0.4 / 3, 0, 0, 0, 0, 0, 0], abs=1e-6)


@pytest.mark.parametrize("mode", ["joint", "separate"])
def test_an_outcome_alone_is_grpo(mode):
    alone = Scored(OUTCOME, {"outcome": OUTCOME}, {})
    grpo = group_advantages(OUTCOME, torch.zeros(3).long())
    torch.testing.assert_close(TurnReturns(mode=mode)(completions(step=None), alone), grpo[:, None] * MASK)


def test_constant_beliefs_leave_grpo_in_separate_mode():
    grpo = group_advantages(OUTCOME, torch.zeros(3).long())
    torch.testing.assert_close(TurnReturns()(completions(), scored(gain=torch.zeros(3, 7))), grpo[:, None] * MASK)


def test_a_reward_that_normalises_to_0_is_still_a_boundary():
    gain = torch.tensor([[0, 0.1, 0, 0, 0.2, 0, 0], [0.3, 0, 0, 0, 0, 0, 0], [0.0] * 7])
    got = on_turns(TurnReturns()(completions(), scored(gain=gain)))
    assert got[0][1] == pytest.approx(got[0][2])  # 0.2 is the mean: A_2 = 0 + A_3, and turn 2 ends where it ended
    assert got[0][0] == pytest.approx(got[0][1] - 1.0, abs=1e-4)


def test_groups_of_one_are_not_divided_and_flat_pools_give_0():
    got = on_turns(TurnReturns(mode="joint")(completions(group=(0, 1, 1)), scored()))
    mean = (0.1 + 0.3 + 1.0) / 3
    assert got[0] == pytest.approx([0.0, 1.3 - 2 * mean, 1.0 - mean], abs=1e-6)
    flat = TurnReturns()(completions(), scored(gain=torch.zeros(3, 7), outcome=torch.ones(3)))
    assert not flat.any()


def test_rows_without_a_score_are_left_out():
    outcome = torch.tensor([1.0, torch.nan, -2.0])
    advantage = TurnReturns(mode="joint")(completions(), scored(outcome=outcome))
    pool = torch.tensor([0.1, 0.3, 1.0, -2.0])
    assert not advantage[1].any()
    assert float(advantage[2, 0]) == pytest.approx(float((-2 - pool.mean()) / pool.std()), abs=1e-4)
    nothing = Scored(torch.full((3,), torch.nan), {"outcome": torch.full((3,), torch.nan)}, {})
    assert not TurnReturns()(completions(), nothing).any()


def test_weights_of_gains_and_outcome():
    base = on_turns(TurnReturns()(completions(), scored()))
    halved = on_turns(TurnReturns(gain_weight=0.5, outcome_weight=2.0)(completions(), scored()))
    assert halved[0][2] == pytest.approx(2 * base[0][2])
    assert halved[0][0] - halved[0][2] == pytest.approx(0.5 * (base[0][0] - base[0][2]), abs=1e-6)
    joint = TurnReturns(mode="joint", gain_weight=0.5)(completions(), scored())
    torch.testing.assert_close(joint, TurnReturns(mode="joint")(completions(), scored(gain=0.5 * GAIN)))


@given(st.integers(0, 10_000))
def test_what_does_not_matter(seed):
    g = torch.Generator().manual_seed(seed)
    n, k = 6, 4
    turns = torch.randint(1, k + 1, (n, 1), generator=g)
    mask = torch.arange(k) < turns
    reward = torch.randn(n, k, generator=g).masked_fill(~mask, 0.0)
    group = torch.randint(2, (n,), generator=g)
    order = torch.randperm(n, generator=g)
    for mode in ("joint", "separate", "positionwise"):
        advantage = turn_returns(reward, mask, mask, group, mode=mode)
        moved = turn_returns(reward[order], mask[order], mask[order], group[order] + 7, mode=mode)
        torch.testing.assert_close(moved, advantage[order])
    pooled = turn_returns(reward, mask, mask, torch.zeros(n).long(), mode="joint", gamma=0.0)[mask]
    assert float(pooled.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(pooled.var()) == pytest.approx(1.0, abs=1e-3)


def test_bad_input():
    with pytest.raises(ValueError, match=r"Completions\.group"):
        TurnReturns()(completions(group=None), scored())
    with pytest.raises(ValueError, match=r"Completions\.step"):
        TurnReturns()(completions(step=None), scored())
    falling = STEP.clone()
    falling[0] = torch.tensor([1, 1, 0, 0, 0, 2, 2])
    with pytest.raises(ValueError, match="rise"):
        TurnReturns()(completions(step=falling), scored())
    with pytest.raises(ValueError, match="mode"):
        turn_returns(GAIN, MASK, MASK, torch.zeros(3), mode="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="boundaries"):
        turn_returns(GAIN, torch.zeros_like(MASK), MASK, torch.zeros(3))
    with pytest.raises(ValueError, match=r"\[N, L\]"):
        turn_returns(GAIN, MASK[:, 1:], MASK, torch.zeros(3))
    again = pickle.loads(pickle.dumps(TurnReturns(mode="joint", gamma=0.5)))
    torch.testing.assert_close(
        again(completions(), scored()), TurnReturns(mode="joint", gamma=0.5)(completions(), scored())
    )
