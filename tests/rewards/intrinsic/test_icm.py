"""ICM by hand, on every kind of action and observation, and whether it learns what it should."""

import numpy as np
import pytest
import samples
import torch
from gymnasium import spaces
from tensordict import TensorDict

from guerdon.rewards.intrinsic import ICM
from guerdon.types import Rollout, Spec


def built(spec=None, **options):
    reward = ICM(**options)
    reward.build(spec or samples.spec(), generator=torch.Generator().manual_seed(0))
    return reward


def rollout(obs, action):
    steps, columns = action.shape[:2]
    zero = torch.zeros(steps, columns)
    obs = TensorDict(obs, (steps + 1, columns))
    flags = {"terminated": zero > 0, "truncated": zero > 0, "valid": zero == 0}
    return Rollout(obs=obs, action=action, extrinsic=zero, **flags)


def test_half_the_squared_error_of_the_forward_model():
    reward, experience = built(features=6), samples.rollout()
    net = reward.net
    obs = experience.obs["obs"]
    for t, b in ((0, 0), (2, 0), (7, 3)):
        before, after = (net.net(net.given({"obs": o[None]})) for o in (obs[t, b], obs[t + 1, b]))
        one_hot = torch.eye(4)[experience.action[t, b]][None]
        expected = 0.5 * (net.forward_model(before, one_hot) - after).square().sum()
        torch.testing.assert_close(reward.score(experience)[t, b], expected)


def test_losses_are_those_of_the_paper():
    reward, experience = built(batch_size=10**6, beta=0.2), samples.rollout()
    valid = experience.valid
    with torch.no_grad():
        features = reward.net.encode(experience.obs)
        logits = reward.net.inverse(features[:-1], features[1:])[valid]
        inverse = torch.nn.functional.cross_entropy(logits, experience.action[valid])
        forward = reward.score(experience)[valid].mean()
    before = {k: v.clone() for k, v in reward.net.named_parameters()}
    logs = reward.update(experience)
    assert logs["ICM/inverse_loss"] == pytest.approx(float(inverse), rel=1e-5)
    assert logs["ICM/forward_loss"] == pytest.approx(float(forward), rel=1e-5)
    moved = {k.split(".")[0] for k, v in reward.net.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {"net", "inverse", "forward_model"}, "both losses and the encoder learn"


def test_it_learns_what_is_to_foresee_and_which_action_it_was():
    torch.manual_seed(0)
    reward = built(
        Spec(spaces.Dict({"obs": spaces.Box(-9, 9, (4,), np.float32)}), spaces.Discrete(2), None, 8), epochs=20
    )
    action = torch.randint(2, (64, 8))
    steps = torch.where(action == 1, 1.0, -1.0)[..., None] * torch.tensor([1.0, 0.0, 0.0, 0.0])
    obs = torch.cat([torch.zeros(1, 8, 4), steps]) + torch.tensor([0.0, 1.0, 0.0, 1.0])
    experience = rollout({"obs": obs}, action)
    first = reward.score(experience).mean()
    for _ in range(5):
        logs = reward.update(experience)
    assert logs["ICM/inverse_loss"] < 0.05 < 0.69
    assert reward.score(experience).mean() < 0.1 * first


def test_invalid_steps_are_never_learnt_from():
    one, other, experience = built(), built(), samples.rollout()
    changed = samples.replace(experience)
    changed.action[~experience.valid] = (changed.action[~experience.valid] + 1) % 4
    one.update(experience)
    other.update(changed)
    torch.testing.assert_close(one.score(experience), other.score(experience))


def test_a_rollout_without_a_valid_step_teaches_nothing():
    reward, experience = built(), samples.rollout()
    experience = samples.replace(experience, valid=torch.zeros_like(experience.valid))
    assert reward.update(experience) == {}
    assert (reward.evaluate(experience).value == 0).all()


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (spaces.MultiDiscrete([3, 2]), torch.tensor([[[0, 1]], [[2, 0]]])),
        (spaces.Box(-2, 2, (3,), np.float32), torch.randn(2, 1, 3)),
        (spaces.Discrete(3, start=-1), torch.tensor([[-1], [1]])),
    ],
    ids=["MultiDiscrete", "Box", "Discrete from -1"],
)
def test_every_action_space(space, action):
    reward = built(Spec(spaces.Dict({"obs": spaces.Box(-9, 9, (4,), np.float32)}), space, None, 1))
    experience = rollout({"obs": torch.randn(3, 1, 4)}, action)
    logs = reward.update(experience)
    assert logs["ICM/inverse_loss"] > 0
    assert reward.score(experience).shape == (2, 1)


def test_images_and_more_beside_them():
    space = spaces.Dict({"image": spaces.Box(0, 255, (3, 40, 40), np.uint8), "at": spaces.Box(-1, 1, (2,), np.float32)})
    reward = built(Spec(space, spaces.Discrete(4), None, 2), batch_size=4)
    obs = {"image": torch.randint(256, (4, 2, 3, 40, 40), dtype=torch.uint8), "at": torch.randn(4, 2, 2)}
    experience = rollout(obs, torch.randint(4, (3, 2)))
    reward.observe(experience)
    reward.update(experience)
    assert reward.score(experience).isfinite().all()


@pytest.mark.parametrize("shape", [(5, 1), (1, 5), (1, 1), (3, 40)])
def test_any_batch_is_covered_whole(shape):
    reward = built(batch_size=7)
    blocks = list(reward.net._blocks(*shape))
    covered = torch.zeros(shape)
    for steps, columns in blocks:
        covered[steps, columns] += 1
        assert covered[steps, columns].numel() <= 7
    assert (covered == 1).all()


def test_an_empty_rollout():
    reward = built()
    empty = rollout({"obs": torch.zeros(1, 4, 3)}, torch.zeros(0, 4, dtype=torch.long))
    assert reward.score(empty).shape == (0, 4)
    assert reward.update(empty) == {}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="beta"):
        ICM(beta=1.0)
    reward, experience = built(), samples.rollout()
    holed = samples.replace(experience)
    holed.obs["obs"][3, 1] = torch.inf
    with pytest.raises(ValueError, match="ICM"):
        reward.score(holed)
    with pytest.raises(ValueError, match="ICM"):
        reward.score(samples.replace(experience, action=torch.zeros(8, 4, 2)))
