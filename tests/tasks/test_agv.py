"""The card's reference checks and pitfalls: kinematics, lidar, ends of episodes, rewards, movers, layouts."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon import tasks
from guerdon.tasks.agv import DT, GOAL_RADIUS, MOVER_SPEED, RADIUS, U_MAX, U_REV, W_MAX, AGVWarehouse
from guerdon.tasks.agv_layouts import CELL, LAYOUTS, Layout, look_up
from guerdon.tasks.agv_lidar import clearance, ranges

ROOM = Layout(size=(10.0, 10.0), start=(2.0, 5.0, 2.0, 5.0), goal=(9.0, 5.0, 9.0, 5.0), heading=(0.0, 0.0))
FAST = np.array([[1.0, 0.0]], np.float32)
ON = np.array([[0.0, 0.0]], np.float32)


def placed(x: float = 2.0, y: float = 5.0, heading: float = 0.0, speed: float = 0.0, **options) -> AGVWarehouse:
    task = AGVWarehouse(**{"num_envs": 1, "layout": ROOM, **options})
    task.reset(seed=0)
    task.place[0], task.heading[0], task.speed[0] = (x, y), heading, speed
    return task


def moved(task: AGVWarehouse, action=ON, times: int = 1):
    for _ in range(times):
        task.send(0, np.asarray(action, np.float32))
    return task.recv(0)


def test_at_one_metre_a_second_ten_steps_are_one_metre():
    task = placed(speed=1.0)
    moved(task, ON, 10)
    np.testing.assert_allclose(task.place[0], [3.0, 5.0], rtol=0, atol=1e-12)


def test_a_full_turn_comes_back():
    task, turns = placed(5.0, 5.0, heading=0.7), 100
    rate = 2 * np.pi / (W_MAX * DT * turns)
    moved(task, [[0.0, rate]], turns)
    assert task.heading[0] == pytest.approx(0.7 + 2 * np.pi)
    motion = task.recv(0).obs["motion"][0]
    np.testing.assert_allclose(motion[:2], [np.sin(0.7), np.cos(0.7)], atol=1e-6)
    np.testing.assert_array_equal(task.place[0], [5.0, 5.0])  # it stood


def test_speed_is_held_within_its_bounds():
    task = placed(y=8.0)
    moved(task, FAST, 20)
    assert task.speed[0] == U_MAX
    moved(task, -FAST, 9)
    assert task.speed[0] == pytest.approx(-U_REV)
    assert task.recv(0).obs["motion"][0, 2] == pytest.approx(-0.2)


def test_actions_beyond_one_count_as_one():
    one, ten = placed(), placed()
    moved(one, [[1.0, -1.0]])
    moved(ten, [[10.0, -10.0]])
    np.testing.assert_array_equal(one.place, ten.place)
    np.testing.assert_array_equal(one.heading, ten.heading)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_actions_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="AGVWarehouse: an action is not finite"):
        moved(placed(), [[0.0, bad]])


def test_what_place_and_motion_say():
    task = placed(4.0, 5.0, heading=np.pi / 2)
    task.goal[0] = (5.0, 7.0)
    shown = moved(task).obs  # at rest
    np.testing.assert_allclose(shown["place"][0], [0.4, 0.5])
    np.testing.assert_allclose(shown["motion"][0, :3], [1.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(shown["motion"][0, 3:] * np.hypot(10, 10), [2.0, -1.0], atol=1e-5)  # ahead, to the right


def test_lidar_in_an_empty_room():
    task = placed(5.0, 5.0)
    seen = moved(task).obs["lidar"][0]
    assert seen[0] * 6.0 == pytest.approx(5.0)  # ahead
    assert seen[4] * 6.0 == pytest.approx(5.0)  # left
    assert seen[2] == 1.0  # the corner is 7.07 m away: out of reach
    one = placed(5.0, 5.0, rays=1)
    assert moved(one).obs["lidar"].shape == (1, 1)


def test_lidar_sees_boxes_discs_and_its_own_place():
    at, size, no_discs = np.array([[5.0, 5.0]]), (10.0, 10.0), np.zeros((1, 0, 2))

    def ahead(boxes=(), discs=no_discs, heading=0.0):
        return ranges(at, np.array([heading]), 4, np.reshape(boxes, (-1, 4)).astype(float), discs, 0.5, size, 6.0)[0]

    np.testing.assert_allclose(ahead([[7, 4, 8, 6]]), [2, 5, 5, 5])
    np.testing.assert_allclose(ahead([[7, 5.01, 8, 6]]), [5, 5, 5, 5])  # just beside the ray
    np.testing.assert_allclose(ahead([[7, 4, 8, 6], [6, 4, 6.5, 6]]), [1, 5, 5, 5])  # the nearer hides the other
    np.testing.assert_allclose(ahead([[4, 4, 6, 6]]), [0, 0, 0, 0])
    np.testing.assert_allclose(ahead(discs=np.array([[[5.0, 8.0]]])), [5, 2.5, 5, 5])
    np.testing.assert_allclose(ahead(discs=np.array([[[8.0, 5.3]]])), [2.6, 5, 5, 5])  # 3 - sqrt(.5^2 - .3^2)
    np.testing.assert_allclose(ahead(discs=np.array([[[8.0, 5.51]]])), [5, 5, 5, 5])
    np.testing.assert_allclose(ahead(heading=np.pi / 4)[0], 6.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_ray_ends_where_walking_along_it_meets_something(seed):
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 8, (4, 2))
    boxes, discs = np.hstack([corner, corner + generator.uniform(0.3, 2, (4, 2))]), generator.uniform(0, 10, (1, 2, 2))
    at, heading = generator.uniform(0.1, 9.9, (1, 2)), generator.uniform(-4, 4, 1)
    seen = ranges(at, heading, 5, boxes, discs, 0.4, (10.0, 10.0), 6.0)[0]
    walk = np.arange(0, 6.0, 0.002)
    for k, length in enumerate(seen):
        angle = heading[0] + 2 * np.pi * k / 5
        points = at + walk[:, None] * [np.cos(angle), np.sin(angle)]
        free = clearance(points, boxes, (10.0, 10.0)) > 0
        free &= (((points[:, None] - discs[0]) ** 2).sum(-1) > 0.4**2).all(1)
        walked = 6.0 if free.all() else walk[free.argmin()]
        assert length <= walked + 1e-9 or abs(length - walked) < 0.01
        blocked = ~free[walk < length - 0.01]
        assert not blocked.any()


def test_reaching_the_goal_pays_one_and_ends():
    task = placed(9.0 - GOAL_RADIUS - 0.02, 5.0, speed=0.5)
    end = moved(task)
    assert end.reward[0] == 1
    assert end.terminated[0]
    assert end.finished[0]["success"] == 1
    assert end.finished[0]["collision"] == 0
    assert end.finished[0]["distance"] == pytest.approx(GOAL_RADIUS - 0.03)


@pytest.mark.parametrize("shelf", [None, (5.0, 4.0, 6.0, 6.0)])
def test_touching_a_wall_or_shelf_costs_one_and_ends(shelf):
    layout = Layout(size=(10.0, 10.0), start=ROOM.start, goal=ROOM.goal, shelves=(shelf,) if shelf else ())
    edge = 10.0 if shelf is None else 5.0
    task = placed(edge - RADIUS - 0.12, 5.0 if shelf else 2.0, speed=0.5, layout=layout)
    first = moved(task)
    assert first.reward[0] == 0
    moved(task)
    end = moved(task)
    assert end.reward[0] == -1
    assert end.terminated[0]
    assert end.finished[0]["success"] == 0
    assert end.finished[0]["collision"] == 1


def test_a_mover_is_an_obstacle_and_goes_back_and_forth():
    layout = Layout(size=(10.0, 10.0), start=ROOM.start, goal=ROOM.goal, tracks=((5.0, 2.0, 5.0, 8.0),))
    task = AGVWarehouse(num_envs=1, layout=layout, mover_velocities=True)
    task.reset(seed=0)
    task.phase[0, 0] = 0.0
    one, period = np.array([0]), 12.0 / MOVER_SPEED / DT
    for share, y, up in [(0, 2, 1), (0.25, 5, 1), (0.5 - 1e-8, 8, 1), (0.75, 5, -1), (1 - 1e-8, 2, -1)]:
        place, velocity = task.movers(one, np.array([share * period]))
        np.testing.assert_allclose(place[0, 0], [5.0, y], atol=1e-6)
        np.testing.assert_allclose(velocity[0, 0], [0.0, up * MOVER_SPEED])
    task.place[0], task.heading[0] = (5.0, 2.9), np.pi / 2
    end = moved(task)  # the mover comes from behind
    assert end.obs["movers"][0, :2] == pytest.approx([1.0, 0.0], abs=1e-6)  # as fast as movers are, ahead
    assert not end.obs["movers"][0, 2:].any()  # there is no second one
    while not end.terminated[0]:
        end = moved(task)
    assert end.finished[0]["collision"] == 1


def test_movers_show_in_the_lidar_only():
    with_movers, without = (tasks.make(f"AGV-S-{kind}", num_envs=4, seed=1) for kind in ("dynamic", "static"))
    without.reset(seed=1)
    different = False
    for _ in range(20):
        for task in (with_movers, without):
            task.send(0, np.tile(np.array([0.05, 0.1], np.float32), (4, 1)))
        a, b = with_movers.recv(0), without.recv(0)
        if a.terminated.any():
            break
        np.testing.assert_array_equal(a.obs["place"], b.obs["place"])
        np.testing.assert_array_equal(a.obs["motion"], b.obs["motion"])
        different |= bool((a.obs["lidar"] != b.obs["lidar"]).any())
    assert different


@pytest.mark.parametrize("reward", ["dense", "shaped"])
def test_progress_is_paid_in_metres(reward):
    task = AGVWarehouse(num_envs=1, layout=ROOM, reward=reward)
    task.reset(seed=0)
    task.speed[0] = 1.0
    paid = []
    while not task.over[0]:
        paid.append(float(moved(task).reward[0]))
    assert paid[0] == pytest.approx(0.1, abs=1e-3)
    assert sum(paid) == pytest.approx(1 + 7.0 - task.episode(0)["distance"], abs=0.05 if reward == "shaped" else 1e-5)


def test_a_step_cost_adds_up_to_minus_one():
    task = AGVWarehouse(num_envs=1, layout=ROOM, step_cost=True, steps=50)
    task.reset(seed=0)
    end = moved(task, ON, 50)
    assert end.truncated[0]
    assert end.finished[0]["return"] == pytest.approx(-1.0, abs=1e-5)


def test_driving_distance_goes_around_the_shelves():
    empty = ROOM.driving_distance(np.array([9.125, 5.125]), RADIUS)
    where = np.array([[2.125, 5.125], [9.125, 8.125], [6.125, 2.125]])
    np.testing.assert_allclose(look_up(empty, where), [7.0, 3.0, 3 * 2**0.5], atol=1e-6)
    wall = Layout(size=(10.0, 10.0), start=ROOM.start, goal=ROOM.goal, shelves=((5.0, 0.0, 6.0, 8.0),))
    around = wall.driving_distance(np.array([9.125, 5.125]), RADIUS)
    straight_legs = np.hypot(2.475, 3.275) + 1.8 + np.hypot(2.725, 3.275)  # past (4.6, 8.4) and (6.4, 8.4)
    assert straight_legs < look_up(around, where[:1])[0] < 1.1 * straight_legs + CELL
    assert np.isfinite(around).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_every_layout_following_the_driving_distance_leads_to_the_goal(layout):
    plan = LAYOUTS[layout]
    goal = np.add(plan.goal[:2], plan.goal[2:]) / 2
    field = plan.driving_distance(goal, RADIUS)
    for corner in np.reshape(plan.start, (2, 2)):
        cell = tuple((corner / CELL).astype(int)[::-1])
        for _ in range(400):
            y, x = cell
            near = [(v, u) for v in range(y - 1, y + 2) for u in range(x - 1, x + 2)]
            cell = min((c for c in near if max(c) < len(field) and min(c) >= 0), key=lambda c: field[c])
            middle = (np.array(cell[::-1]) + 0.5) * CELL
            assert clearance(middle[None], plan.boxes, plan.size)[0] >= RADIUS - CELL
            if field[cell] == 0:
                break
        assert field[cell] == 0
    if layout.startswith("C"):
        assert len(plan.shelves) == 12
        assert look_up(field, np.array([plan.start[:2]]))[0] < 300 * DT * U_MAX / 1.5  # in time, with room for detours
    assert len(plan.shelves) == (12 if layout[0] == "C" else 3)
    assert len(plan.tracks) == {"S-static": 0, "C-static": 0, "S-dynamic": 2, "C-dynamic": 5}[layout]


def test_starts_and_goals_are_drawn_from_their_zones():
    task = AGVWarehouse(num_envs=200, random_goal=True)
    task.reset(seed=0)
    plan = LAYOUTS["C-static"]
    for drawn, zone in ((task.place, plan.start), (task.goal, plan.goal)):
        assert (drawn >= zone[:2]).all()
        assert (drawn <= zone[2:]).all()
        assert (np.ptp(drawn, axis=0) > 0.9 * np.subtract(zone[2:], zone[:2])).all()
    fixed = AGVWarehouse(num_envs=3, random_start=False)
    fixed.reset(seed=0)
    np.testing.assert_allclose(fixed.place, [[1.5, 1.5]] * 3)
    np.testing.assert_allclose(fixed.heading, [np.pi / 4] * 3)


def test_cells_are_counted_over_all_games():
    task = placed(2.5, 5.5, speed=1.0, num_envs=1)
    task.visited[:] = False
    moved(task, ON, 10)
    assert task.visited.sum() == 2
    assert task.visited[5, 2:4].all()


def test_same_seed_and_actions_same_trajectory_alone_and_side_by_side():
    many = tasks.make("AGV-C-dynamic", num_envs=3, seed=7)
    env = gym.make("guerdon/AGV-C-dynamic-v0")
    obs, _ = env.reset(seed=9)  # game 2 of seed 7
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(obs["lidar"], many.recv(0).obs["lidar"][2])
    for _ in range(150):
        actions = generator.uniform(-1, 1, (3, 2)).astype(np.float32)
        obs, reward, terminated, truncated, _ = env.step(actions[2])
        many.send(0, actions)
        for key in obs:
            np.testing.assert_array_equal(obs[key], many.recv(0).obs[key][2])
        assert reward == many.recv(0).reward[2]
        if terminated or truncated:
            break


def test_the_picture_shows_where_things_are():
    task = placed(2.0, 2.0)
    before = task.picture(0)
    assert before.shape == (200, 200, 3)
    moved(task, FAST, 20)
    assert (task.picture(0) != before).any()
    assert tuple(before[200 - 100, 180]) == (56, 160, 90)  # the goal at (9, 5): 20 pixels a metre, y upwards


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layout": "D-static"}, "no layout is called 'D-static'; there are S-static"),
        ({"reward": "none"}, "'sparse', 'dense' or 'shaped'"),
        ({"rays": 0}, "rays must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"layout": Layout(start=(1, 1, 2, 2), goal=(5, 5, 6, 6), shelves=((5.5, 0, 7, 9),))}, "goal zone .* shelf"),
        ({"layout": Layout(start=(1, 1, 2, 2), goal=(5, 5, 6, 6), shelves=((2.3, 0, 3, 9),))}, "start zone .* shelf"),
        ({"layout": Layout(start=(0.1, 1, 2, 2), goal=(5, 5, 6, 6))}, "start zone .* outer wall"),
        ({"layout": Layout(start=(1, 1, 2, 2), goal=(2, 2, 6, 6))}, "overlap"),
        ({"layout": Layout(start=(1, 1, 2, 2), goal=(5, 5, 6, 6), tracks=((0, 2.7, 9, 2.7),))}, "runs into the start"),
        ({"layout": Layout(start=(2, 1, 1, 2), goal=(5, 5, 6, 6))}, "x0 <= x1"),
    ],
)
def test_impossible_worlds_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        AGVWarehouse(num_envs=1, **wrong)
