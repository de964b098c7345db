import math

import pytest
import samples
import torch

from guerdon.rewards.shaping import Clip, Extrinsic


def paid(values: list[float], **bounds: float) -> list[float]:
    r = samples.rollout(1, len(values))
    r = samples.replace(r, extrinsic=torch.tensor([values]), valid=torch.ones(1, len(values), dtype=torch.bool))
    return Clip(Extrinsic(), **bounds).score(r)[0].tolist()


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"low": -1.0, "high": 1.0}, [-1.0, 0.5, 1.0]),
        ({"low": 0.0}, [0.0, 0.5, 50.0]),
        ({"high": 0.0}, [-3.0, 0.0, 0.0]),
        ({"low": 2.0, "high": 2.0}, [2.0, 2.0, 2.0]),
    ],
)
def test_values_stay_between_the_bounds(bounds, expected):
    assert paid([-3.0, 0.5, 50.0], **bounds) == expected


def test_unscored_stays_unscored_and_padding_zero():
    assert math.isnan(paid([math.nan], low=0.0)[0])
    r = samples.rollout()
    assert (Clip(Extrinsic(), low=2.0).score(r)[~r.valid] == 0).all()


def test_what_went_in_and_came_out_is_logged():
    r = samples.rollout()
    scored = (0.5 * Clip(Extrinsic(), high=0.0)).evaluate(r)
    assert scored.stages["Clip(Extrinsic)/in"].equal(r.extrinsic)
    assert scored.stages["Clip(Extrinsic)/out"].equal(r.extrinsic.clamp(max=0.0))
    assert scored.terms["Clip(Extrinsic)"].equal(0.5 * r.extrinsic.clamp(max=0.0))


@pytest.mark.parametrize("bounds", [{}, {"low": 1.0, "high": 0.0}])
def test_it_needs_bounds_that_leave_room(bounds):
    with pytest.raises(ValueError, match="Clip needs low <= high"):
        Clip(Extrinsic(), **bounds)
