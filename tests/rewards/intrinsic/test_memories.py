"""What every reward with a memory has in common."""

import copy
import itertools
import math

import numpy as np
import pytest
import samples
import torch
from gymnasium import spaces
from rewards.intrinsic import remembering
from rewards.intrinsic.remembering import built, part, scores, still, stream
from tensordict import TensorDict

from guerdon.rewards.intrinsic import E3B, NGU, RE3, REVD, RISE, PseudoCount
from guerdon.types import Rollout, Spec

IN_ORDER = [
    PseudoCount, lambda: PseudoCount(kind="hashed", bits=4), lambda: PseudoCount(episodic=True),
    lambda: PseudoCount(kind="hashed", bits=3, episodic=True), lambda: PseudoCount(kind="knn", episodic=True, k=3),
    lambda: PseudoCount(kind="knn", episodic=True, k=2, capacity=4),
    lambda: NGU(k=3, limit=1.0), lambda: NGU(limit=1.0, capacity=5), E3B, lambda: REVD(k=2), lambda: REVD(spread=False),
]  # fmt: skip
OF_LIFE = [RE3, RISE, lambda: PseudoCount(kind="knn")]
EPISODIC = [E3B, NGU, REVD, lambda: PseudoCount(episodic=True), lambda: PseudoCount(kind="knn", episodic=True)]


