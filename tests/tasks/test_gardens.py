"""Gardens: geometry by hand, what is seen, doors as the only way, ends, pictures, repeatability."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from guerdon import tasks
from guerdon.tasks.gardens import GOAL, HEADINGS, RAYS, REACH, SIGHT, SIZE, STRIDE, Gardens

EAST, NORTH, WEST = 0, 2, 4


def stand(task: Gardens, *places: tuple[float, float]) -> dict[str, np.ndarray]:
    """What the walkers see from these places."""
    task.position[:] = places
    return task._show()


def garden(**options) -> Gardens:
    task = Gardens(**{"num_envs": 1, "slip": 0.0, "blur": 0.0, "haze": 0.0, **options})
    task.reset(seed=0)
    return task


def test_rays_measure_the_way_to_the_fence_and_to_walls():
    task = garden(num_envs=2)
    ranges = stand(task, (2.0, 3.0), (13.0, 5.0))["ranges"]
    east, north, west, south = ranges[:, [0, 8, 16, 24]].T
    assert ranges.shape == (2, len(RAYS))
    np.testing.assert_allclose(west, [2.0, SIGHT], rtol=1e-5)
    np.testing.assert_allclose(south, [3.0, 5.0], rtol=1e-5)
    np.testing.assert_allclose(east, [SIGHT, 0.8], rtol=1e-5)  # the wall's face is at 13.8
    np.testing.assert_allclose(north, [SIGHT, SIGHT])
    np.testing.assert_allclose(ranges[0, 20], 2.0 * np.sqrt(2), rtol=1e-5)  # south-west, to the nearer fence


def test_a_step_is_half_a_metre_and_a_wall_stops_it():
    task = garden()
    stand(task, (13.0, 5.0))
    task.send(0, np.array([EAST]))  # the walker's edge would be at 13.75
    assert task.recv(0).obs["bump"] == [[0.0]]
    np.testing.assert_allclose(task.recv(0).obs["position"], [[13.0 + STRIDE, 5.0]])
    task.send(0, np.array([EAST]))
    assert task.recv(0).obs["bump"] == [[1.0]]
    np.testing.assert_allclose(task.recv(0).obs["position"], [[13.0 + STRIDE, 5.0]])
    task.send(0, np.array([WEST]))
    assert task.recv(0).obs["bump"] == [[0.0]]


@pytest.mark.parametrize("layout", range(8))
def test_the_goal_is_behind_two_doors_and_can_be_reached(layout):
    """On a grid of 0.2 m: no way if the first or the second door is shut, and a way if both are open."""
    task = garden(layout=layout)
    axis = np.arange(0.1, SIZE, 0.2)
    place = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)

    def reaches(shut: int | None) -> bool:
        walls = task.walls
        task.walls = walls if shut is None else np.vstack([walls, (shut - 0.2, 0, shut + 0.2, SIZE)])
        free = task.free(place)
        task.walls = walls
        known = np.zeros_like(free)
        known[30, 30] = True
        while True:
            grown = known.copy()
            grown[1:] |= known[:-1]
            grown[:-1] |= known[1:]
            grown[:, 1:] |= known[:, :-1]
            grown[:, :-1] |= known[:, 1:]
            grown &= free
            if (grown == known).all():
                return bool((known & (np.linalg.norm(place - GOAL, axis=-1) < REACH)).any())
            known = grown

    assert reaches(None)
    assert not reaches(14)
    assert not reaches(27)
    gardens = [(0, 14, 0, 40), (14, 27, 0, 40), (27, 40, 0, 22), (27, 40, 22, 40)]
    for west, east, south, north in gardens:
        x, y = task.landmarks.T
        assert ((west < x) & (x < east) & (south < y) & (y < north)).sum() == 3


def test_landmarks_are_seen_where_nothing_stands_between():
    task = garden()
    task.landmarks[:] = (3.0, 5.0)  # 8 m away
    task.landmarks[:2] = (12.0, 5.0), (16.0, 5.0)
    seen = stand(task, (11.0, 5.0))
    np.testing.assert_array_equal(seen["confidence"][0, :2], [1.0, 0.0])  # the second is behind the wall
    np.testing.assert_allclose(seen["offset"][0, 0], [1.0, 0.0])
    np.testing.assert_allclose(seen["descriptor"][0, 0], task.descriptors[0], rtol=1e-5)
    assert not seen["offset"][0, 1:].any()
    assert not seen["descriptor"][0, 1:].any()
    assert not seen["goal"].any()
    near = stand(task, tuple(GOAL + (-3.0, 1.0)))
    np.testing.assert_allclose(near["goal"], [[1.0, 3.0, -1.0]])


def test_noise_has_the_spread_that_was_asked_for():
    task = Gardens(num_envs=400, blur=0.3, haze=0.1)
    task.landmarks[:] = (30.0, 30.0)
    task.landmarks[0] = (7.0, 7.0)
    task.reset(seed=0)
    seen = stand(task, *[(6.0, 7.0)] * 400)
    assert seen["confidence"].sum(1).tolist() == [1.0] * 400
    offset, descriptor = seen["offset"][:, 0], seen["descriptor"][:, 0]
    np.testing.assert_allclose(offset.mean(0), [1.0, 0.0], atol=0.06)
    np.testing.assert_allclose(offset.std(0), 0.3, rtol=0.15)
    np.testing.assert_allclose((descriptor - task.descriptors[0]).std(), 0.1, rtol=0.1)


def test_the_goal_ends_an_episode_with_1_and_the_next_step_only_resets():
    task = garden(steps=5)
    stand(task, tuple(GOAL - (1.4, 0.0)))
    task.send(0, np.array([EAST]))
    step = task.recv(0)
    assert (step.reward[0], step.terminated[0], step.truncated[0], step.valid[0]) == (1.0, True, False, True)
    told = {"return": 1.0, "length": 1.0, "success": 1.0, "bumps": 0.0}
    assert told.items() <= step.finished[0].items()
    task.send(0, np.array([EAST]))
    step = task.recv(0)
    assert not step.valid[0]
    assert step.reward[0] == 0.0
    assert (step.obs["position"] < 12.0).all()


def test_time_truncates_and_cells_are_counted_once():
    task = garden(steps=3)
    stand(task, (5.2, 5.5))
    task.cells[:] = False
    for action in (EAST, EAST, WEST):
        task.send(0, np.array([action]))
    step = task.recv(0)
    assert step.truncated[0]
    assert not step.terminated[0]
    assert step.finished[0]["cells"] == 2.0  # 5.7, then 6.2, then 5.7 again


def test_one_game_equals_a_row_of_many():
    many = tasks.make("Gardens", num_envs=3, steps=20, layout=2, seed=5)
    singles = [gym.make("guerdon/Gardens-v0", steps=20, layout=2).unwrapped for _ in range(3)]
    shown = [env.reset(seed=5 + i)[0] for i, env in enumerate(singles)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        for key, rows in many.recv(0).obs.items():
            np.testing.assert_array_equal(rows, [obs[key] for obs in shown])
        actions = rng.integers(0, len(HEADINGS), 3)
        many.send(0, actions)
        shown = [env.step(int(a))[0] for env, a in zip(singles, actions, strict=True)]


def test_gymnasium_accepts_it_and_it_draws_itself():
    env = gym.make("guerdon/Gardens-v0", render_mode="rgb_array").unwrapped
    check_env(env, skip_render_check=True)
    env.reset(seed=1)
    before = env.render()
    assert before.shape == (320, 320, 3)
    assert before.dtype == np.uint8
    for action in (NORTH, NORTH, NORTH, NORTH):
        env.step(action)
    assert (env.render() != before).any()


def test_a_resumed_task_plays_other_games():
    task, resumed = (Gardens(num_envs=2) for _ in range(2))
    resumed.load_state_dict(task.state_dict())
    for made in (task, resumed):
        made.reset(seed=3)
    assert (task.recv(0).obs["position"] != resumed.recv(0).obs["position"]).any()


def test_misuse_is_told():
    with pytest.raises(ValueError, match="at least 1"):
        Gardens(num_envs=0)
    with pytest.raises(ValueError, match="standard deviations"):
        Gardens(num_envs=1, slip=-1.0)
    with pytest.raises(ValueError, match="layout"):
        tasks.make("Gardens", num_envs=1, layuot=1)
