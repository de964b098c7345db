import numpy as np
import pytest

from guerdon.tasks.deep_sea import DeepSea


def dive(task: DeepSea, right) -> list:
    """Plays one episode in all games: `right` [N] says where to go right."""
    task.reset(seed=0)
    steps = []
    for row, go in enumerate(right):
        which = task.right[row, task._column]
        task.send(0, which if go else 1 - which)
        steps.append(task.recv(0))
    return steps


def test_only_right_all_the_way_finds_the_treasure():
    task = DeepSea(num_envs=3, size=8)
    steps = dive(task, [True] * 8)
    np.testing.assert_allclose(sum(s.reward for s in steps), 0.99, rtol=1e-6)
    assert steps[-1].terminated.all()
    assert not any(s.terminated.any() for s in steps[:-1])
    assert steps[-1].finished[0] == {"return": pytest.approx(0.99), "length": 8, "success": 1, "cells": 8}


@pytest.mark.parametrize("wrong", range(8))
def test_one_step_to_the_left_loses_it(wrong):
    steps = dive(DeepSea(num_envs=1, size=8), [row != wrong for row in range(8)])
    assert float(sum(s.reward for s in steps)[0]) == pytest.approx(-0.01 * 7 / 8)
    assert steps[-1].finished[0]["success"] == 0


def test_left_is_free_and_stays_at_the_edge():
    task = DeepSea(num_envs=1, size=5)
    steps = dive(task, [False] * 5)
    assert sum(float(s.reward[0]) for s in steps) == 0
    assert [int(s.obs["obs"][0].argmax()) for s in steps[:-1]] == [5, 10, 15, 20]
    assert not steps[-1].obs["obs"].any()  # the last observation shows nobody


def test_coordinates():
    task = DeepSea(num_envs=1, size=4, observation="coordinates")
    steps = dive(task, [True, True, False, True])
    np.testing.assert_array_equal(steps[1].obs["obs"][0], [0.5, 0.5])
    np.testing.assert_array_equal(steps[3].obs["obs"][0], [1.0, 0.5])


def test_the_mapping_belongs_to_its_seed():
    assert (DeepSea(num_envs=1, mapping=3).right == DeepSea(num_envs=1, mapping=3).right).all()
    assert (DeepSea(num_envs=1, mapping=3).right != DeepSea(num_envs=1, mapping=4).right).any()
    assert (DeepSea(num_envs=1, mapping=None).right == 1).all()
    assert 0.4 < DeepSea(num_envs=1, size=50).right.mean() < 0.6


def test_all_cells_that_can_be_reached_and_no_others_are_counted():
    task = DeepSea(num_envs=64, size=5)
    generator = np.random.default_rng(0)
    task.reset(seed=0)
    for _ in range(600):
        task.send(0, generator.integers(0, 2, 64))
    assert task.visited.sum() == 15
    assert (task.visited == np.tri(5, dtype=bool)).all()


@pytest.mark.parametrize("wrong", [{"size": 0}, {"observation": "pixels"}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match="DeepSea"):
        DeepSea(num_envs=1, **wrong)
