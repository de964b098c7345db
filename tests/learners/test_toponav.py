"""The agent of two levels: arbitration, options and their durations, maps over episodes, and that it finds the goal."""

import copy
import json

import numpy as np
import pytest
import torch

from guerdon import tasks
from guerdon.explore import Candidates, Explorer, TopologicalMap
from guerdon.learners.double_dqn import DoubleDQN
from guerdon.learners.places import PlaceChooser, Undertaking
from guerdon.learners.toponav import LEVELS, TopoNav


def agent(**options) -> tuple[TopoNav, object]:
    task = tasks.make("Gardens", num_envs=4, steps=options.pop("steps", 80))
    return TopoNav(**{"low": DoubleDQN(gamma=0.9, start=100), **options}).build(task, seed=0), task


def acted(made: TopoNav, task: object, steps: int = 400) -> np.ndarray:
    """How often each level acted."""
    counts = np.zeros(len(LEVELS), int)

    def watch(_, level: np.ndarray) -> None:
        counts[:] += np.bincount(level, minlength=len(LEVELS))

    made.play(task, steps=steps, watch=watch)
    return counts


def test_safety_never_acts_at_0_always_at_infinity_and_not_without_arbitration():
    never, always = acted(*agent(d_safe=0.0, tau_safe=0.0)), acted(*agent(d_safe=np.inf))
    assert never[0] == 0
    assert never[1] > never[2:].sum() > 0
    assert always.tolist() == [400, 0, 0, 0]
    assert acted(*agent(arbitration=False, d_safe=np.inf))[0] == 0


def test_safety_keeps_walkers_from_walls():
    def bumps(**options) -> float:
        made, task = agent(steps=100, epsilon=(1.0, 1.0), **options)
        return sum(row["bumps"] for row in made.play(task, episodes=2, learn=False))

    assert bumps() < 0.2 * bumps(arbitration=False)


def test_a_known_goal_comes_before_exploration():
    made, task = agent(map_persistence=True)
    made.play(task, steps=4)
    for explorer in made.explorers:
        explorer.places.insert(np.array([7.0, 7.0]), goal=True)
        goal = explorer.places.goal_node()
        for node in explorer.places.alive().tolist():
            explorer.places.connect(node, goal, 9.0)
    counts = acted(made, task, steps=40)
    assert counts[2] >= 1
    made, task = agent()
    assert acted(made, task, steps=40)[2] == 0


def test_places_are_entered_and_maps_grow_past_what_is_seen_at_first():
    made, task = agent(steps=300, epsilon=(0.3, 0.3))
    made.play(task, steps=4 * 20)
    first = [len(e.places) for e in made.explorers]
    made.play(task, steps=4 * 290)
    assert all(len(e.places) > n for e, n in zip(made.explorers, first, strict=True))
    for explorer in made.explorers:
        visits = explorer.places.visits
        assert 3 < visits.sum() < 290  # entries, not steps
        assert sum(map(len, explorer.places.ways.values())) > 0


def test_maps_are_kept_or_drawn_anew():
    for kept in (True, False):
        made, task = agent(steps=40, map_persistence=kept)
        made.play(task, steps=4 * 40)
        before = [id(e.places) for e in made.explorers]
        made.play(task, steps=4 * 60)
        assert ([id(e.places) for e in made.explorers] == before) is kept


def chooser(**options) -> tuple[PlaceChooser, Explorer]:
    """A walker at 0 with places at 3 and 6 m."""
    made = PlaceChooser(learner=DoubleDQN(gamma=0.9, start=1, capacity=10), keep=4, **options)
    made.build(40.0, generator=torch.Generator().manual_seed(0), rng=np.random.default_rng(0))
    explorer = Explorer(TopologicalMap(match_radius=0.5))
    explorer.settle(np.zeros(2), np.zeros(0))
    for x in (3.0, 6.0):
        explorer.places.insert(np.array([x, 0.0]))
    explorer.places.connect(0, 1, 3.0)
    explorer.places.connect(1, 2, 3.0)
    return made, explorer


