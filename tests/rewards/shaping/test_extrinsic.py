import samples
import torch

from guerdon.rewards.shaping import Extrinsic


def test_it_is_the_tasks_reward_bit_for_bit():
    r = samples.rollout()
    assert Extrinsic().score(r).equal(r.extrinsic)
    r.extrinsic[0, 0] = 1e6
    assert Extrinsic().score(r)[0, 0] == 1e6


def test_padding_is_zero_whatever_stands_there():
    r = samples.rollout()
    r.extrinsic[~r.valid] = torch.nan
    assert (Extrinsic().score(r)[~r.valid] == 0).all()
