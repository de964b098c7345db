"""RND, DRND and RDD against closed forms, each other, and what they are for."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import samples
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.models.distillation import Compared
from guerdon.rewards.intrinsic import DRND, RDD, RND
from guerdon.rewards.intrinsic.drnd import drnd_bonus, inverse_counts
from guerdon.types import Reward, Rollout, Spec

KINDS = [RND(fraction=1.0), DRND(fraction=1.0), RDD(fraction=1.0)]


def spec(space: spaces.Space, num_envs: int) -> Spec:
    return Spec(spaces.Dict({"obs": space}), spaces.Discrete(2), num_envs=num_envs)


def rollout(obs: Tensor, **fields: Any) -> Rollout:
    """Steps between observations [T + 1, B, ...]: no ends, unless `fields` says otherwise."""
    shape = (obs.shape[0] - 1, obs.shape[1])
    flags = {name: torch.zeros(shape, dtype=torch.bool) for name in ("terminated", "truncated")}
    rest = {"action": torch.zeros(shape, dtype=torch.long), "extrinsic": torch.zeros(shape)}
    made = flags | rest | {"valid": torch.ones(shape, dtype=torch.bool)} | fields
    return Rollout(obs=TensorDict({"obs": obs}, obs.shape[:2]), **made)


def one_hots(states: Tensor, size: int) -> Rollout:
    """A rollout that visits `states` [T, B]; its first observation is state 0."""
    whole = torch.cat([torch.zeros(1, states.shape[1], dtype=torch.long), states])
    return rollout(torch.eye(size)[whole])


def built(reward: Reward, to: Spec, seed: int = 0) -> Reward:
    made = copy.deepcopy(reward)
    made.build(to, generator=torch.Generator().manual_seed(seed))
    return made


VECTORS = spec(spaces.Box(-np.inf, np.inf, (6,), np.float32), 4)


def vectors(seed: int = 0, steps: int = 8) -> Rollout:
    return rollout(torch.randn(steps + 1, 4, 6, generator=torch.Generator().manual_seed(seed)))


def test_rnd_is_the_summed_square_of_what_its_two_networks_say_of_the_next_observation() -> None:
    made, seen = built(RND(), VECTORS), vectors()
    flat = {"numbers": seen.obs["obs"][1:].flatten(0, 1)}
    expected = (made.net.predictor(flat) - made.net.targets[0](flat)).square().sum(-1).view(8, 4)
    torch.testing.assert_close(made.score(seen), expected)
    made.net.predictor.load_state_dict(made.net.targets[0].state_dict())
    assert made.score(seen).abs().max() == 0


def test_moments_are_those_of_rollouts_before_and_clip_at_five() -> None:
    made, seen = built(RND(), VECTORS), vectors(1)
    before = made.score(seen)
    made.observe(seen)
    x = seen.obs["obs"][1:].flatten(0, 1)
    mean, std = x.mean(0), x.std(0, correction=0)
    wild = vectors(2)
    wild.obs["obs"][3, 0] = 1e6
    z = ((wild.obs["obs"][1:].flatten(0, 1) - mean) / std).clamp(-5, 5)
    expected = (made.net.predictor({"numbers": z}) - made.net.targets[0]({"numbers": z})).square().sum(-1)
    torch.testing.assert_close(made.score(wild).flatten(), expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(made.score(seen), before)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_the_bonus_of_what_it_learns_from_falls_and_that_of_other_states_does_not(kind: Reward) -> None:
    made = built(type(kind)(fraction=1.0, lr=1e-3), spec(spaces.Box(0, 1, (20,), np.float32), 4))
    known = one_hots(torch.arange(10).repeat(4, 2).T, 20)
    new = one_hots(torch.arange(10, 20).repeat(4, 2).T, 20)
    first = made.score(known).mean()
    for _ in range(150):
        made.update(known)
    assert made.score(known).mean() < 0.5 * first
    assert made.score(new).mean() > 1.5 * made.score(known).mean()


def test_rdd_without_spread_is_rnd_bit_for_bit() -> None:
    options = {"fraction": 0.5, "lr": 1e-3, "epochs": 2, "batch_size": 7}
    rnd, rdd = built(RND(**options), VECTORS), built(RDD(sigma=0, squared=True, **options), VECTORS)
    for seed in range(3):
        seen = vectors(seed)
        assert torch.equal(rnd.score(seen), rdd.score(seen))
        for each in (rnd, rdd):
            each.observe(seen)
            each.update(seen)
    noisy = built(RDD(squared=True, **options), VECTORS)
    noisy.observe(vectors())
    noisy.update(vectors())
    assert not torch.equal(noisy.score(vectors()), rdd.score(vectors()))


def test_the_mean_of_sixteen_draws_is_at_a_squared_distance_of_four() -> None:
    made = built(RDD(), VECTORS)
    made.spread.fill_(1.0)
    targets = torch.randn(1, 10_000, 64, generator=torch.Generator().manual_seed(1))
    mean = torch.stack([made.draw(targets) for _ in range(16)]).mean(0)
    assert float((mean - targets[0]).square().sum(-1).mean()) == pytest.approx(64 / 16, abs=0.1)


def test_rdd_counts_the_draws_that_its_predictor_has_averaged() -> None:
    made, seen = built(RDD(features=512), VECTORS), vectors()
    made.observe(seen)
    targets = made.net.compare(seen).targets
    mean = torch.stack([made.draw(targets) for _ in range(25)]).mean(0)
    made.net.compare = lambda _: Compared(mean, targets)
    assert float(made.pseudo_count(seen).median()) == pytest.approx(25, rel=0.1)


def test_inverse_counts_are_one_over_n_on_average_for_the_mean_of_n_targets() -> None:
    g = torch.Generator().manual_seed(0)
    targets = torch.randn(5, 2000, 64, generator=g)
    for n in (1, 2, 8, 32):
        drawn = targets[torch.randint(5, (n, 2000), generator=g), torch.arange(2000)].mean(0)
        assert float(inverse_counts(drawn, targets).mean()) == pytest.approx(1 / n, rel=0.1, abs=0.01)


@pytest.mark.parametrize(("n_targets", "slope"), [(5, -0.25), (20, -0.33)])
def test_the_rooted_term_of_drnd_falls_far_slower_than_a_count(n_targets: int, slope: float) -> None:
    g = torch.Generator().manual_seed(0)
    targets, counts = torch.randn(n_targets, 400, 64, generator=g), [1, 2, 4, 8, 16, 32, 64]
    paid = []
    for n in counts:
        drawn = targets[torch.randint(n_targets, (n, 400), generator=g), torch.arange(400)].mean(0)
        paid.append(float(drnd_bonus(drawn, targets, alpha=0.0).mean()))
    assert np.polyfit(np.log(counts), np.log(paid), 1)[0] == pytest.approx(slope, abs=0.06)


def test_drnd_by_hand_and_without_components_on_which_all_targets_agree() -> None:
    targets = torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]]])  # mu = 2, 2; B2 - mu^2 = 1, 0
    predicted = torch.tensor([[2.1, 5.0]])
    distance = 0.1**2 + 3.0**2
    assert drnd_bonus(predicted, targets, alpha=0.9).item() == pytest.approx(0.9 * distance + 0.1 * 0.41**0.5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_only_what_valid_steps_led_to_is_learned_from(kind: Reward) -> None:
    seen = samples.rollout()
    other = samples.replace(seen)
    led_to_nothing = torch.cat([torch.zeros(1, seen.shape[1], dtype=torch.bool), ~seen.valid])
    other.obs["obs"][led_to_nothing] = 100.0
    first, second = built(kind, samples.spec()), built(kind, samples.spec())
    for each, lived in ((first, seen), (second, other)):
        each.observe(lived)
        each.update(lived)
    after = samples.rollout(seed=5)
    assert torch.equal(first.score(after), second.score(after))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_an_empty_rollout_pays_and_teaches_nothing(kind: Reward) -> None:
    made = built(kind, VECTORS)
    empty = rollout(torch.zeros(1, 4, 6))
    before = copy.deepcopy(made.state_dict())
    assert made.score(empty).shape == (0, 4)
    made.observe(empty)
    made.update(empty)
    for a, b in zip(before.values(), made.state_dict().values(), strict=True):
        assert not isinstance(a, Tensor) or torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_bad_observations_are_refused_by_name(kind: Reward) -> None:
    made, seen = built(kind, VECTORS), vectors()
    seen.obs["obs"][2, 1, 0] = float("nan")
    with pytest.raises(ValueError, match=rf"{kind.name}: observation 'obs' holds NaN"):
        made.score(seen)
    with pytest.raises(ValueError, match=r"has shape \[5\], not \[6\]"):
        made.score(rollout(torch.zeros(3, 4, 5)))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        RDD(sigma=-1.0)
    with pytest.raises(ValueError, match="targets >= 2"):
        DRND(targets=1)
    for wrong in ({"lr": -1.0}, {"fraction": 0.0}, {"fraction": 2.0}, {"features": 0}, {"epochs": 0}):
        with pytest.raises(ValueError, match="RND needs features"):
            built(RND(**wrong), VECTORS)
    with pytest.raises(ValueError, match="no nothing, but obs"):
        built(RND(keys=["nothing"]), VECTORS)


def test_a_diverging_predictor_says_what_to_do() -> None:
    made, seen = built(RND(fraction=1.0), VECTORS), vectors()
    made.net.predictor.dense[0].weight.data.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="lower lr"):
        made.update(seen)
