"""Observations and actions as networks take them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from guerdon.models.actions import ActionCode
from guerdon.models.observation_net import ObservationInput, ObservationNet
from guerdon.models.seeded import Trainer, seeded

SPACES = spaces.Dict({
    "numbers": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "frame": spaces.Box(0, 255, (4, 84, 84), np.uint8),
    "tile": spaces.Box(0, 255, (7, 7, 3), np.uint8),
    "glyphs": spaces.Box(0, 5976, (21, 79), np.int16),
    "glyphs_crop": spaces.Box(0, 5976, (9, 9), np.int16),
    "blstats": spaces.Box(-(2**31), 2**31 - 1, (5,), np.int64),
    "one_of": spaces.Discrete(3, start=-1),
    "some_of": spaces.MultiDiscrete([2, 3]),
    "bits": spaces.MultiBinary(4),
    "action_mask": spaces.Box(0, 1, (6,), np.int8),
})  # fmt: skip


def batch(n: int = 16) -> dict[str, torch.Tensor]:
    SPACES.seed(0)
    drawn = [SPACES.sample() for _ in range(n)]
    return {key: torch.from_numpy(np.stack([np.asarray(d[key]) for d in drawn])) for key in SPACES}


def test_every_kind_of_observation_becomes_features() -> None:
    given = ObservationInput(SPACES)
    assert "action_mask" not in given.keys
    net = ObservationNet(given, 16)
    given.observe(batch(50))
    features = net(given(batch()))
    assert features.shape == (16, 16)
    assert torch.isfinite(features).all()
    for key in given.keys:  # each one matters
        other = batch()
        other[key] = other[key].roll(1, 0)
        assert not torch.allclose(net(given(other)), features), key


def test_numbers_are_standardised_and_clipped_images_by_pixel_and_categories_are_indicators() -> None:
    given = ObservationInput(SPACES, keys=["numbers", "tile", "one_of"])
    x = batch(64)
    given.observe(x)
    seen = given(x)
    assert seen["numbers"].shape == (64, 3 + 3)
    torch.testing.assert_close(seen["numbers"][:, :3].mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen["tile"].std(0, correction=0), torch.ones(3, 7, 7), atol=1e-3, rtol=0)
    assert torch.equal(seen["numbers"][:, 3:].sum(1), torch.ones(64))
    x["numbers"][0] = 1e9
    assert given(x)["numbers"].max() == 5.0


def test_what_never_changed_counts_nothing_until_it_does() -> None:
    given = ObservationInput(spaces.Dict({"x": spaces.Box(-9, 9, (2,), np.float32)}))
    x = torch.stack([torch.randn(500), torch.full((500,), 3.0)], 1)
    given.observe({"x": x})
    assert given({"x": x})["numbers"][:, 1].abs().max() < 1e-2


def test_a_mask_keeps_observations_out_of_the_moments() -> None:
    first, second = ObservationInput(SPACES), ObservationInput(SPACES)
    x = batch(8)
    first.observe({k: v[:5] for k, v in x.items()})
    second.observe(x, torch.arange(8) < 5)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_unreadable_spaces_and_shapes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"cannot read 'words' .* keys="):
        ObservationInput(spaces.Dict({"words": spaces.Text(5)}))
    with pytest.raises(TypeError, match="needs the spaces"):
        ObservationInput(None)
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        ObservationInput(SPACES, keys=["numbers"])({"numbers": torch.tensor([[0.0, 1.0, torch.inf]])})


def test_weights_come_from_the_generator_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        with seeded(torch.Generator().manual_seed(seed)):
            return ObservationNet(ObservationInput(SPACES), 8).dense[0].weight.detach()  # type: ignore[return-value]

    state = torch.random.get_rng_state()
    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batches_pass_over_everything_once_and_keep_a_fraction() -> None:
    made = Trainer([torch.nn.Parameter(torch.zeros(1))], lr=0.1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(list(made.batches(10, 3))).sort().values, torch.arange(10))
    kept = [len(torch.cat(list(made.batches(1000, 64, fraction=0.25)))) for _ in range(20)]
    assert 225 < np.mean(kept) < 275
    assert list(made.batches(0, 4)) == []


def test_a_saved_trainer_goes_on_as_if_never_stopped() -> None:
    def run(steps: int, start: Trainer | None = None, at: torch.Tensor | None = None) -> tuple[Trainer, torch.Tensor]:
        x = torch.nn.Parameter(torch.ones(3) if at is None else at.clone())
        made = Trainer([x], lr=0.1, generator=torch.Generator().manual_seed(0), max_grad_norm=0.5)
        if start is not None:
            made.load_state_dict(start.state_dict())
        for _ in range(steps):
            order = next(made.batches(3, 3)).float()
            made.step((x * order).square().sum())
        return made, x.detach()

    whole = run(6)[1]
    half = run(3)
    torch.testing.assert_close(run(3, *half)[1], whole)


@pytest.mark.parametrize(
    ("space", "size"),
    [(spaces.Discrete(4, start=2), 4), (spaces.MultiDiscrete([2, 3]), 5), (spaces.Box(-2, 6, (2,), np.float32), 2),
     (spaces.MultiBinary(3), 3)],
)  # fmt: skip
def test_actions_become_vectors(space: spaces.Space, size: int) -> None:
    code = ActionCode(space)
    space.seed(0)
    action = torch.from_numpy(np.stack([np.asarray(space.sample()) for _ in range(30)]))
    coded = code(action)
    assert coded.shape == (30, size)
    assert coded.abs().max() <= 1
    right = coded * 50 if code.discrete else coded
    assert code.loss(right, action).max() < 1e-5
    assert code.loss(-right, action).mean() > 0.5


def test_actions_of_another_shape_or_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="Discrete, MultiDiscrete and Box are known"):
        ActionCode(spaces.Text(3))
    with pytest.raises(ValueError, match=r"shape \[3\], not \[2\]"):
        ActionCode(spaces.Box(-1, 1, (2,), np.float32))(torch.zeros(4, 3))


def test_the_moments_of_bytes_are_those_of_all_at_once() -> None:
    given = ObservationInput(SPACES, keys=["tile"])
    x = batch(700)["tile"]
    given.observe({"tile": x[:300]})
    given.observe({"tile": x[300:]})
    moments = given.moments["tile"]
    torch.testing.assert_close(moments.mean, x.double().mean(0), rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(moments.var, x.double().var(0, correction=0), rtol=1e-5, atol=1e-2)