@pytest.mark.parametrize("make", IN_ORDER)
@pytest.mark.parametrize("cuts", [[13], [1, 2, 20, 39]])
def test_several_rollouts_are_as_one_long_one(make, cuts):
    long = stream(places=0 if isinstance(make(), REVD) else 3)  # at no distance REVD divides by next to nothing
    expected = still(built(make())).evaluate(long).value
    ends = [0, *cuts, 40]
    found = scores(still(built(make())), *(part(long, a, b) for a, b in itertools.pairwise(ends)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert len(expected[long.valid].unique()) > 3


@pytest.mark.parametrize("make", OF_LIFE)
def test_a_memory_of_life_takes_rollouts_in_any_portions(make):
    long, after = stream(), stream(seed=1)
    whole, portions = still(built(make())), still(built(make()))
    scores(whole, long)
    scores(portions, *(part(long, a, b) for a, b in ((0, 11), (11, 12), (12, 40))))
    found = portions.states.memory if hasattr(portions, "states") else portions.memory
    expected = whole.states.memory if hasattr(whole, "states") else whole.memory
    torch.testing.assert_close(found.entries[: len(found)], expected.entries[: len(expected)])
    if make in (RE3, RISE):
        torch.testing.assert_close(portions.score(after), whole.score(after))


@pytest.mark.parametrize("make", IN_ORDER)
def test_what_comes_later_changes_nothing(make):
    long = stream()
    made = still(built(make()))
    expected = made.evaluate(long).value[:20]
    torch.testing.assert_close(made.evaluate(part(long, 0, 20)).value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", EPISODIC)
def test_an_episode_begins_with_an_empty_memory(make):
    """The same steps are paid the same in the second episode, but by REVD, which compares the two."""
    walk = torch.randn(5, 1, 3, generator=torch.Generator().manual_seed(0))
    twice = samples.rollout(9, 1)
    twice.obs["obs"] = torch.cat([walk, walk])
    twice.terminated[:] = torch.arange(9)[:, None] == 3
    twice.valid[:] = torch.arange(9)[:, None] != 4
    made = make()
    if isinstance(made, NGU):
        made = NGU(limit=1.0)
    paid = still(built(made, 1)).evaluate(twice).value
    assert paid[4] == 0
    if isinstance(made, REVD):
        assert (paid[:4] == 0).all()
        assert (paid[6:] > 0).all()
    elif getattr(made, "kind", "") == "knn" or isinstance(made, NGU):  # whose mean distance is that of all so far
        torch.testing.assert_close(paid[5:], paid[:4], rtol=0.5, atol=0)
    else:
        torch.testing.assert_close(paid[5:], paid[:4])


@pytest.mark.parametrize("make", [*IN_ORDER, *OF_LIFE])
def test_learning_between_score_and_observe_is_noticed(make):
    """What a reward recalls of the rollout it scored must not outlive the networks it came from."""
    made, experience = built(make()), stream()
    scores(made, stream(seed=3))
    other = copy.deepcopy(made)
    made.evaluate(experience)
    for one in (made, other):
        one.update(experience)
        one.observe(experience)
    after = stream(seed=2)
    torch.testing.assert_close(made.evaluate(after).value, other.evaluate(after).value)


@pytest.mark.parametrize("make", EPISODIC)
@pytest.mark.parametrize("columns", [1, 5])
def test_another_number_of_environments_is_refused(make, columns):
    made = built(make())
    for call in (made.evaluate, made.observe):
        with pytest.raises(
            ValueError, match=f"{made.name} remembers the episodes of 4 environments, and got {columns}"
        ):
            call(samples.rollout(num_envs=columns))


@pytest.mark.parametrize("make", [*IN_ORDER, *OF_LIFE])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_observations_that_are_no_numbers_are_refused(make, value):
    made, bad = built(make()), samples.rollout()
    bad.obs["obs"][3, 1, 0] = value
    for call in (made.evaluate, made.observe):
        with pytest.raises(ValueError, match=f"{made.name}: observation 'obs' holds NaN or infinity"):
            call(bad)


@pytest.mark.parametrize("make", [*IN_ORDER, *OF_LIFE])
def test_observations_of_another_shape_are_refused(make):
    with pytest.raises(ValueError, match=r"observation 'obs' has shape \[3\], not \[1\]"):
        built(make(), of=remembering.spec(4)).evaluate(samples.rollout())


@pytest.mark.parametrize("make", [*IN_ORDER, *OF_LIFE])
def test_pictures_maps_and_numbers_with_actions_of_any_kind(make):
    space = spaces.Dict({
        "place": spaces.Box(-1, 1, (2,), np.float64), "picture": spaces.Box(0, 255, (3, 12, 12), np.uint8),
        "glyphs": spaces.Box(0, 9, (3, 3), np.int16), "bag": spaces.MultiDiscrete([3, 2]),
    })  # fmt: skip
    space.seed(0)
    drawn = [space.sample() for _ in range(14)]
    obs = {key: torch.as_tensor(np.stack([d[key] for d in drawn])).unflatten(0, (7, 2)) for key in space}
    no = torch.zeros(6, 2, dtype=torch.bool)
    r = Rollout(
        obs=TensorDict(obs, (7, 2)), action=torch.rand(6, 2, 3), extrinsic=torch.zeros(6, 2),
        terminated=no, truncated=no, valid=~no,
    )  # fmt: skip
    of = Spec(observation_space=space, action_space=spaces.Box(0, 1, (3,), np.float32), num_envs=2)
    made = built(make(), of=of)
    for _ in range(2):
        assert made.evaluate(r).value.isfinite().all()
        made.observe(r)
        assert all(math.isfinite(x) for x in made.update(r).values())


@pytest.mark.parametrize("make", [*IN_ORDER, *OF_LIFE])
def test_no_steps_and_one_step(make):
    made = built(make(), 1)
    empty, single = samples.rollout(0, 1), samples.rollout(1, 1)
    assert made.evaluate(empty).value.shape == (0, 1)
    made.observe(empty)
    made.update(empty)
    for _ in range(3):
        assert made.evaluate(single).value.isfinite().all()
        made.observe(single)
        made.update(single)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PseudoCount(kind="seen"), "'exact', 'hashed' or 'knn'"), (lambda: PseudoCount(power=0), "power > 0"),
        (lambda: PseudoCount(bits=63), "bits <= 62"), (lambda: NGU(k=0), "k >= 1"), (lambda: NGU(limit=0.5), "limit"),
        (lambda: E3B(ridge=0), "ridge"), (lambda: RE3(k=0), "k >= 1"), (lambda: RISE(alpha=1.0), "alpha < 1"),
        (lambda: REVD(alpha=0.0), "0 < alpha"), (lambda: REVD(epsilon=0.0), "epsilon > 0"),
        (lambda: built(RE3(capacity=0)), "at least one vector"), (lambda: built(NGU(capacity=0)), "at least one"),
        (lambda: built(REVD(capacity=0)), "at least one"), (lambda: built(E3B(keys=["clock"])), "no clock"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
