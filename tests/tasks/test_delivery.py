"""Delivery: what moves pay, ends, the tables of a board, and boards by seed."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from guerdon import tasks
from guerdon.tasks.delivery import COIN, FEATURES, GAS, GOAL, MUD, ROADBLOCK, SHEEP, WEIGHTS, Delivery
from guerdon.tasks.grid import MOVES

RIGHT = 1


def car(**options) -> Delivery:
    """A car at the left of the second row of an empty board without mud."""
    task = Delivery(**{"num_envs": 1, "size": 5, **options})
    task.walls[:] = task.ends[:] = False
    task.board[:] = 0
    task.board[..., GAS] = 1
    task.reset(seed=0)
    task.cell[:] = (1, 0)
    return task


@pytest.mark.parametrize(
    ("entered", "paid", "ends"),
    [
        ([GAS], -1, False),
        ([MUD], -2, False),
        ([GAS, COIN], 0, False),
        ([MUD, COIN], -1, False),
        ([GAS, ROADBLOCK], -2, False),
        ([GOAL], 50, True),
        ([SHEEP], -50, True),
    ],
)
def test_a_move_pays_what_lies_where_it_leads(entered, paid, ends):
    task = car()
    task.board[1, 1] = 0
    task.board[1, 1, entered] = 1
    task.ends[1, 1] = ends
    task.send(0, np.array([RIGHT]))
    step = task.recv(0)
    assert step.reward[0] == paid
    assert step.terminated[0] == ends
    assert np.flatnonzero(step.obs["features"][0]).tolist() == sorted(entered)
    assert step.obs["state"][0] == 6


@pytest.mark.parametrize("by", ["wall", "edge"])
def test_a_move_that_leads_nowhere_pays_the_ground_alone(by):
    task = car()
    place = (1, 1) if by == "wall" else (1, 4)
    task.cell[:] = place
    task.board[place] = 0
    task.board[place][[MUD, COIN]] = 1
    task.walls[1, 2] = by == "wall"
    task.send(0, np.array([RIGHT]))
    assert task.recv(0).reward[0] == -2
    assert tuple(task.cell[0]) == place


@pytest.mark.parametrize("size", [5, 10])
def test_the_tables_say_what_the_task_does(size):
    task = Delivery(num_envs=16, size=size, board=3)
    transition, features, start = task.arrays()
    assert transition.shape == (size**2, 4, size**2)
    np.testing.assert_array_equal(transition.sum(-1), 1)
    assert np.flatnonzero(start).tolist() == sorted((task.starts * [size, 1]).sum(1).tolist())
    rng = np.random.default_rng(0)
    task.reset(seed=0)
    assert set(task.recv(0).obs["state"].tolist()) <= set(np.flatnonzero(start).tolist())
    for _ in range(300):
        before, action = task.recv(0).obs["state"].copy(), rng.integers(0, 4, 16)
        task.send(0, action)
        step = task.recv(0)
        rows = np.flatnonzero(step.valid)
        np.testing.assert_array_equal(transition[before, action, step.obs["state"]][rows], 1)
        np.testing.assert_allclose(features[before, action][rows], step.obs["features"][rows])
        np.testing.assert_allclose(features[before, action][rows] @ WEIGHTS, step.reward[rows])


def test_ends_and_houses_lead_to_themselves_and_pay_nothing():
    task = Delivery(num_envs=1, board=1)
    transition, features, start = task.arrays()
    still = np.flatnonzero((task.ends | task.walls).ravel())
    assert len(still) == 1 + 4 + 6
    np.testing.assert_array_equal(transition[still, :, still], 1)
    assert not features[still].any()
    assert not start[still].any()


def test_boards_belong_to_their_seed_and_can_all_be_solved():
    boards = [Delivery(num_envs=1, size=6, board=b) for b in range(40)]
    assert (boards[1].board == Delivery(num_envs=1, size=6, board=1).board).all()
    assert (boards[1].board != boards[2].board).any()
    for task in boards:
        assert task.board[..., GOAL].sum() == 1
        reached, edge = set(), [tuple(p) for p in np.argwhere(task.board[..., GOAL] > 0)]
        while edge:
            place = edge.pop()
            for move in MOVES:
                near = tuple(np.clip(np.array(place) + move, 0, 5).tolist())
                if near not in reached and not task.walls[near] and not task.ends[near]:
                    reached.add(near)
                    edge.append(near)
        assert reached == {tuple(p) for p in task.starts.tolist()}


def test_it_is_a_gymnasium_environment_and_told_what_was_paid():
    env = gym.make("guerdon/Delivery-v0", size=4, steps=20, render_mode="rgb_array").unwrapped
    check_env(env, skip_render_check=True)
    assert "Delivery" in tasks.names()
    env.reset(seed=1)
    total = np.zeros(len(FEATURES))
    for _ in range(20):
        obs, _, terminated, truncated, told = env.step(env.action_space.sample())
        total += obs["features"]
        if terminated or truncated:
            break
    assert [told[name] for name in FEATURES] == total.tolist()
    assert told["return"] == pytest.approx(float(total @ WEIGHTS))
    assert np.shape(env.render()) == (48, 48, 3)


def test_a_board_too_small_is_refused():
    with pytest.raises(ValueError, match="Delivery: size must be at least 3"):
        Delivery(num_envs=1, size=2)
