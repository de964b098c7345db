"""BYOL-Explore and BYOL-Hindsight: their scores by hand, their bounds, their ends, and what they learn."""

import numpy as np
import pytest
import samples
import torch
from gymnasium import spaces
from tensordict import TensorDict

from guerdon.models.self_prediction import angle
from guerdon.rewards.intrinsic import BYOLExplore, BYOLHindsight
from guerdon.types import Rollout, Spec

BOTH = pytest.mark.parametrize("kind", [BYOLExplore, BYOLHindsight])
SMALL = {"features": 8, "hidden": (16,), "belief": 12, "horizon": 3}


def built(kind, spec=None, **options):
    reward = kind(**{**SMALL, **options})
    reward.build(spec or samples.spec(), generator=torch.Generator().manual_seed(0))
    return reward


def test_a_step_is_paid_all_that_was_foreseen_of_what_it_led_to():
    reward, rollout = built(BYOLExplore), samples.rollout()
    world = reward.world
    foreseen = world.foresee(rollout, world.starts(rollout), world.carried)
    losses = [angle(world.open(f.after), f.target) for f in foreseen]
    paid = reward.score(rollout)
    torch.testing.assert_close(paid[0], losses[0][0])
    torch.testing.assert_close(paid[1, 2], losses[0][1, 2] + losses[1][0, 2])
    torch.testing.assert_close(paid[6, 3], losses[0][6, 3] + losses[1][5, 3] + losses[2][4, 3])
    torch.testing.assert_close(paid[4, 0], losses[0][4, 0], msg="the first step of an episode, after the invalid one")
    torch.testing.assert_close(paid[2, 0], losses[0][2, 0] + losses[1][1, 0] + losses[2][0, 0], msg="its last")
    assert paid[3, 0] == paid[4, 1] == 0


def test_hindsight_is_told_the_noise():
    reward, rollout = built(BYOLHindsight, noise=5), samples.rollout()
    world = reward.world
    one = world.foresee(rollout, world.starts(rollout), world.carried)[0]
    z = reward.hindsight.generator(one.context, one.target, reward.eps)
    expected = angle(world.open(one.after, z), one.target)
    torch.testing.assert_close(reward.score(rollout)[0], expected[0])
    with torch.no_grad():
        reward.eps += 1.0
    assert not torch.allclose(reward.score(rollout)[0], expected[0])


@BOTH
def test_bounds(kind):
    reward = built(kind)
    paid = reward.score(samples.rollout(steps=20))
    assert paid.min() >= 0
    assert paid.max() <= 4 * 3


@BOTH
def test_scores_run_on_but_for_predictions_across_the_seam(kind):
    whole = samples.rollout(steps=8)
    together = built(kind, horizon=1, standardise=False)
    apart = built(kind, horizon=1, standardise=False)
    expected, eps, found = together.score(whole), getattr(apart, "eps", None), []
    for a, b in ((0, 4), (4, 8)):
        steps = {k: getattr(whole, k)[a:b] for k in ("action", "extrinsic", "terminated", "truncated", "valid")}
        part = Rollout(obs=whole.obs[a : b + 1], **steps)
        if eps is not None:
            apart.eps.copy_(together.eps)
        found.append(apart.score(part))
        apart.observe(part)
    torch.testing.assert_close(torch.cat(found), expected)


@BOTH
def test_hindsight_or_not_what_can_be_known_stops_paying(kind):
    torch.manual_seed(0)
    reward = built(kind, lr=3e-3, epochs=8)
    state = torch.randint(4, (17, 4))
    for t in range(16):
        state[t + 1] = (state[t] + 1) % 4
    obs = torch.nn.functional.one_hot(state, 4)[..., :3].float()
    zero = torch.zeros(16, 4)
    rollout = Rollout(
        obs=TensorDict({"obs": obs}, (17, 4)), action=zero.long(), extrinsic=zero, terminated=zero > 0,
        truncated=zero > 0, valid=zero == 0,
    )  # fmt: skip
    first = reward.score(rollout)[3:].mean()
    for _ in range(25):
        reward.update(rollout)
    assert reward.score(rollout)[3:].mean() < 0.2 * first


