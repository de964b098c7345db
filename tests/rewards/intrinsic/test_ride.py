"""RIDE by hand: impact over the root of the episode's count."""

import numpy as np
import pytest
import samples
import torch
from gymnasium import spaces
from tensordict import TensorDict

from guerdon.rewards.intrinsic import RIDE
from guerdon.types import Rollout, Spec


def cells(path, *, valid=None, ended=None):
    """A rollout through numbered cells, [T + 1] or [T + 1, B] of them."""
    path = torch.as_tensor(path)
    path = path[:, None] if path.ndim == 1 else path
    shape = (len(path) - 1, path.shape[1])
    obs = torch.nn.functional.one_hot(path, 6).float()
    flags = {"terminated": torch.zeros(shape, dtype=torch.bool), "valid": torch.ones(shape, dtype=torch.bool)}
    for t in ended or ():
        flags["terminated"][t] = True
        flags["valid"][t + 1 : t + 2] = False
    return Rollout(
        obs=TensorDict({"obs": obs, "clock": torch.rand(*path.shape, 1)}, path.shape),
        action=torch.zeros(shape, dtype=torch.long),
        extrinsic=torch.zeros(shape),
        truncated=torch.zeros(shape, dtype=torch.bool),
        **flags,
    )


def built(num_envs=1, **options):
    reward = RIDE(keys=("obs",), **options)
    one = {"obs": spaces.Box(0, 1, (6,), np.float32), "clock": spaces.Box(0, 1, (1,), np.float32)}
    reward.build(Spec(spaces.Dict(one), spaces.Discrete(4), None, num_envs), generator=torch.Generator().manual_seed(0))
    return reward


def impact(reward, rollout):
    features = reward.net.encode(rollout.obs)
    return (features[1:] - features[:-1]).norm(dim=-1)


def counts(reward, rollout):
    """N, as the score has it."""
    return (impact(reward, rollout) / reward.evaluate(rollout).value).square()[:, 0]


def test_impact_over_the_root_of_the_count():
    reward, rollout = built(), cells([0, 1, 2, 1, 0, 1, 3])
    torch.testing.assert_close(counts(reward, rollout), torch.tensor([1.0, 1, 2, 2, 3, 1]))


def test_the_first_observation_counts_and_staying_pays_nothing():
    reward = built()
    assert reward.score(cells([4, 4, 4])).abs().max() == 0
    torch.testing.assert_close(counts(reward, cells([4, 1, 4])), torch.tensor([1.0, 2]))


def test_counts_begin_anew_with_each_episode():
    reward = built()
    rollout = cells([0, 1, 0, 2, 0, 1], ended=[2])
    value = reward.evaluate(rollout).value[:, 0]
    assert value[3] == 0, "the step that only resets"
    full = impact(reward, rollout)[:, 0]
    torch.testing.assert_close(value / full.clamp(min=1e-9), torch.tensor([1.0, 2**-0.5, 1, 0, 1]))


def test_counts_run_on_from_rollout_to_rollout():
    whole, parts, path = built(standardise=False), built(standardise=False), [0, 1, 2, 1, 0, 1, 3, 0, 1]
    expected, found = whole.evaluate(cells(path)).value, []
    for a, b in ((0, 3), (3, 4), (4, 8)):
        piece = cells(path[a : b + 1])
        found.append(parts.evaluate(piece).value)
        parts.observe(piece)
    torch.testing.assert_close(torch.cat(found), expected)


def test_columns_are_counted_apart():
    reward = built(2)
    path = torch.tensor([[0, 1], [1, 0], [0, 1]])
    value, full = reward.evaluate(cells(path)).value, impact(reward, cells(path))
    torch.testing.assert_close(value / full, torch.tensor([[1.0, 1.0], [2**-0.5, 2**-0.5]]))


def test_what_is_counted_may_differ_from_what_is_seen():
    reward = built(count_keys=("clock",))  # never twice the same
    torch.testing.assert_close(counts(reward, cells([0, 1, 0, 1])), torch.ones(3))
    with pytest.raises(ValueError, match="nothing"):
        built(count_keys=("nothing",))


def test_it_teaches_inverse_and_forward_models():
    reward, rollout = built(), cells([0, 1, 2, 3, 4, 5])
    before = {k: v.clone() for k, v in reward.net.named_parameters()}
    assert set(reward.update(rollout)) == {"RIDE/inverse_loss", "RIDE/forward_loss"}
    moved = {k.split(".")[0] for k, v in reward.net.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {"net", "inverse", "forward_model"}


def test_replayed_steps_are_refused():
    reward = RIDE()
    reward.build(samples.spec())
    with pytest.raises(ValueError, match="RIDE"):
        reward.score(samples.replayed(samples.rollout()))
