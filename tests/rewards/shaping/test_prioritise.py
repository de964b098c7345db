"""Prioritise: what is above the running mean, on the scale of the running deviation."""

import math

import pytest
import samples
import torch

from guerdon.rewards.shaping import Extrinsic, Prioritise


def built(**options):
    reward = Prioritise(Extrinsic(), **options)
    reward.build(samples.spec())
    return reward


def paid(values):
    """A rollout [T, 4] whose task pays `values`, all valid."""
    rollout = samples.rollout(steps=len(values))
    return samples.replace(rollout, extrinsic=values, valid=torch.ones_like(rollout.valid))


def test_by_hand():
    reward = built(momentum=0.5, warmup=1)
    one, two = torch.randn(8, 4) + 2, torch.randn(8, 4)
    reward.observe(paid(one))
    reward.observe(paid(two))
    mean = (0.25 * one.mean() + 0.5 * two.mean()) / 0.75
    square = (0.25 * one.square().mean() + 0.5 * two.square().mean()) / 0.75
    spread = (square - mean**2).sqrt()
    new = torch.randn(8, 4) + 1
    torch.testing.assert_close(reward.score(paid(new)), (new / spread - mean / spread).clamp(min=0))


def test_one_rollout_is_corrected_for_the_start():
    reward, values = built(momentum=0.99, warmup=1), torch.randn(50, 4) * 3 + 7
    reward.observe(paid(values))
    mean, spread = reward.moments()
    assert mean == pytest.approx(float(values.mean()), rel=1e-4)
    assert spread == pytest.approx(float(values.std(correction=0)), rel=1e-3)


def test_about_half_of_a_steady_reward_is_exactly_nothing():
    torch.manual_seed(0)
    reward = built()
    for _ in range(12):
        reward.observe(paid(torch.randn(64, 4) + 5))
    value = reward.score(paid(torch.randn(64, 4) + 5))
    assert 0.4 < float((value == 0).float().mean()) < 0.6
    assert float(value[value > 0].mean()) == pytest.approx(math.sqrt(2 / math.pi), rel=0.15), "unit deviation"


def test_without_the_clip_it_only_scales():
    reward, values = built(clip=False, warmup=1), torch.randn(8, 4)
    reward.observe(paid(values))
    torch.testing.assert_close(reward.score(paid(values)), values / values.std(correction=0))


def test_nothing_is_paid_before_it_is_warm():
    reward = built(warmup=3)
    for _ in range(3):
        assert not reward.score(paid(torch.randn(8, 4))).any()
        reward.observe(paid(torch.randn(8, 4)))
    assert reward.score(paid(torch.randn(8, 4) + 3)).any()


def test_a_reward_that_never_varied_pays_nothing():
    reward = built(warmup=1)
    reward.observe(paid(torch.full((8, 4), 0.3)))
    assert not reward.score(paid(torch.full((8, 4), 0.3))).any()


def test_unscored_and_invalid_steps_do_not_count():
    reward, other = built(warmup=1), built(warmup=1)
    experience = samples.rollout()
    wild = samples.replace(experience)
    wild.extrinsic[~wild.valid] = 1e6
    wild.extrinsic[5, 2] = torch.nan
    reward.observe(wild)
    kept = experience.valid.clone()
    kept[5, 2] = False
    other.observe(samples.replace(experience, valid=kept))
    assert reward.moments() == pytest.approx(other.moments())
    assert reward.score(wild).isnan().sum() == 1


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"warmup": 0}])
def test_bad_options(options):
    with pytest.raises(ValueError, match="Prioritise"):
        built(**options)
