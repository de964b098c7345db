"""SubmodularReward: what is paid when, which set it belongs to, and what it refuses."""

import functools
import pickle

import numpy as np
import pytest
import samples
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from guerdon import tasks
from guerdon.expression import parse_reward
from guerdon.parts.marginal_gain import Additive, Coverage
from guerdon.parts.set_functions import RBF, CovarianceTable, Information
from guerdon.rewards.intrinsic import SubmodularReward
from guerdon.types import Rollout, Spec


def spec(space, num_envs=1, key="cell"):
    return Spec(spaces.Dict({key: space}), spaces.Discrete(2), num_envs=num_envs)


def built(space, num_envs=1, **options):
    made = SubmodularReward(**options)
    made.build(spec(space, num_envs), generator=torch.Generator().manual_seed(0))
    return made


def rollout(cells, ended=(), invalid=(), truncated=False, key="cell"):
    """Cells [T+1, B]; `ended` and `invalid` are pairs (step, environment)."""
    cells = torch.as_tensor(cells)
    shape = (len(cells) - 1, cells.shape[1])
    end, valid = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    for t, b in ended:
        end[t, b] = True
    for t, b in invalid:
        valid[t, b] = False
    return Rollout(
        obs=TensorDict({key: cells}, cells.shape[:2]), action=torch.zeros(shape).long(), extrinsic=torch.zeros(shape),
        terminated=end & (not truncated), truncated=end & truncated, valid=valid,
    )  # fmt: skip


def paid(reward, experience):
    return reward.evaluate(experience).value


@pytest.mark.parametrize("truncated", [False, True])
def test_by_hand(truncated):
    """A line of 5 cells, radius 1. s_0 is covered and never paid; an end is paid; the next episode begins anew."""
    made = built(spaces.Discrete(5), cells=(5,), radius=1.0)
    #        s_0 covers 0 1 | 1 adds 2 | 1 again 0 | 4 adds 3 4, end | reset shows 0: covers 0 1 | 1 adds 2
    seen = rollout([[0], [1], [1], [4], [0], [1]], ended=[(2, 0)], invalid=[(3, 0)], truncated=truncated)
    assert paid(made, seen)[:, 0].tolist() == [1, 0, 2, 0, 1]


def test_the_set_runs_on_from_rollout_to_rollout():
    made = built(spaces.Discrete(5), radius=1.0)
    first, second = rollout([[0], [1], [2]]), rollout([[2], [1], [4]])
    assert paid(made, first)[:, 0].tolist() == [1, 1]
    made.observe(first)
    assert paid(made, second)[:, 0].tolist() == [0, 1]
    made.observe(second)
    assert made.value().tolist() == [5]
    whole = built(spaces.Discrete(5), radius=1.0)
    assert paid(whole, rollout([[0], [1], [2], [1], [4]]))[:, 0].tolist() == [1, 1, 0, 1]


def test_an_end_at_a_rollouts_edge_resets_in_the_next():
    made = built(spaces.Discrete(5))
    ends = rollout([[0], [1], [2]], ended=[(1, 0)])
    made.observe(ends)
    assert made.value().tolist() == [3], "of the episode that has just ended"
    after = rollout([[2], [0], [2], [1]], invalid=[(0, 0)])  # the reset step shows cell 0
    assert paid(made, after)[:, 0].tolist() == [0, 1, 1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 11))
def test_gains_of_an_episode_sum_to_f_less_the_start_however_rollouts_cut_it(seed, cut):
    g = torch.Generator().manual_seed(seed)
    cells = torch.randint(12, (13, 3), generator=g)
    root = torch.randn(12, 12, generator=g, dtype=torch.float64)
    functions = (Coverage.discs((3, 4), radius=1.0, weights=torch.rand(12, generator=g)),
                 Information(CovarianceTable(root @ root.T), capacity=13))  # fmt: skip
    for function in functions:
        made = built(spaces.Discrete(12), 3, function=function)
        gains = []
        for part in (cells[: cut + 1], cells[cut:]):
            gains.append(paid(made, rollout(part)))
            made.observe(rollout(part))
        state = function.add(function.reset(3), cells[0])
        start = function.value(state)
        for item in cells[1:]:
            state = function.add(state, item)
        torch.testing.assert_close(torch.cat(gains).sum(0).double(), function.value(state) - start, rtol=0, atol=1e-4)
        torch.testing.assert_close(made.value(), function.value(state), rtol=0, atol=1e-10)
        assert (torch.cat(gains) >= 0).all()


