"""Who acts, when a wall is met, and when that is a danger."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.priority import first_triggered, in_danger, time_to_collision

RAYS = np.arange(32) * np.pi / 16
HEADINGS = np.arange(8) * np.pi / 4


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_lower_level_acts_only_when_no_higher_one_is_triggered(rows):
    triggers = np.array(rows)
    for column, level in enumerate(first_triggered(triggers)):
        assert not triggers[:level, column].any()
        assert triggers[level, column] or level == len(rows) - 1


def test_triggers_must_be_levels_by_agents():
    for wrong in (np.zeros((0, 3)), np.zeros(3)):
        with pytest.raises(ValueError, match="levels, agents"):
            first_triggered(wrong)


def test_time_to_a_wall_ahead_by_hand():
    """A wall 2 m to the east, everything else far: 2 - 0.25 m are left, at 0.5 m a step."""
    wall = np.full((1, 32), 100.0)
    wall[0, 0] = 2.0
    ahead = time_to_collision(wall, RAYS, HEADINGS, radius=0.25, stride=0.5)
    assert ahead[0, 0] == pytest.approx(1.75 / 0.5)
    assert ahead[0, 4] == pytest.approx((100 - 0.25) / 0.5)


def test_a_post_beside_the_way_is_met_by_the_bodys_side():
    ranges = np.full((1, 32), 100.0)
    ranges[0, 1] = 1.0  # 11.25 degrees to the left of east: 0.98 m ahead, 0.195 m aside
    ahead = time_to_collision(ranges, RAYS, HEADINGS, radius=0.25, stride=0.5)
    gap = np.cos(np.pi / 16) - np.sqrt(0.25**2 - np.sin(np.pi / 16) ** 2)
    assert ahead[0, 0] == pytest.approx(gap / 0.5)
    ranges[0, 1] = 2.0  # 0.39 m aside: the body passes
    assert time_to_collision(ranges, RAYS, HEADINGS, radius=0.25, stride=0.5)[0, 0] > 100


def test_nothing_ahead_is_never_met():
    ranges = np.full((1, 3), 1.0)
    rays = np.array([np.pi / 2, np.pi, -np.pi / 2])
    assert time_to_collision(ranges, rays, np.zeros(1), radius=0.25, stride=0.5)[0, 0] == np.inf


@given(st.lists(st.floats(0.0, 6.0), min_size=4, max_size=4), st.floats(0.0, 10.0))
def test_safety_never_fires_at_0_and_always_at_infinity(ranges, ahead):
    seen, when = np.array([ranges]), np.array([ahead])
    assert not in_danger(seen, when, d_safe=0.0, tau_safe=0.0).any()
    assert in_danger(seen, when, d_safe=np.inf, tau_safe=0.0).all()


def test_danger_by_distance_or_by_time():
    ranges = np.array([[0.4, 3.0], [0.6, 3.0], [0.6, 3.0]])
    danger = in_danger(ranges, np.array([9.0, 9.0, 1.0]), d_safe=0.5, tau_safe=1.2)
    assert danger.tolist() == [True, False, True]
