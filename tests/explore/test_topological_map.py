"""The map: matching, entries, ways, frontiers, pruning, merging, cheapest paths, and what it says to bad input."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.explore import TopologicalMap
from guerdon.explore.topological_map import trace

networkx = pytest.importorskip("networkx", reason="needs networkx")
RAYS = np.arange(32) * np.pi / 16
A, B = np.eye(4)[0], np.eye(4)[1]


def at(x: float, y: float = 0.0) -> np.ndarray:
    return np.array([x, y])


def places(**options) -> TopologicalMap:
    return TopologicalMap(**{"descriptor_size": 4, "rays": RAYS, "sight": 6.0, **options})


def line(*xs: float, **options) -> TopologicalMap:
    """Spots of free space along a line, each with a way to the next."""
    made = places(**options)
    nodes = [made.insert(at(x)) for x in xs]
    for a, b in itertools.pairwise(nodes):
        made.connect(a, b, abs(xs[b] - xs[a]))
    return made


def test_the_same_detection_twice_is_one_place():
    made = places()
    first = made.insert(at(3, 4), A, landmark=True)
    assert made.insert(at(3, 4), A, landmark=True) == first
    assert len(made) == 1
    assert made.sightings[first] == 2


def test_a_match_needs_descriptor_and_position():
    made = places(match_similarity=0.8, match_radius=1.0)
    first = made.insert(at(0), A)
    assert made.match(at(0.9), A) == first
    assert made.match(at(1.1), A) is None  # looks the same, too far away
    assert made.match(at(0.1), B) is None  # here, and looks different
    assert made.match(at(0.1)) is None  # nothing to be known by
    near = np.array([0.85, math.sqrt(1 - 0.85**2), 0, 0])
    assert made.match(at(0.1), 5 * near) == first  # the cosine counts, not the length
    far = np.array([0.75, math.sqrt(1 - 0.75**2), 0, 0])
    assert made.match(at(0.1), far) is None


def test_of_two_matches_the_nearer_one():
    made = places(match_radius=1.0)
    left, right = made.insert(at(0)), made.insert(at(1.5))
    assert made.match(at(0.6)) == left
    assert made.match(at(0.9)) == right


def test_a_place_moves_to_the_mean_of_its_sightings():
    made = places()
    node = made.insert(at(0), A)
    made.insert(at(0.6), A)
    made.insert(at(0.3, 0.9), A)
    np.testing.assert_allclose(made.position[node], [0.3, 0.3])


@given(st.integers(0, 10_000), st.floats(0.0, 0.3))
@settings(max_examples=20)
def test_noise_makes_no_duplicates_and_look_alikes_stay_apart(seed, noise):
    """Four landmarks, two of which look the same, seen 50 times each."""
    rng = np.random.default_rng(seed)
    spots, looks = [at(0), at(10), at(0, 10), at(10, 10)], [A, A, B, np.eye(4)[2]]
    made = places()
    for _ in range(50):
        for spot, look in zip(spots, looks, strict=True):
            step = np.clip(noise * rng.standard_normal(2), -0.35, 0.35)
            made.insert(spot + step, look + 0.1 * np.clip(rng.standard_normal(4), -1, 1), landmark=True)
    assert len(made) == 4


def test_detections_that_are_no_numbers_are_dropped_and_counted():
    made = places()
    here = made.insert(at(0))
    looks = np.stack([A, np.full(4, np.nan), B, np.zeros(4), A, A])
    offsets = np.array([[2.0, 0], [1, 1], [np.inf, 0], [1, 1], [3, 3], [4, 4]])
    scores = np.array([1.0, 1.0, 1.0, 1.0, 0.5, np.nan])  # 0.5 is not above the least confidence
    found = made.detect(here, at(0), looks, offsets, scores)
    assert len(found) == 1
    assert made.dropped == 4
    assert made.landmark[found[0]]
    assert made.ways[here][found[0]].cost == 2.0
    assert not made.unknown(at(0), looks[:1], offsets[:1], scores[:1])
    assert made.unknown(at(0), B[None], offsets[:1], scores[:1])
    with pytest.raises(ValueError, match="finite"):
        made.insert(at(np.nan))


def test_entries_are_counted_and_costs_are_means_over_trips():
    made = line(0, 4)
    assert made.enter(0)
    assert not made.enter(0)
    way = made.ways[0][1]
    assert way.cost == 4.0  # an estimate
    assert made.enter(1, 0, 6.0)
    assert way.cost == 6.0  # the first trip replaces it
    made.enter(0, 1, 5.0)
    assert (way.cost, way.trips) == (5.5, 2)
    assert made.visits.tolist() == [3, 1]
    assert way is made.ways[1][0]


def test_reliability_and_dead_ways():
    made = line(0, 4, 8)
    way = made.ways[0][1]
    assert way.reliability == 0.5
    for _ in range(3):
        made.fail(0, 1)
    assert way.reliability == pytest.approx(0.2)
    assert made.live(way)
    made.fail(1, 0)
    assert way.reliability == pytest.approx(1 / 6)
    assert made.path(0, 2) == []
    made.enter(1, 0, 4.0)  # it can be gone after all
    assert made.path(0, 2) == [1, 2]
    made.fail(0, 77)  # no such way: nothing to blame


def test_pruning_takes_what_no_live_way_leads_to():
    made = line(0, 4, 8)
    for _ in range(4):
        made.fail(1, 2)
    assert made.prune(keep=[0]) == [2]
    assert len(made) == 2
    assert made.dead.tolist() == [False, False, True]
    assert made.match(at(8)) is None
    assert 2 not in made.ways[1]


def test_merging_closes_loops_and_never_over_a_distance():
    made = places()
    a, b, c = made.insert(at(0), A), made.insert(at(5)), made.insert(at(1.2), A)
    far = made.insert(at(9), A)
    for x, y in ((a, b), (b, c), (c, far)):
        made.connect(x, y, 3.0)
    made.enter(a)
    made.enter(c)
    made.enter(c)
    assert made.merge() == {}
    made.position[c] = at(0.8)  # drift is corrected
    assert made.merge() == {c: a}
    assert made.visits[a] == 3
    assert set(made.ways[a]) == {b, far}
    assert made.dead[c]
    np.testing.assert_allclose(made.position[a], at(0.4))
    assert not made.dead[far]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_costs_are_those_of_networkx(seed):
    rng = np.random.default_rng(seed)
    made, graph = places(match_radius=1e-6), networkx.Graph()
    nodes = [made.insert(spot) for spot in rng.uniform(0, 40, (12, 2))]
    graph.add_nodes_from(nodes)
    for _ in range(16):
        a, b = rng.choice(12, 2, replace=False).tolist()
        way = made.connect(a, b, float(rng.uniform(0.1, 9)))
        way.successes, way.failures = rng.integers(0, 4, 2).tolist()
    for a, others in made.ways.items():
        for b, way in others.items():
            if (1 + way.successes) / (2 + way.successes + way.failures) >= 0.2:
                graph.add_edge(a, b, weight=way.cost / way.reliability)
    cost, parent = made.costs(0)
    expected = networkx.single_source_dijkstra_path_length(graph, 0)
    assert cost == pytest.approx(expected)  # and what cannot be reached is in neither
    for node in cost:
        path = trace(parent, 0, node)
        assert networkx.path_weight(graph, [0, *path], "weight") == pytest.approx(cost[node])
        assert made.path(0, node) == path


def test_scanning_finds_frontiers_where_rays_met_nothing():
    made = places()
    here = made.insert(at(0))
    ranges = np.full(32, 3.0)
    ranges[[0, 16]] = 6.0  # open to the east and to the west
    new = made.scan(here, at(0), ranges)
    np.testing.assert_allclose(made.position[new], [[5.1, 0], [-5.1, 0]], atol=1e-9)
    assert made.frontier[new].all()
    assert set(made.ways[here]) == set(new)
    assert made.scan(here, at(0), ranges) == []  # they are known


def test_frontiers_keep_their_distance():
    made = places(spacing=2.0)
    here = made.insert(at(0))
    new = made.scan(here, at(0), np.full(32, 6.0))
    spots = made.position[new]
    gaps = np.linalg.norm(spots[:, None] - spots, axis=-1)[~np.eye(len(spots), dtype=bool)]
    assert gaps.min() >= 2.0
    assert len(spots) == 10  # every third ray: two neighbours on the circle of 5.1 m are 1.0 m apart


def test_a_frontier_that_was_looked_into_is_given_up_and_known_places_get_a_way():
    made = places()
    here = made.insert(at(0))
    east = made.scan(here, at(0), np.where(np.arange(32) == 0, 6.0, 1.0))[0]
    nearby = made.insert(at(3, 2))
    second = made.insert(at(3, 0))
    made.scan(second, at(3), np.full(32, 6.0))
    assert made.dead[east]
    assert nearby in made.ways[second]
    assert made.ways[second][nearby].cost == pytest.approx(2.0)
    made.enter(nearby)
    assert not made.frontier[nearby]


def test_an_entered_frontier_is_a_place_like_others():
    made = places()
    made.scan(made.insert(at(0)), at(0), np.where(np.arange(32) == 0, 6.0, 1.0))
    assert made.frontier[1]
    made.enter(1)
    assert not made.frontier[1]


def test_it_becomes_what_its_dictionary_tells_through_json():
    made = line(*np.arange(0, 300, 3.0))  # more than the room it starts with
    made.insert(at(1, 9), B, landmark=True)
    made.insert(at(2, 20), goal=True)
    made.enter(1, 0, 3.5)
    made.fail(1, 2)
    made.scan(1, at(3), np.where(np.arange(32) == 8, 6.0, 1.0))
    made.remove(5)
    again = places()
    again.load_dict(json.loads(json.dumps(made.to_dict())))
    assert again.to_dict() == made.to_dict()
    assert again.costs(0) == made.costs(0)
    assert again.goal_node() == made.goal_node()
    assert again.insert(at(3)) == made.insert(at(3)) == 1
    empty = places()
    empty.load_dict(places().to_dict())
    assert len(empty) == 0
    assert empty.nearest(at(0)) is None


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="above 0"):
        TopologicalMap(match_radius=0.0)
    with pytest.raises(AttributeError, match="no 'positions'"):
        places().positions  # noqa: B018
