"""FourRooms and NoisyTV."""

import numpy as np
import pytest

from guerdon import tasks
from guerdon.tasks.grid import FourRooms, Grid
from guerdon.tasks.noisy_tv import REMOTE, TV, NoisyTV

UP, RIGHT, DOWN, LEFT = range(4)


def walk(task: Grid, *actions: int):
    for action in actions:
        task.send(0, np.full(task.num_envs, action))
    return task.recv(0)


def started(kind, **options):
    task = kind(**{"num_envs": 1, **options})
    task.reset(seed=0)
    return task


def test_walls_and_edges_stop_the_walker():
    task = started(FourRooms, size=9)  # walls in row and column 4, doors at 2 and 6
    walk(task, UP, LEFT)
    assert task.cell[0].tolist() == [0, 0]
    walk(task, *[RIGHT] * 5)
    assert task.cell[0].tolist() == [0, 3]
    walk(task, DOWN, DOWN, *[RIGHT] * 9)
    assert task.cell[0].tolist() == [2, 8]


def test_the_far_corner_pays_one_and_ends():
    task = started(FourRooms, size=9)
    end = walk(task, DOWN, DOWN, *[RIGHT] * 6, *[DOWN] * 6)
    assert end.reward[0] == 0
    assert not end.terminated[0]
    end = walk(task, RIGHT, RIGHT)
    assert end.reward[0] == 1
    assert end.terminated[0]
    assert end.finished[0] == {"return": 1, "length": 16, "success": 1, "cells": 17}


def test_all_rooms_of_forty_by_forty_can_be_reached():
    task = FourRooms(num_envs=1)
    assert (~task.walls).sum() == 40 * 40 - 79 + 4
    seen, edge = {(0, 0)}, [(0, 0)]
    while edge:
        r, c = edge.pop()
        for v, u in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            if 0 <= v < 40 and 0 <= u < 40 and not task.walls[v, u] and (v, u) not in seen:
                seen.add((v, u))
                edge.append((v, u))
    assert len(seen) == 1525


@pytest.mark.parametrize("kind", [FourRooms, NoisyTV])
@pytest.mark.parametrize("observation", ["one-hot", "coordinates"])
def test_places_are_told_apart_and_read_back(kind, observation):
    task, generator, seen = started(kind, num_envs=8, observation=observation), np.random.default_rng(0), {}
    for _ in range(300):
        step = walk(task) if not seen else (task.send(0, generator.integers(0, 4, 8)), task.recv(0))[1]
        rows, columns = task.where(step.obs["place"])
        np.testing.assert_array_equal(np.stack([rows, columns], 1), task.cell)
        for place, cell in zip(step.obs["place"], task.cell.tolist(), strict=True):
            assert seen.setdefault(place.tobytes(), cell) == cell
    assert len(seen) > 20


def test_the_remote_redraws_the_screen_near_the_tv_only():
    task = started(NoisyTV, steps=400)
    assert not walk(task, REMOTE).obs["patch"].any()  # too far away
    walk(task, DOWN, DOWN, RIGHT, RIGHT)
    assert task.near_tv[tuple(task.cell[0])]
    first = task.recv(0).obs["patch"].copy()
    np.testing.assert_array_equal(walk(task, RIGHT).obs["patch"], first)  # it stays until the remote is used
    screens = {walk(task, REMOTE).obs["patch"].tobytes() for _ in range(100)}
    assert 60 < len(screens) <= 100  # of 256; 83 expected
    assert np.mean([walk(task, REMOTE).obs["patch"] for _ in range(200)]) == pytest.approx(0.5, abs=0.05)


def test_without_noise_the_screen_is_still():
    task = started(NoisyTV, noise=False, num_envs=2)
    walk(task, DOWN, DOWN, RIGHT, RIGHT)
    screens = {walk(task, REMOTE).obs["patch"].tobytes() for _ in range(40)}
    assert len(screens) == 1


def test_screens_belong_to_the_seed_and_the_game():
    def screens(seed):
        task = NoisyTV(num_envs=3)
        task.reset(seed=seed)
        walk(task, DOWN, DOWN, RIGHT, RIGHT)
        return np.array([walk(task, REMOTE).obs["patch"].copy() for _ in range(10)])

    a, b = screens(1), screens(2)
    np.testing.assert_array_equal(a, screens(1))
    np.testing.assert_array_equal(a[:, 1], b[:, 0])
    assert (a[:, 0] != a[:, 1]).any()


def test_the_corridor_shows_the_same_pattern_always():
    task = started(NoisyTV, num_envs=2, steps=300)
    assert task.corridor.sum() == 11  # 5 % of the cells
    seen = []
    for _ in range(2):
        walk(task, *[RIGHT] * 14, *[DOWN] * 14, *[LEFT] * 3)
        assert not task.recv(0).obs["patch"].any()
        shown = [walk(task, LEFT).obs["patch"].copy() for _ in range(11)]
        assert task.cell[0].tolist() == [14, 0]
        seen.append(shown)
        walk(task, *[RIGHT] * 14, *[UP] * 14, *[LEFT] * 14)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert len({s[0].tobytes() for s in seen[0]}) == 11
    assert (np.array(started(NoisyTV, pattern=1)._patterns) != task._patterns).any()
    assert walk(task, UP).obs["patch"][0].sum() == 0


def test_what_an_episode_tells():
    task = started(NoisyTV, steps=10)
    walk(task, DOWN, DOWN, RIGHT, RIGHT)
    end = walk(task, *[REMOTE] * 6)
    assert end.truncated[0]
    told = end.finished[0]
    # near the TV after the third and fourth move, and from there on
    assert told == {"return": 0, "length": 10, "success": 0, "cells": 5, "tv": 0.8, "remote": 0.6, "corridor": 0}
    other = started(NoisyTV, steps=60)
    assert walk(other, *[RIGHT] * 14, *[DOWN] * 14, *[LEFT] * 32).finished[0]["corridor"] == 1


def test_the_tv_is_seen_from_two_cells_away_also_across():
    task = NoisyTV(num_envs=1)
    assert task.near_tv.sum() == 25
    assert task.near_tv[TV[0] + 2, TV[1] - 2]
    assert not task.near_tv[TV[0] + 3, TV[1]]
    assert not (task.near_tv & task.corridor).any()


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("FourRooms", {"size": 4}, "size must be at least 5"),
        ("FourRooms", {"observation": "pixels"}, "FourRooms: observation is"),
        ("NoisyTV", {"steps": 0}, "NoisyTV: num_envs and steps"),
        ("NoisyTV", {"noisy": True}, "NoisyTV has no option 'noisy'; there is noise"),
    ],
)
def test_impossible_options_are_refused(name, wrong, said):
    with pytest.raises(ValueError, match=said):
        tasks.make(name, num_envs=1, **wrong)
