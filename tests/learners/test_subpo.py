"""SubPO's gradient against enumeration, its natural gradient against the definition, and that it learns."""

import copy
import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from guerdon import tasks
from guerdon.learners import SubPO
from guerdon.learners.run import Config, train
from guerdon.parts.marginal_credit import marginal_credit
from guerdon.parts.marginal_gain import Additive, Coverage
from guerdon.rewards.intrinsic import SubmodularReward
from guerdon.rewards.shaping import Extrinsic
from guerdon.tasks.coverage import CoverageBandit, CoverageGrid, SetFunctionTask
from guerdon.types import Rollout

H = 2
MOVES = np.array([[1, 0], [1, 0]])  # two states, action 0 leads to state 1 and action 1 to state 0
OVERLAP = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 0]]).bool()
WEIGHTS = torch.tensor([1.0, 2.0, 5.0, 0.5])


def learner(function, num_envs=4, seed=0, **options):
    task = SetFunctionTask(num_envs=num_envs, function=function, total=8.5, moves=MOVES, horizon=H)
    made = SubPO(**options)
    made.build(task, SubmodularReward(function=function, key="cell"), seed=seed)
    return made


def all_ways():
    """Every sequence of actions as one game each: a rollout [H, 2^H], with the cells that it leads through."""
    actions = torch.tensor(list(itertools.product(range(2), repeat=H))).T
    cells = [torch.zeros(2**H, dtype=torch.long)]
    for action in actions:
        cells.append(torch.from_numpy(MOVES)[cells[-1], action])
    cell = torch.stack(cells)
    time = torch.arange(H + 1)[:, None].expand(-1, 2**H).clone()
    last = torch.zeros(H, 2**H, dtype=torch.bool)
    last[-1] = True
    return Rollout(
        obs=TensorDict({"cell": cell, "time": time}, cell.shape), action=actions,
        extrinsic=torch.zeros(H, 2**H), terminated=last, truncated=torch.zeros_like(last), valid=torch.ones_like(last),
    )  # fmt: skip


def chances(logits, ways):
    """P(way) [2^H] under a table of logits [H+1, 2, 2]."""
    log_p = logits.log_softmax(-1)[ways.obs["time"][:-1], ways.obs["cell"][:-1]]
    return log_p.gather(-1, ways.action[..., None])[..., 0].sum(0).exp()


def values(function, ways):
    """F of every way, its start included."""
    state = function.reset(2**H)
    for item in ways.obs["cell"]:
        state = function.add(state, item)
    return function.value(state)


