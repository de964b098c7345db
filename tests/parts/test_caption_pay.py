import pytest
import samples
import torch

from guerdon.parts.caption_pay import by_last_sight, paid_captions, pay_captions


def test_each_step_is_paid_for_where_it_led_to():
    rollout = samples.rollout()
    paid = pay_captions(rollout, lambda ids: ids.float(), power=3.0, name="X")
    for t in range(rollout.shape[0]):
        for b in range(rollout.shape[1]):
            worth = rollout.caption[t + 1, b].item() * rollout.caption_count[t + 1, b].item() ** -3.0
            expected = worth if rollout.valid[t, b] else 0.0
            assert paid[t, b].item() == pytest.approx(expected, rel=1e-6)


def test_worth_is_asked_once_for_each_distinct_caption():
    calls = []
    rollout = samples.rollout(steps=50)
    pay_captions(rollout, lambda ids: calls.append(ids.tolist()) or ids.float(), power=1.0, name="X")
    (asked,) = calls
    assert sorted(set(asked)) == sorted(asked)


def test_the_empty_caption_is_worth_nothing_whatever_is_said_of_it():
    rollout = samples.replace(samples.rollout(), caption=torch.zeros(9, 4, dtype=torch.int32))
    assert pay_captions(rollout, lambda ids: torch.full((len(ids),), torch.nan), power=3.0, name="X").eq(0).all()


def test_invalid_steps_may_hold_rubbish():
    rollout = samples.rollout()
    rollout.caption[1:][~rollout.valid] = -5
    rollout.caption_count[1:][~rollout.valid] = 0
    captions, counts = paid_captions(rollout, "X")
    assert captions[~rollout.valid].eq(0).all()
    assert counts[~rollout.valid].eq(1).all()


def test_refusals():
    rollout = samples.rollout()
    with pytest.raises(ValueError, match=r"X needs captions .* captions=True"):
        paid_captions(samples.replace(rollout, caption=None), "X")
    with pytest.raises(TypeError, match="X scores a Rollout, not a Completions"):
        paid_captions(samples.completions(), "X")
    for wrong in (0, -2):
        rollout.caption_count[3, 3] = wrong
        with pytest.raises(ValueError, match="start at 1"):
            pay_captions(rollout, lambda ids: ids.float(), power=3.0, name="X")


def test_last_seen_last():
    assert by_last_sight(torch.tensor([[3, 1], [0, 2], [3, 0]])) == [1, 2, 3]
    assert by_last_sight(torch.tensor([0, 0])) == []
    assert by_last_sight(torch.zeros(0, dtype=torch.int32)) == []
