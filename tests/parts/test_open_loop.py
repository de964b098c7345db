"""Which predictions may be made, and what each step is paid by them."""

import pytest
import samples
import torch

from guerdon.parts.open_loop import mean_over_starts, paid_to_the_last, unbroken


def ones(rollout, horizon):
    masks = unbroken(rollout, horizon)
    return [torch.ones(mask.shape) for mask in masks], masks


def test_a_step_is_paid_by_everyone_who_foresaw_it():
    rollout = samples.rollout(steps=8)
    paid = paid_to_the_last(*ones(rollout, 3))
    assert paid[:, 2].tolist() == [1, 2, 3, 3, 3, 3, 3, 3], "min(K, s + 1), without an end"


def test_nobody_foresees_beyond_an_end():
    rollout = samples.rollout(steps=8)  # column 0 ends at step 2, column 1 at step 3; the step after is invalid
    paid = paid_to_the_last(*ones(rollout, 3))
    assert paid[:, 0].tolist() == [1, 2, 3, 0, 1, 2, 3, 3]
    assert paid[:, 1].tolist() == [1, 2, 3, 3, 0, 1, 2, 3]


def test_an_end_breaks_a_span_even_if_no_invalid_step_follows():
    rollout = samples.rollout(steps=6)
    rollout = samples.replace(rollout, valid=torch.ones_like(rollout.valid))
    assert paid_to_the_last(*ones(rollout, 6))[:, 0].tolist() == [1, 2, 3, 1, 2, 3]


def test_spans_by_brute_force():
    rollout = samples.rollout(steps=8)
    ended = rollout.terminated | rollout.truncated
    for i, mask in enumerate(unbroken(rollout, 8), start=1):
        assert mask.shape == (9 - i, 4)
        for t in range(9 - i):
            expected = rollout.valid[t : t + i].all(0) & ~ended[t : t + i - 1].any(0)
            assert torch.equal(mask[t], expected), (i, t)


def test_the_horizon_is_cut_to_the_rollout():
    assert len(unbroken(samples.rollout(steps=3), 8)) == 3
    with pytest.raises(ValueError, match="horizon"):
        unbroken(samples.rollout(), 0)


def test_losses_land_on_the_step_they_are_of():
    rollout = samples.rollout(steps=4)
    masks = unbroken(rollout, 2)
    losses = [10.0 * torch.arange(4)[:, None].expand(4, 4), torch.arange(3)[:, None].expand(3, 4) + 0.5]
    assert paid_to_the_last(losses, masks)[:, 2].tolist() == [0.0, 10.5, 21.5, 32.5]


def test_every_start_weighs_the_same():
    rollout = samples.rollout(steps=3, num_envs=3).columns(slice(2, 3))
    losses = [torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[3.0], [6.0]])]
    expected = ((1 + 3) / 2 + (2 + 6) / 2 + 4) / 3
    torch.testing.assert_close(mean_over_starts(losses, unbroken(rollout, 2)), torch.tensor(expected))


def test_masked_losses_count_nowhere_and_nothing_gives_zero():
    rollout = samples.rollout(steps=8)
    losses, masks = ones(rollout, 3)
    wild = [torch.where(m, x, torch.nan) for x, m in zip(losses, masks, strict=True)]
    assert torch.equal(paid_to_the_last(wild, masks), paid_to_the_last(losses, masks))
    assert mean_over_starts(wild, masks) == 1.0
    assert mean_over_starts(losses, [torch.zeros_like(m) for m in masks]) == 0.0