def slope(logits, function, ways, step=1e-5):
    """grad J by central differences."""
    grad = torch.zeros_like(logits)
    for i in range(logits.numel()):
        nudge = torch.zeros_like(logits).view(-1)
        nudge[i] = step
        up, down = ((chances(logits + s * nudge.view_as(logits), ways) * values(function, ways)).sum() for s in (1, -1))
        grad.view(-1)[i] = (up - down) / (2 * step)
    return grad


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("additive", [False, True])
def test_the_expected_gradient_is_that_of_j(baseline, additive):
    """Over all ways, weighted by their chances: sum_i grad log pi(a_i) A_i."""
    f = Coverage.sets(OVERLAP, WEIGHTS)
    if additive:
        f = Additive(f)
    made, ways = learner(f), all_ways()
    logits = torch.randn(H + 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gain = made.reward.score(ways).double()
    credit = marginal_credit(gain, ways.terminated, ways.truncated, ways.valid, baseline=baseline)
    logits.requires_grad_()
    log_p = logits.log_softmax(-1)[ways.obs["time"][:-1], ways.obs["cell"][:-1]]
    chosen = log_p.gather(-1, ways.action[..., None])[..., 0]
    weight = chances(logits.detach(), ways)
    (weight * (chosen * credit).sum(0)).sum().backward()
    torch.testing.assert_close(logits.grad, slope(logits.detach(), f, ways), atol=1e-7, rtol=1e-5)


def test_one_step_of_the_learner_follows_it():
    """At equal chances the four ways are the exact distribution; `learn` means over H steps."""
    f = Coverage.sets(OVERLAP, WEIGHTS)
    made, ways = learner(f, entropy=0.0), all_ways()
    made.learn(ways, made.reward.score(ways))
    wanted = slope(torch.zeros(H + 1, 2, 2, dtype=torch.float64), f, ways)
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(-made.policy.logits.grad.double() * H, wanted, atol=1e-6, rtol=1e-5)


def test_modular_gains_make_ordinary_reinforce():
    """Disjoint sets, no cell twice: credit is the reward-to-go of F({s})."""
    f = Coverage.sets(torch.eye(5).bool(), torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    made = SubmodularReward(function=f)
    task = SetFunctionTask(num_envs=2, function=f, total=31.0, moves=np.arange(5)[None].repeat(5, 0), horizon=4)
    made.build(tasks_spec(task, 2, only="cell"))
    cells = torch.tensor([[0, 4], [1, 2], [2, 0], [3, 1], [4, 3]])
    end = torch.zeros(4, 2, dtype=torch.bool)
    end[-1] = True
    rollout = Rollout(
        obs=TensorDict({"cell": cells}, (5, 2)), action=cells[1:], extrinsic=torch.zeros(4, 2),
        terminated=end, truncated=torch.zeros_like(end), valid=torch.ones_like(end),
    )  # fmt: skip
    reward = f.weights[cells[1:]]
    to_go = torch.stack([reward[t:].sum(0) for t in range(4)])
    credit = marginal_credit(made.score(rollout).double(), end, rollout.truncated, rollout.valid, baseline=False)
    assert torch.equal(credit, to_go)


def tasks_spec(task, num_envs, only):
    from guerdon.types import Spec

    return Spec(spaces.Dict({only: task.single_observation_space[only]}), task.single_action_space, num_envs=num_envs)


def test_the_natural_gradient_is_the_inverse_fisher_matrix_times_the_gradient():
    f = Coverage.sets(OVERLAP, WEIGHTS)
    made, ways = learner(f, natural=True, damping=1e-9, entropy=0.0, lr=1.0), all_ways()
    logits = torch.randn(H + 1, 2, 2, generator=torch.Generator().manual_seed(1))
    made.policy.logits.data.copy_(logits)
    plain = copy.deepcopy(made)
    plain.natural = False
    gain = made.reward.score(ways)
    made.learn(ways, gain)
    plain.learn(ways, gain)
    moved, gradient = made.policy.logits.detach() - logits, -plain.policy.logits.grad
    p = logits.softmax(-1)
    for t, cell in ((0, 0), (1, 0), (1, 1)):
        share = float(((ways.obs["time"][:-1] == t) & (ways.obs["cell"][:-1] == cell)).float().mean())
        q = p[t, cell]
        fisher = share * (torch.diag(q) - q[:, None] * q)
        wanted = torch.linalg.pinv(fisher) @ gradient[t, cell]
        torch.testing.assert_close(moved[t, cell], wanted, atol=1e-4, rtol=1e-4)
    assert (moved[2] == 0).all(), "nobody acts at the horizon"


def test_learner_finds_the_best_of_a_small_world():
    """Three moves on a line of 4 from its end, radius 0: going right all the way covers everything."""
    task = CoverageGrid(num_envs=64, rows=1, columns=4, horizon=3, radius=0.0, weights="constant")
    made = SubPO(lr=0.2)
    made.build(task, SubmodularReward(function=task.function, key="cell"), seed=0)
    logs = [made.iterate() for _ in range(60)]
    assert logs[0]["episode/value"] < 2.6
    assert logs[-1]["episode/value"] > 3.95
    assert logs[-1]["subpo/entropy"] < logs[0]["subpo/entropy"]
    assert logs[-1]["reward/per_episode"] == pytest.approx(logs[-1]["episode/return"], abs=1e-5)


@pytest.mark.parametrize("options", [{"history": ("seen",), "lr": 0.01}, {"natural": True}])
def test_both_other_forms_learn_on_the_bandit(options):
    task = CoverageBandit(num_envs=128, cells=8, horizon=3)
    made = SubPO(**options)
    made.build(task, SubmodularReward(function=task.function, key="cell"), seed=0)
    first = made.iterate()["episode/value"]
    for _ in range(60):
        last = made.iterate()["episode/value"]
    best = max((task.covers[[0, *a]].any(0) * task.weights).sum() for a in itertools.combinations(range(8), 3))
    assert first < 0.9 * best
    assert last > 0.85 * best


def test_a_network_sees_the_past_and_a_table_does_not():
    f = Coverage.sets(OVERLAP, WEIGHTS)
    with_past, without = learner(f, history=("seen",)), learner(f)
    obs = {"cell": torch.zeros(2).long(), "time": torch.ones(2).long(), "seen": torch.tensor([[1.0, 0.0], [1.0, 1.0]])}
    obs["seen"] = torch.nn.functional.pad(obs["seen"], (0, with_past.policy.layers[0].in_features - 5 - 2))
    assert (with_past.policy(obs)[0] != with_past.policy(obs)[1]).any()
    assert (without.policy(obs)[0] == without.policy(obs)[1]).all()


@pytest.mark.parametrize("options", [{}, {"history": ("seen",)}, {"natural": True}])
def test_a_saved_learner_goes_on_as_it_would_have(options):
    f = Coverage.sets(OVERLAP, WEIGHTS)
    made, again = (learner(f, num_envs=16, seed=s, **options) for s in (0, 9))
    for _ in range(3):
        made.iterate()
    again.load_state_dict(copy.deepcopy(made.state_dict()))
    for _ in range(3):
        assert again.iterate() == made.iterate()


def test_equal_seeds_equal_runs():
    f = Coverage.sets(OVERLAP, WEIGHTS)
    runs = [[m.iterate() for _ in range(3)] for m in (learner(f, num_envs=16, seed=s) for s in (4, 4, 5))]
    assert runs[0] == runs[1] != runs[2]


def test_games_that_end_early_are_cut_at_the_horizon():
    """Five games a rollout of one-move episodes: resets are invalid, and the next rollout begins anew."""
    task = CoverageGrid(num_envs=3, rows=1, columns=4, horizon=4, weights="constant")
    task.horizon = 1  # each episode ends after a move, while "time" still says 4
    made = SubPO()
    made.build(task, SubmodularReward(function=task.function, key="cell"), seed=0)
    rollout, finished = made.collect()
    assert rollout.valid[:, 0].tolist() == [True, False, True, False]
    assert (rollout.terminated | rollout.truncated)[-1].all()
    assert len(finished) == 6
    assert made.iterate()["episode/length"] == 1


def test_ppo_trains_on_the_same_world_and_reward(tmp_path):
    """From the command line's words: a critic, and the marginal gains as step rewards."""
    config = Config(
        task="CoverageGrid", reward="SubmodularReward(key='cell', cells=(4, 4), radius=1.0)",
        learner="PPO(rollout=18, epochs=8, lr=0.01, width=32, hidden=32)",
        option=("rows=4", "columns=4", "horizon=5", "radius=1.0", "weights=constant"),
        steps=32 * 18 * 25, envs=32, workers=0, record=0, save_every=10**9,
    )  # fmt: skip
    rows = []
    train(config, tmp_path / "run", progress=rows.append)
    first, last = rows[0], rows[-1]
    assert first["episode/value"] < 9
    assert last["episode/value"] > 11
    assert last["term/SubmodularReward/per_episode"] == pytest.approx(last["episode/return"], abs=1e-4)


def test_what_it_cannot_learn_is_refused():
    with pytest.raises(ValueError, match="leave history out"):
        SubPO(natural=True, history=("seen",))
    box = tasks.make("AGV-S-static", num_envs=1)
    with pytest.raises(ValueError, match="Discrete"):
        SubPO().build(box, Extrinsic())
    f = Coverage.sets(OVERLAP, WEIGHTS)
    with pytest.raises(ValueError, match=r"\['seen'\]"):
        learner(f, keys=("time", "seen"))
