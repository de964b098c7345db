"""A walker on its map: entries once, failures, what is seen from where."""

import numpy as np

from guerdon.explore import Explorer, TopologicalMap

RAYS = np.arange(32) * np.pi / 16
SHUT = np.full(32, 1.0)
LOOK = {"descriptor": np.zeros((1, 8)), "offset": np.zeros((1, 2)), "confidence": np.zeros(1), "goal": None}


def at(x: float, y: float = 0.0) -> np.ndarray:
    return np.array([x, y])


def explorer() -> Explorer:
    made = Explorer(TopologicalMap(rays=RAYS, sight=6.0))
    made.settle(at(0), SHUT)
    return made


def test_waiting_is_one_entry():
    made = explorer()
    for _ in range(20):
        made.walk(at(0.1), 0.1, SHUT)
    assert made.places.visits.tolist() == [1]


def test_going_there_and_back_counts_entries_and_trips():
    made = explorer()
    other = made.places.insert(at(4))
    for x in (1, 2, 3, 4, 3, 2, 1, 0):
        made.walk(at(x), 1.0, SHUT)
    assert made.places.visits.tolist() == [2, 1]
    way = made.places.ways[0][other]
    assert (way.trips, way.successes, way.cost) == (2, 2, 4.0)


def test_a_path_is_followed_and_the_next_place_counts_where_two_are_near():
    made = explorer()
    places = made.places
    a, b = places.insert(at(4)), places.insert(at(8))
    decoy = places.insert(at(4.1), np.eye(8)[0])
    places.connect(0, a, 4.0)
    places.connect(a, b, 4.0)
    found, parent = made.options()
    assert sorted(found.node.tolist()) == [a, b]
    made.go(b, parent)
    assert made.path == [a, b]
    assert made.walk(at(4.1), 4.1, SHUT)
    assert made.here == a
    assert decoy != a
    assert not made.advance()
    np.testing.assert_array_equal(made.subgoal(), [8, 0])
    made.walk(at(7.5), 3.4, SHUT)
    assert made.arrived(at(7.5))
    assert made.advance()
    assert made.subgoal() is None


def test_failures_close_a_way_and_the_walker_finds_itself_again():
    made = explorer()
    wall = made.places.insert(at(6))
    made.places.connect(0, wall, 6.0)
    for _ in range(4):
        made.settle(at(0), SHUT)
        made.go(wall, made.options()[1])
        assert made.path == [wall]
        made.fail(at(0.2), SHUT)
    assert made.places.dead[wall]
    assert not len(made.options()[0].node)
    made.begin()
    assert made.here is None
    assert made.subgoal() is None


def test_a_landmark_or_goal_seen_from_afar_makes_that_spot_a_place():
    made = explorer()
    made.walk(at(3), 3.0, SHUT)
    assert len(made.places) == 1
    seen = LOOK | {"descriptor": np.eye(8)[:1], "offset": np.array([[0.0, 4.0]]), "confidence": np.ones(1)}
    made.look(at(3), SHUT, **seen)
    assert len(made.places) == 3
    here = made.here
    assert made.places.position[here].tolist() == [3.0, 0.0]
    assert made.places.landmark.tolist() == [False, False, True]
    assert made.places.ways[here].keys() == {0, 2}  # not from where it had come from
    made.walk(at(9), 6.0, SHUT)
    made.look(at(9), SHUT, **LOOK | {"goal": at(2, 0)})
    made.look(at(9), SHUT, **LOOK | {"goal": at(2, 0)})
    goal = made.places.goal_node()
    assert made.places.position[goal].tolist() == [11.0, 0.0]
    assert made.places.goal.sum() == 1


def test_a_door_that_opens_on_the_way_becomes_a_place():
    made = explorer()
    open_south = np.where(np.arange(32) == 24, 6.0, 1.0)
    made.walk(at(1.5), 1.5, open_south)
    assert len(made.places) == 1  # too little gone since the last scan
    made.walk(at(2.5), 1.0, open_south)
    assert made.places.frontier.sum() == 1
    np.testing.assert_allclose(made.places.position[-1], [2.5, -5.1])
    before = len(made.places)
    made.walk(at(4.6), 2.1, open_south)  # the same open ground, 2 m on
    assert len(made.places) == before
