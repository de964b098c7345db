"""Scores of places by hand, and the choice."""

import numpy as np
import pytest

from guerdon.explore import TopologicalMap, candidates, choose, novelty


def fork(**options) -> TopologicalMap:
    """0 in the middle, 1 at 2 m, 2 at 4 m, 3 without a way."""
    made = TopologicalMap(match_radius=0.5, **options)
    for x in (0.0, 2.0, -4.0, 30.0):
        made.insert(np.array([x, 0.0]))
    made.connect(0, 1, 2.0)
    made.connect(0, 2, 4.0)
    return made


def test_novelty():
    np.testing.assert_allclose(novelty(np.array([0, 1, 3, 8])), [1, 0.7071, 0.5, 0.3333], atol=5e-5)
    np.testing.assert_allclose(novelty(np.array([0, 2, 4]), kind="exponential", scale=2.0), np.exp([0, -1, -2]))
    with pytest.raises(ValueError, match="root"):
        novelty(np.zeros(1), kind="linear")  # type: ignore[arg-type]


def test_scores_by_hand():
    made = fork()
    made.visits[1] = 3
    found = candidates(made, made.costs(0)[0], 0, w_nov=1.0, w_goal=1.0, w_cost=0.5)
    assert sorted(found.node.tolist()) == [1, 2]  # not here, and not what no way leads to
    by_node = dict(zip(found.node.tolist(), found.score.tolist(), strict=True))
    assert by_node == pytest.approx({1: 0.5 - 0.5 * 0.5, 2: 1.0 - 0.5})
    assert not found.proximity.any()  # an unknown goal


def test_proximity_once_the_goal_is_known():
    made = fork()
    goal = made.insert(np.array([6.0, 0.0]), goal=True)
    made.connect(1, goal, 4.0)
    found = candidates(made, made.costs(0)[0], 0, w_nov=0.0, w_goal=2.0, w_cost=0.0)
    by_node = dict(zip(found.node.tolist(), found.score.tolist(), strict=True))
    assert by_node == pytest.approx({1: 2 * (1 - 4 / 10), 2: 0.0, goal: 2.0})


def test_the_choice_depends_on_visits():
    made = fork()
    cost = made.costs(0)[0]

    def chosen() -> int:
        found = candidates(made, cost, 0)
        return int(found.node[choose(made, found, found.score)])

    assert chosen() == 1  # both are new, this one is nearer
    made.visits[1] = 9
    assert chosen() == 2
    assert [int(n) for n in candidates(made, cost, 0).best(1).node] == [2]


def test_without_a_goal_and_anything_new_the_least_visited():
    made = fork()
    made.visits[[1, 2]] = 5, 4
    found = candidates(made, made.costs(0)[0], 0)
    value = np.where(found.node == 1, 100.0, 0.0)
    assert found.node[choose(made, found, value)] == 2
    made.insert(np.array([30.0, 0.0]), goal=True)
    assert found.node[choose(made, found, value)] == 1


def test_nowhere_to_go():
    made = fork()
    found = candidates(made, made.costs(3)[0], 3)
    assert not len(found.node)
    with pytest.raises(ValueError, match="scan again"):
        choose(made, found, found.score)