def test_the_additive_surrogate_pays_a_second_visit_and_coverage_does_not():
    f = Coverage.discs((5,), radius=1.0)
    seen = rollout([[0], [2], [2], [2]])
    assert paid(built(spaces.Discrete(5), function=f), seen)[:, 0].tolist() == [2, 0, 0]
    assert paid(built(spaces.Discrete(5), function=Additive(f)), seen)[:, 0].tolist() == [3, 3, 3]


def test_positions_become_cells():
    box = spaces.Box(np.array([0.0, -1.0]), np.array([10.0, 1.0]), dtype=np.float64)
    made = built(box, cells=(5, 2), radius=0.0)
    #          cell (0, 0)   the same       (0, 1)      (4, 1): outside lies at the edge
    seen = torch.tensor([[[0.5, -0.5]], [[1.9, -0.1]], [[1.9, 0.1]], [[11.0, 7.0]], [[9.0, 0.5]]])
    assert paid(made, rollout(seen))[:, 0].tolist() == [0, 1, 1, 0]
    own = built(spaces.Box(-np.inf, np.inf, (3,), np.float32), cells=(2,), low=0.0, high=[2.0], axes=(2,))
    seen = torch.tensor([[[9.0, 9.0, 0.1]], [[-9.0, 0.0, 0.9]], [[0.0, 0.0, 1.1]]])
    assert paid(own, rollout(seen))[:, 0].tolist() == [0, 1]


def test_points_of_a_continuous_field():
    f = Information(RBF(), capacity=4, noise=1.0, dimensions=2)
    made = built(spaces.Box(-9, 9, (2,), np.float32), function=f)
    seen = torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]], [[8.0, 8.0]]])
    assert paid(made, rollout(seen))[:, 0].tolist() == pytest.approx([0.2027, 0.3466], abs=1e-4)


def first_of_two(obs):
    return obs["cell"][..., 0].long()


def test_items_of_ones_own():
    made = built(spaces.Box(0, 3, (2,), np.int64), function=Coverage.discs((4,)), items=first_of_two)
    seen = torch.tensor([[[0, 1]], [[0, 2]], [[3, 2]]])
    assert paid(made, rollout(seen))[:, 0].tolist() == [0, 1]
    again = pickle.loads(pickle.dumps(made))
    assert torch.equal(paid(again, rollout(seen)), paid(made, rollout(seen)))


def test_memory_is_saved_and_tables_are_not():
    made, again = (built(spaces.Discrete(5), radius=1.0) for _ in range(2))
    made.observe(rollout([[0], [1]]))
    state = made.state_dict()
    assert set(state) == {"episodes.ended", "memory.covered"}
    again.load_state_dict(state)
    assert paid(again, rollout([[1], [2]]))[:, 0].tolist() == [1]


def test_environments_do_not_mix_and_padding_is_left_alone():
    made = built(spaces.Discrete(5), 2)
    both = rollout([[0, 3], [1, 3], [1, 4], [2, 0]], invalid=[(2, 1)])
    assert paid(made, both).tolist() == [[1, 0], [0, 1], [1, 0]]
    nothing = rollout(torch.zeros(1, 2).long())
    assert paid(made, nothing).shape == (0, 2)
    made.observe(nothing)
    assert paid(made, both).tolist() == [[1, 0], [0, 1], [1, 0]]


def test_a_full_set_may_be_followed_by_padding():
    f = Information(CovarianceTable(torch.eye(4)), capacity=3)
    made = built(spaces.Discrete(4), function=f)
    made.observe(rollout([[0], [1], [2]], ended=[(1, 0)]))
    after = rollout([[2], [0], [1], [2]], invalid=[(0, 0)])
    assert paid(made, after)[1:, 0].tolist() == pytest.approx([0.3466] * 2, abs=1e-4)
    with pytest.raises(ValueError, match="capacity"):
        paid(made, rollout([[0], [0], [1], [2], [3]], invalid=[(0, 0)]))


