"""Worlds that pay for all that was visited: what they pay, show and tell."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from guerdon import tasks
from guerdon.parts.marginal_gain import Coverage
from guerdon.tasks.coverage import (
    CoverageBandit,
    CoverageField,
    CoverageGrid,
    CoverageItems,
    SetFunctionTask,
    grid_moves,
    weight_map,
)

STAY, UP, DOWN, LEFT, RIGHT = range(5)
KINDS = [CoverageGrid, CoverageItems, CoverageField, CoverageBandit]


def play(task, actions):
    """The steps of one episode, all games alike; `actions` [H]."""
    task.reset(seed=0)
    steps = []
    for action in actions:
        task.send(0, np.full(task.num_envs, action))
        steps.append(task.recv(0))
    return steps


def test_a_walk_on_a_small_grid_by_hand():
    """3 x 3, radius 1: the corner covers 3 cells; then the middle of the top row adds 2, and staying adds nothing."""
    task = CoverageGrid(num_envs=2, rows=3, columns=3, horizon=4, radius=1.0, weights="constant")
    task.reset(seed=0)
    assert task.recv(0).obs["seen"][0].tolist() == [1, 1, 0, 1, 0, 0, 0, 0, 0]
    steps = play(task, [RIGHT, STAY, DOWN, UP])
    assert [float(s.reward[1]) for s in steps] == [2, 0, 2, 0]
    assert [int(s.obs["cell"][0]) for s in steps] == [1, 1, 4, 1]
    assert [int(s.obs["time"][0]) for s in steps] == [1, 2, 3, 4]
    assert steps[-1].obs["seen"][0].tolist() == [1, 1, 1, 1, 1, 1, 0, 1, 0]
    assert [bool(s.terminated.all()) for s in steps] == [False, False, False, True]
    told = {"return": 4, "length": 4, "value": 7, "success": 7 / 9, "overlap": pytest.approx(7 / (3 + 4 + 4 + 5 + 4))}
    assert steps[-1].finished == [told, told]


def test_the_next_episode_begins_with_nothing_covered():
    task = CoverageGrid(num_envs=1, rows=3, columns=3, horizon=2, radius=0.0, weights="constant")
    first = play(task, [RIGHT, RIGHT, UP, RIGHT, DOWN])
    assert [float(s.reward[0]) for s in first] == [1, 1, 0, 1, 1]
    assert [bool(s.valid[0]) for s in first] == [True, True, False, True, True]
    assert first[2].obs["seen"][0].sum() == 1
    assert first[-1].finished[0]["value"] == 3


def test_borders_hold_back():
    moves = grid_moves(2, 3)
    assert moves[0].tolist() == [0, 0, 3, 0, 1]
    assert moves[5].tolist() == [5, 2, 5, 4, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_telescope_to_the_value_of_the_episode(kind):
    task = kind(num_envs=5, slip=0.3, horizon=12)
    task.reset(seed=3)
    rng, cells, total = np.random.default_rng(0), [task.cell.copy()], np.zeros(5)
    start = task.value.copy()
    for _ in range(12):
        task.send(0, rng.integers(task.moves.shape[1], size=5))
        total += task.recv(0).reward
        cells.append(task.cell.copy())
    state = task.function.reset(5)
    for visited in cells:
        state = task.function.add(state, torch.from_numpy(visited))
    value = task.function.value(state).numpy()
    np.testing.assert_allclose(task.value, value, atol=1e-10)
    np.testing.assert_allclose(total, value - start, atol=1e-4)  # rewards are float32
    for i, told in enumerate(task.recv(0).finished):
        assert told["value"] == pytest.approx(value[i])
        assert told["success"] == pytest.approx(value[i] / task.total)


@pytest.mark.parametrize("kind", KINDS)
def test_total_is_the_value_of_all_cells(kind):
    options = {"rows": 4, "columns": 5} if kind in (CoverageGrid, CoverageField) else {}
    task = kind(num_envs=1, horizon=150, **options)
    state = task.function.reset(1)
    for cell in range(len(task.moves)):
        state = task.function.add(state, torch.tensor([cell]))
    assert float(task.function.value(state)) == pytest.approx(task.total)


def test_items_are_paid_up_to_their_demand():
    task = CoverageItems(num_envs=1, rows=1, columns=6, demand=[2, 1], supply=[3, 2], horizon=6, start=0)
    steps = play(task, [RIGHT] * 5)
    wanted, left = [], [2, 1]
    for kind in task.kind:
        paid = kind >= 0 and left[kind] > 0
        left[kind] -= paid
        wanted.append(float(paid))
    assert [float(s.reward[0]) for s in steps] == pytest.approx(wanted[1:])
    assert steps[-1].obs["seen"][0].tolist() == [1, 1]
    assert (np.bincount(task.kind[task.kind >= 0]) == [3, 2]).all()


def test_a_field_is_worth_more_where_nothing_is_known():
    task = CoverageField(num_envs=1, rows=5, columns=5, start=0, length=2.0, noise=0.5, horizon=2)
    stay = float(play(task, [STAY])[0].reward[0])
    go = float(play(task, [RIGHT])[0].reward[0])
    assert 0 < stay < go
    assert stay == pytest.approx(0.5 * np.log(1 + (1 - 1 / 1.5) / 0.5), abs=1e-6)


def test_any_cell_of_the_bandit_is_one_move_away():
    task = CoverageBandit(num_envs=30, horizon=1)
    task.reset(seed=0)
    task.send(0, np.arange(30))
    assert task.recv(0).obs["cell"].tolist() == list(range(30))
    covered = task.covers[0] | task.covers
    np.testing.assert_allclose(task.value, covered @ task.weights)


def test_slips_are_as_frequent_as_said():
    task = CoverageGrid(num_envs=400, rows=9, columns=9, horizon=1, start=40, slip=0.5)
    task.reset(seed=0)
    task.send(0, np.full(400, STAY))
    stayed = (task.cell == 40).mean()
    assert 0.52 < stayed < 0.68  # 0.5 + 0.5 / 5


def test_a_start_may_be_drawn():
    task = CoverageGrid(num_envs=200, rows=4, columns=4, start=None)
    task.reset(seed=0)
    assert len(set(task.recv(0).obs["cell"].tolist())) == 16


def test_maps():
    bumps = weight_map("bumps", 8, 8)
    assert bumps[1, 6] == pytest.approx(3.3, abs=0.01)
    assert bumps[6, 2] == pytest.approx(3.3, abs=0.01)
    assert bumps[0, 0] == pytest.approx(0.3, abs=0.01)
    assert weight_map("bimodal", 5, 5)[0, 4] == pytest.approx(1 / (1 + np.e))  # opposite corners alike, the others less
    assert weight_map("bimodal", 5, 5)[0, 0] == weight_map("bimodal", 5, 5)[4, 4]
    assert weight_map("linear", 2, 2).tolist() == [[0, 1], [2, 3]]
    random = weight_map("gp", 12, 12, 1)
    assert random.min() == 0
    assert np.abs(np.diff(random, axis=0)).max() < 0.5 * np.ptp(random), "smooth"
    assert (random == weight_map("gp", 12, 12, 1)).all()
    assert (random != weight_map("gp", 12, 12, 2)).any()
    own = CoverageGrid(num_envs=1, rows=1, columns=3, radius=0.0, weights=[[1, 2, 4]], horizon=2)
    assert [float(s.reward[0]) for s in play(own, [RIGHT, RIGHT])] == [2, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_batch_and_single_environment_show_the_same(kind):
    batch = tasks.make(kind.__name__, num_envs=3, start=None, slip=0.3, horizon=6, seed=11)
    singles = [gym.make(f"guerdon/{kind.__name__}-v0", start=None, slip=0.3, horizon=6) for _ in range(3)]
    shown = [env.reset(seed=11 + i)[0] for i, env in enumerate(singles)]
    rng = np.random.default_rng(0)
    for step in itertools.count():
        for i in range(3):
            for key, value in shown[i].items():
                np.testing.assert_array_equal(batch.recv(0).obs[key][i], value)
        if step == 6:
            break
        actions = rng.integers(batch.single_action_space.n, size=3)
        batch.send(0, actions)
        told = [env.step(int(a)) for env, a in zip(singles, actions, strict=True)]
        shown = [t[0] for t in told]
        assert batch.recv(0).reward.tolist() == [np.float32(t[1]) for t in told]
    assert batch.recv(0).finished == [t[4] for t in told]


@pytest.mark.parametrize("kind", KINDS)
def test_gymnasium_finds_nothing_wrong(kind):
    check_env(gym.make(f"guerdon/{kind.__name__}-v0").unwrapped, skip_render_check=True)


def test_a_picture():
    env = gym.make("guerdon/CoverageGrid-v0", rows=4, columns=6, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((48, 72, 3), np.uint8)
    assert picture[5, 5].tolist() == [255, 40, 40]
    env.step(RIGHT)
    r, g, b = env.render()[5, 5].tolist()
    assert r == b == g // 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CoverageGrid(num_envs=1, horizon=0), "horizon"),
        (lambda: CoverageGrid(num_envs=1, rows=0), "rows"),
        (lambda: CoverageGrid(num_envs=1, rows=2, columns=2, weights=[[1, -1], [1, 1]]), "at least 0"),
        (lambda: CoverageGrid(num_envs=1, rows=2, columns=2, weights=[[1, 1]]), "2 rows of 2"),
        (lambda: CoverageGrid(num_envs=1, weights="steep"), "'bumps'"),
        (lambda: CoverageGrid(num_envs=1, start=900), "start"),
        (lambda: CoverageGrid(num_envs=1, slip=1.5), "slip"),
        (lambda: CoverageItems(num_envs=1, supply=[200] * 6), "fit on 105"),
        (lambda: CoverageItems(num_envs=1, demand=[1]), "as long"),
        (lambda: CoverageField(num_envs=1, rows=2, columns=2, length=0), "length"),
        (lambda: CoverageField(num_envs=1, rows=2, columns=2, noise=0, start=0), "noise"),
        (lambda: CoverageBandit(num_envs=1, cells=0), "cells"),
        (lambda: CoverageBandit(num_envs=1, density=0.0), "density"),
        (
            lambda: SetFunctionTask(
                num_envs=1, function=Coverage.discs((3,)), total=3.0, moves=np.array([[0], [3], [1]]), horizon=2
            ),
            "lead to cells",
        ),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(ValueError, match=says):
        make()