def test_an_option_is_learnt_with_its_duration_and_what_could_follow():
    made, explorer = chooser()
    choice = made.choose(explorer, np.zeros(2), epsilon=0.0, kappa=1.0, last=None)
    assert explorer.path == [1]
    told = Undertaking(choice)
    for reward in (0.0, 1.0, 0.5):
        told.earn(reward, 0.9)
    made.choose(explorer, np.array([3.0, 0.0]), epsilon=0.0, kappa=1.0, last=told)
    made.learn(told)  # had the episode terminated instead
    rows = made.learner.replay.state_dict()["rows"]
    assert rows["reward"].tolist() == pytest.approx([0.9 + 0.81 * 0.5] * 2)
    assert rows["discount"].tolist() == pytest.approx([0.9**3, 0.0])
    assert rows["next_mask"].tolist() == [[True, True, False, False], [False] * 4]
    assert torch.equal(rows["obs"][0], choice.features)
    made.learn(Undertaking())  # nothing was chosen: nothing to learn
    assert made.learner.replay.size == 2


def test_features_of_candidates():
    made, explorer = chooser()
    explorer.places.frontier[2] = True
    found, _ = explorer.options()
    features, mask = made.features(explorer.places, np.array([1.0, 2.0]), found.best(4))
    assert features.shape == (4, 12)
    assert mask.tolist() == [True, True, False, False]
    far = features[int(np.flatnonzero(found.best(4).node == 2)[0])]
    expected = [1 / 40, 2 / 40, 6 / 40, 0, 5 / 40, -2 / 40, 1, 0, 0, 1, 0, 1]
    assert far.tolist() == pytest.approx(expected)
    assert not features[2:].any()


def test_the_goal_is_chosen_even_if_others_score_more():
    made, explorer = chooser(w_goal=-50.0)
    made.keep = 1
    goal = explorer.places.insert(np.array([6.0, 0.1]), goal=True)  # the place at 6 m
    choice = made.choose(explorer, np.zeros(2), epsilon=0.0, kappa=1.0, last=None)
    assert choice.for_goal
    assert explorer.path == [1, goal]


def test_nowhere_to_go_and_random_choices():
    made, explorer = chooser()
    made.learner.replay.store(x=torch.zeros(1))
    chosen = [
        made.choose(explorer, np.zeros(2), epsilon=1.0, kappa=1.0, last=None) and explorer.path[-1] for _ in range(40)
    ]
    assert set(chosen) == {1, 2}
    explorer.places.remove(1)
    assert made.choose(explorer, np.zeros(2), epsilon=0.0, kappa=1.0, last=None) is None
    assert isinstance(explorer.options()[0], Candidates)


def test_a_saved_agent_goes_on_with_networks_and_maps():
    first, task = agent(map_persistence=True)
    first.play(task, steps=4 * 60)
    again, other = agent(map_persistence=True)
    state = copy.deepcopy(first.state_dict())
    json.dumps(state["maps"])
    again.load_state_dict(state)
    assert again.steps == first.steps
    assert [e.places.to_dict() for e in again.explorers] == state["maps"]
    told = [made.play(at, episodes=1, learn=False, seed=9) for made, at in ((first, task), (again, other))]
    assert told[0] == told[1]
    assert again.explorers[0].places.to_dict() == first.explorers[0].places.to_dict() != state["maps"][0]


def test_it_learns_to_reach_places():
    """Later hops succeed more often, seen as visits of places an episode."""
    made, task = agent(steps=100, low=DoubleDQN(gamma=0.9, lr=1e-3, start=200), epsilon_steps=1000)

    def visits() -> float:
        return float(np.mean([e.places.visits.sum() for e in made.explorers]))

    made.epsilon = (1.0, 1.0)
    made.play(task, episodes=1, learn=False)
    chance = visits()
    made.epsilon = (1.0, 0.05)
    made.play(task, steps=4000)
    made.play(task, episodes=1, learn=False)
    assert visits() > 2 * chance


def test_misuse_is_told():
    made, task = agent()
    with pytest.raises(ValueError, match="either steps or episodes"):
        made.play(task)
    with pytest.raises(TypeError, match="lacks headings"):
        TopoNav().build(tasks.make("DeepSea", num_envs=2))