def test_it_pays_what_the_coverage_task_pays():
    task = tasks.make("CoverageGrid", num_envs=4, rows=5, columns=5, horizon=6, weights="constant", seed=0)
    made = parse_reward("SubmodularReward(key='cell', cells=(5, 5), radius=1.5)")
    made.build(Spec(task.single_observation_space, task.single_action_space, num_envs=4))
    rng, steps = np.random.default_rng(0), [task.recv(0)]
    for _ in range(25):
        task.send(0, rng.integers(5, size=4))
        steps.append(task.recv(0))
    flags = {k: torch.from_numpy(np.stack([getattr(s, k) for s in steps[1:]])) for k in ("terminated", "valid")}
    made_of = rollout(np.stack([s.obs["cell"] for s in steps])).replace(**flags)  # type: ignore[attr-defined]
    extrinsic = np.stack([s.reward for s in steps[1:]])
    np.testing.assert_array_equal(paid(made, made_of).numpy(), extrinsic)
    assert extrinsic.sum() > 40


class Broken(torch.nn.Module):
    """NaN for item 3."""

    size = 5

    def reset(self, sets):
        return {"n": torch.zeros(sets)}

    def add(self, state, item):
        return state

    def gain(self, state, item):
        return torch.where(item == 3, torch.nan, 1.0).double()

    def value(self, state):
        return state["n"]


def test_a_gain_that_is_no_number_is_raised_with_its_prefix():
    made = built(spaces.Discrete(5), 2, function=Broken())
    with pytest.raises(ValueError, match=r"SubmodularReward: Broken gained nan at step 3 of environment 1.*\[1, 3\]"):
        paid(made, rollout([[0, 0], [1, 2], [2, 1], [1, 1], [1, 3]], ended=[(1, 1)], invalid=[(2, 1)]))


BOX = functools.partial(spaces.Box, -1.0, 1.0, dtype=np.float32)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: built(spaces.Discrete(5), cells=(2, 2)), "has 5"),
        (lambda: built(BOX((2,))), "function=, or cells="),
        (lambda: built(BOX((2,)), cells=(3,)), "say axes="),
        (lambda: built(spaces.Box(-np.inf, np.inf, (1,)), cells=(3,)), "finite low= and high="),
        (lambda: built(BOX((1,)), cells=(3,), low=2.0, high=1.0), "finite low= and high="),
        (lambda: built(spaces.MultiBinary(3), cells=(3,)), "numbers"),
        (lambda: built(BOX((1,)), cells=(0,)), "sides"),
        (lambda: built(BOX((1,)), cells=(3,), radius=-1.0), "radius"),
        (lambda: built(BOX((1,)), cells=(3,), key="place"), "no observation 'place'"),
        (lambda: SubmodularReward(function=Broken(), radius=1.0), "radius"),
        (lambda: paid(built(spaces.Discrete(5)), rollout([[0], [5]])), "SubmodularReward: items are 0 to 4"),
        (lambda: paid(built(spaces.Discrete(5)), rollout([[0, 1], [1, 1]])), "SubmodularReward"),
        (lambda: paid(built(BOX((1,)), cells=(3,)), rollout([[[0.0, 1.0]], [[0.0, 1.0]]])), r"shape \[2, 1, 1\], got"),
        (lambda: paid(built(spaces.Discrete(5)), rollout([[[0]], [[1]]])), r"shape \[2, 1\], got"),
        (lambda: paid(built(BOX((1,)), cells=(3,)), rollout([[[0.0]], [[torch.nan]]])), "not finite"),
        (lambda: paid(built(BOX((1,)), cells=(3,)), rollout([[[0.0]], [[torch.inf]]])), "not finite"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_several_observations_need_a_key():
    many = Spec(spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(2)}), spaces.Discrete(2))
    with pytest.raises(ValueError, match="say key="):
        SubmodularReward().build(many)


def test_replayed_steps_are_refused():
    made = parse_reward(SubmodularReward.about.example)
    made.build(samples.spec())
    assert SubmodularReward.episodic
    with pytest.raises(ValueError, match="no replayed steps"):
        made.evaluate(samples.replayed(samples.rollout()))
