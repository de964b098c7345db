import numpy as np
import pytest
import samples
import torch
from gymnasium import spaces
from tensordict import TensorDict

from guerdon.models.random_features import RandomFeatures, StateMemory
from guerdon.models.sign_hash import SignHash
from guerdon.types import Rollout, Spec

SPACE = spaces.Dict({
    "obs": spaces.Box(-1, 1, (3,), np.float32),
    "picture": spaces.Box(0, 255, (4, 40, 40), np.uint8),
    "glyphs_crop": spaces.Box(0, 99, (5, 5), np.int16),
    "inventory": spaces.Discrete(4),
})  # fmt: skip


def made_of(space, steps=3, columns=2, seed=0):
    """A rollout that shows drawn observations of `space`, and its spec."""
    space.seed(seed)
    drawn = [space.sample() for _ in range((steps + 1) * columns)]
    obs = {k: torch.as_tensor(np.stack([d[k] for d in drawn])).unflatten(0, (steps + 1, columns)) for k in space}
    no = torch.zeros(steps, columns, dtype=torch.bool)
    rollout = Rollout(
        obs=TensorDict(obs, (steps + 1, columns)), action=torch.zeros(steps, columns, dtype=torch.int64),
        extrinsic=torch.zeros(steps, columns), terminated=no, truncated=no, valid=~no,
    )  # fmt: skip
    return rollout, Spec(observation_space=space, action_space=spaces.Discrete(2), num_envs=columns)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_features_of_any_observation_come_from_the_generator():
    rollout, spec = made_of(SPACE)
    first, again, other = (
        RandomFeatures(spec, features=6, hidden=(8,), generator=generator(seed)).of(rollout) for seed in (1, 1, 2)
    )
    assert first.shape == (4, 2, 6)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert len(first.flatten(0, 1).unique(dim=0)) == 8


def test_features_do_not_move_with_the_stream_unless_asked_to():
    rollout, spec = made_of(SPACE)
    for standardise in (False, True):
        net = RandomFeatures(spec, features=6, hidden=(8,), standardise=standardise, generator=generator())
        before = net.of(rollout)
        net.observe(made_of(SPACE, seed=5)[0])
        assert torch.equal(net.of(rollout), before) != standardise


def test_a_memory_holds_what_valid_steps_led_to():
    rollout = samples.rollout()
    memory = StateMemory(samples.spec(), capacity=100, features=5, hidden=(8,), generator=generator())
    assert torch.equal(memory.distances(rollout, 3), torch.zeros(8, 4, 1)), "nothing to compare with"
    memory.observe(rollout)
    assert len(memory.memory) == int(rollout.valid.sum()) == 30
    features = memory.net.of(rollout)[1:].double()
    expected = torch.cdist(features.flatten(0, 1), features[rollout.valid]).topk(3, largest=False).values
    torch.testing.assert_close(memory.distances(rollout, 3), expected.view(8, 4, 3).float())
    assert (memory.distances(rollout, 3)[..., 0][rollout.valid] == 0).all(), "each finds itself"
    assert memory.distances(rollout, 99).shape[-1] == 30


def test_codes_are_the_signs_of_the_projections():
    rollout, spec = made_of(spaces.Dict({"obs": SPACE["obs"]}))
    hash_ = SignHash(spec, bits=7, generator=generator())
    x, a = rollout.obs["obs"].flatten(0, 1), hash_.directions["numbers"]
    expected = [sum(2**i for i in range(7) if float(row @ a[:, i]) > 0) for row in x]
    assert hash_.of(rollout.obs).flatten().tolist() == expected


def test_codes_do_not_change_with_length_and_turn_with_the_sign():
    rollout, spec = made_of(spaces.Dict({"obs": SPACE["obs"]}))
    hash_, x = SignHash(spec, bits=62, generator=generator()), rollout.obs["obs"]
    codes = hash_.of({"obs": x})
    assert torch.equal(hash_.of({"obs": 3 * x}), codes)
    assert (hash_.of({"obs": -x}) == 2**62 - 1 - codes).all()


def test_two_observations_share_bits_as_their_angle_says():
    spec = made_of(spaces.Dict({"obs": spaces.Box(-1, 1, (2,), np.float32)}))[1]
    obs = torch.tensor([[[1.0, 0.0], [0.5, 3**0.5 / 2]]])  # 60 degrees apart: two bits of three are shared
    shared = 0
    for seed in range(40):
        a, b = SignHash(spec, bits=60, generator=generator(seed)).of({"obs": obs})[0].tolist()
        shared += 60 - (a ^ b).bit_count()
    assert abs(shared / 2400 - 2 / 3) < 4 * (2 / 9 / 2400) ** 0.5


def test_codes_of_any_observation():
    rollout, spec = made_of(SPACE)
    codes = SignHash(spec, bits=62, generator=generator()).of(rollout.obs)
    assert codes.shape == (4, 2)
    assert len(codes.unique()) == 8
    with pytest.raises(ValueError, match="Curious: observations have no clock"):
        SignHash(spec, bits=3, keys=["clock"], reader="Curious")
