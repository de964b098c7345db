"""The low level's pay: hand values, shaping that telescopes, nothing to be had from circles."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from guerdon.parts.subgoal_reward import subgoal_reward

NO = torch.zeros(1, dtype=torch.bool)


def pay(before: float, after: float, *, reached: bool = False, collided: bool = False, new: float = 0.0, **options):
    flags = {"reached": torch.tensor([reached]), "collided": torch.tensor([collided])}
    terms = subgoal_reward(
        torch.tensor([before], dtype=torch.float64), torch.tensor([after], dtype=torch.float64), **flags,
        novelty=torch.tensor([new]), **options,
    )  # fmt: skip
    return {name: float(value) for name, value in terms.items()}


def test_terms_by_hand():
    terms = pay(3.0, 2.5, gamma=0.9, eta=0.1, new=1.0)
    assert terms == pytest.approx(
        {"reach": 0.0, "progress": 0.9 * -0.25 + 0.3, "novelty": 0.1, "step": -0.01, "collision": 0.0}
    )
    assert pay(3.0, 3.0, collided=True)["collision"] == -1.0


def test_on_arrival_the_potential_is_0():
    terms = pay(1.4, 0.9, reached=True, gamma=0.9)
    assert terms["reach"] == 1.0
    assert terms["progress"] == pytest.approx(0.14)
    ended = pay(3.0, 2.5, terminal=torch.tensor([True]))
    assert ended["progress"] == pytest.approx(0.3)
    assert ended["reach"] == 0.0


@given(st.lists(st.floats(0.0, 50.0), min_size=2, max_size=20), st.floats(0.5, 1.0))
def test_shaping_telescopes(distances, gamma):
    steps = itertools.pairwise(distances)
    total = sum(gamma**t * pay(a, b, gamma=gamma)["progress"] for t, (a, b) in enumerate(steps))
    first, last = -0.1 * distances[0], -0.1 * distances[-1]
    assert total == pytest.approx(gamma ** (len(distances) - 1) * last - first, abs=1e-9)


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=10))
def test_a_circle_earns_nothing(distances):
    loop = [*distances, distances[0]]
    total = sum(pay(a, b, gamma=1.0)["progress"] for a, b in itertools.pairwise(loop))
    assert total == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("wrong", [-1.0, math.nan])
def test_impossible_distances(wrong):
    with pytest.raises(ValueError, match="distance"):
        pay(wrong, 1.0)


def test_shapes_must_agree():
    two: Tensor = torch.ones(2)
    with pytest.raises(ValueError, match="one shape"):
        subgoal_reward(two, two, reached=NO, collided=NO, novelty=torch.zeros(1))
    with pytest.raises(ValueError, match="one shape"):
        subgoal_reward(two[None], two[None], reached=NO, collided=NO, novelty=NO)