def test_one_step_of_training_lowers_the_loss_that_it_tells():
    reward, rollout = built(BYOLExplore, sequences=4, lr=1e-4), samples.rollout()
    before = reward.update(rollout)["BYOLExplore/loss"]
    assert reward.update(rollout)["BYOLExplore/loss"] < before


def test_the_slow_copy_follows_by_its_decay():
    reward, rollout = built(BYOLExplore, sequences=4, decay=0.9), samples.rollout()
    old = [p.clone() for p in reward.world.net.parameters()]
    reward.update(rollout)
    for slow, before, now in zip(reward.world.target.parameters(), old, reward.world.net.parameters(), strict=True):
        torch.testing.assert_close(slow, 0.9 * before + 0.1 * now)


def test_the_game_moves_critic_and_generator_and_tells_both_losses():
    reward, rollout = built(BYOLHindsight), samples.rollout()
    before = {k: v.clone() for k, v in reward.named_parameters()}
    logs = reward.update(rollout)
    assert set(logs) == {"BYOLHindsight/reconstruction", "BYOLHindsight/dependence"}
    moved = {k.split(".")[1] for k, v in reward.named_parameters() if not torch.equal(v, before[k])}
    assert moved >= {"generator", "critic", "net", "closed", "open"}


def test_a_new_draw_of_noise_with_each_rollout():
    reward = built(BYOLHindsight)
    first = reward.eps.clone()
    reward.score(samples.rollout())
    assert torch.equal(reward.eps, first)
    reward.observe(samples.rollout())
    assert not torch.equal(reward.eps, first)


@BOTH
def test_single_steps_and_empty_rollouts(kind):
    reward = built(kind)
    one = samples.rollout(steps=1)
    assert reward.score(one).shape == (1, 4)
    assert reward.update(one)
    none = samples.replace(one, valid=torch.zeros_like(one.valid))
    assert reward.update(none) == {}
    assert (reward.evaluate(none).value == 0).all()
    empty = Rollout(
        obs=TensorDict({"obs": torch.zeros(1, 4, 3)}, (1, 4)), action=torch.zeros(0, 4, dtype=torch.long),
        **{k: torch.zeros(0, 4, dtype=t) for k, t in (
            ("extrinsic", torch.float32), ("terminated", torch.bool), ("truncated", torch.bool), ("valid", torch.bool)
        )},
    )  # fmt: skip
    assert reward.score(empty).shape == (0, 4)
    reward.observe(empty)
    assert reward.update(empty) == {}


@BOTH
def test_continuous_actions_and_images(kind):
    space = spaces.Dict({"image": spaces.Box(0, 255, (3, 40, 40), np.uint8)})
    reward = built(kind, Spec(space, spaces.Box(-1, 1, (2,), np.float32), None, 2))
    zero = torch.zeros(3, 2)
    rollout = Rollout(
        obs=TensorDict({"image": torch.randint(256, (4, 2, 3, 40, 40), dtype=torch.uint8)}, (4, 2)),
        action=torch.rand(3, 2, 2), extrinsic=zero, terminated=zero > 0, truncated=zero > 0, valid=zero == 0,
    )  # fmt: skip
    reward.observe(rollout)
    reward.update(rollout)
    assert reward.score(rollout).isfinite().all()


@BOTH
def test_bad_input_is_named(kind):
    reward = built(kind)
    for wrong in (samples.replayed(samples.rollout()), samples.rollout(num_envs=3)):
        with pytest.raises(ValueError, match=kind.__name__):
            reward.score(wrong)
    holed = samples.rollout()
    holed.obs["obs"][3, 1] = torch.nan
    with pytest.raises(ValueError, match=kind.__name__):
        reward.score(holed)
    with pytest.raises(ValueError, match=kind.__name__):
        kind(horizon=0)
    with pytest.raises(ValueError, match="BYOLHindsight"):
        BYOLHindsight(negatives=1)
