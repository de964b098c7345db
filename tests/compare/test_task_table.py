import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from guerdon.compare import task_table
from guerdon.compare.tabulate import tabulate
from guerdon.compare.task_table import read_table
from guerdon.parts.tabular_mdp import optimal_value
from guerdon.rewards.intrinsic import E3B, RND, PseudoCount
from guerdon.rewards.shaping import Extrinsic
from guerdon.rewards.verifiable import ExactMatch
from guerdon.types import Reward


class Maze(gym.Env):
    """Three cells in a row; action 1 goes right, out of the last one it ends and pays 1."""

    observation_space, action_space = spaces.Discrete(4), spaces.Discrete(2)
    fault = ""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = int(self.np_random.integers(3)) if self.fault == "start" else 0
        return self.cell, {}

    def step(self, action):
        chance = self.np_random.random() < 0.5 if self.fault == "chance" else True
        self.cell = max(0, self.cell + (1 if action == 1 and chance else -1))
        ended = self.cell == 3
        shown = 0 if self.fault == "hidden" and self.cell == 1 else self.cell
        return shown, float(ended), ended, False, {}

    def __deepcopy__(self, memo):
        if self.fault == "uncopied":
            raise TypeError("a window")
        made = type(self)()
        made.cell, made._np_random = self.cell, self._np_random
        return made


for _fault in ("", "start", "chance", "hidden", "uncopied"):
    _kind = type(f"Maze{_fault}", (Maze,), {"fault": _fault})
    gym.register(f"TableMaze{_fault}-v0", entry_point=_kind, max_episode_steps=5)


def test_a_maze_is_explored():
    table = tabulate("TableMaze-v0", 0.9)
    assert table.steps.tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 2], [2, 0, 1], [2, 1, 3]]
    assert table.extrinsic.tolist() == [0, 0, 0, 0, 0, 1]
    assert table.terminal.tolist() == [False, False, False, True]
    assert table.mdp.transition[3, :, 3].tolist() == [1, 1]
    assert table.mdp.start.tolist() == [1, 0, 0, 0]
    assert table.paths[3] == "a start, then 1, 1, 1"
    best = optimal_value(table.mdp, table.mean(table.pay(Extrinsic())))
    torch.testing.assert_close(best.value, torch.tensor([0.81, 0.9, 1.0, 0.0]).double())


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("TableMazestart-v0", "first state is drawn"),
        ("TableMazechance-v0", "not deterministic"),
        ("TableMazehidden-v0", "not deterministic, or does not show its whole state"),
        ("TableMazeuncopied-v0", "cannot be copied"),
        ("CartPole-v1", "first state is drawn"),
        ("Pendulum-v1", "not discrete"),
    ],
)
def test_what_has_no_table_says_why(task, why):
    found = tabulate(task, 0.9, limit=1000)
    assert isinstance(found, str)
    assert why in found


def test_too_many_states():
    assert tabulate("DeepSea", 0.9, limit=55) == "it has more than 55 states"
    assert tabulate("FrozenLake-v1", 0.9, limit=3) == "it has more than 3 states"
    assert tabulate("DeepSea", 0.9, limit=56).mdp.shape == (56, 2)


def test_options_of_the_task():
    assert tabulate("DeepSea", 0.9, size=4).mdp.shape == (11, 2)
    assert tabulate("FrozenLake-v1", 0.9, map_name="8x8", is_slippery=False).mdp.shape == (64, 4)
    with pytest.raises(ValueError, match="no option 'sise'; there is size"):
        tabulate("DeepSea", 0.9, sise=4)


def test_deep_sea_is_solved():
    """The best return is 0.99 without discount: N steps to the right, each 0.01 / N, and 1 at the end."""
    table = tabulate("DeepSea", 1 - 1e-9)
    best = optimal_value(table.mdp, table.mean(table.pay(Extrinsic())))
    assert float(best.value @ table.mdp.start) == pytest.approx(0.99, abs=1e-6)


def test_frozen_lake_and_taxi_are_the_environments_own():
    lake = tabulate("FrozenLake-v1", 0.99)
    own = gym.make("FrozenLake-v1").unwrapped.P
    for s in range(16):
        state = int((lake.number == s).nonzero()[0])
        if lake.terminal[state]:
            continue
        for a in range(4):
            mean = sum(chance * paid for chance, _, paid, _ in own[s][a])
            assert float(lake.mean(lake.extrinsic)[state, a]) == pytest.approx(mean)
            for t in range(16):
                there = int((lake.number == t).nonzero()[0])
                chance = sum(row[0] for row in own[s][a] if row[1] == t)
                assert float(lake.mdp.transition[state, a, there]) == pytest.approx(chance)
    taxi = tabulate("Taxi-v3", 0.99)
    assert taxi.mdp.shape == (404, 6)  # 400 that can be reached, and 4 ends, which look like others
    assert int(taxi.terminal.sum()) == 4
    assert taxi.numbers == 500


def test_tables_are_indexed_by_the_environments_numbers():
    table = tabulate("FrozenLake-v1", 0.99)
    s, a, t = table.steps.T
    reward = torch.arange(16 * 4 * 16).view(16, 4, 16).double()
    expected = (table.number[s] * 4 + a) * 16 + table.number[t]
    assert torch.equal(table.pay(reward), expected.double())
    assert torch.equal(table.pay(reward[..., 0]), ((table.number[s] * 4 + a) * 16).double())
    with pytest.raises(ValueError, match=r"\[16, 4, 16\] or \[16, 4\], got \[5, 4\]"):
        table.pay(torch.zeros(5, 4))
    with pytest.raises(ValueError, match="NaN or infinite at 64"):
        table.pay(torch.full((16, 4), torch.nan))


def test_all_transitions_for_epic(monkeypatch):
    table = tabulate("TableMaze-v0", 0.9)
    whole = table.whole(Extrinsic())
    assert whole.sum() == 1
    assert whole[2, 1, 3] == 1
    assert table.whole(torch.ones(4, 2, 4))[3].abs().max() == 0  # nothing is paid after the end
    monkeypatch.setattr(task_table, "_EVERY", 31)
    with pytest.raises(ValueError, match="4 states make 32 transitions"):
        table.whole(Extrinsic())


class ByAction(Reward):
    """The action's own number: the environment's, which may not begin at 0."""

    def score(self, experience):
        return experience.action.float()


class Unscored(Reward):
    def score(self, experience):
        return torch.full(experience.shape, torch.nan)


def test_rewards_score_single_steps():
    table = tabulate("TableMaze-v0", 0.9)
    assert table.pay(ByAction()).tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.equal(table.pay(RND()), table.pay(RND()))
    assert len(table.pay(RND()).unique()) == 4  # by where it leads
    assert table.pay(3.0 * Extrinsic() + ByAction()).tolist() == [0, 1, 0, 1, 0, 4]


def test_rewards_without_a_score_of_a_step_are_refused():
    table = tabulate("TableMaze-v0", 0.9)
    for reward in (E3B(), Extrinsic() + 0.1 * E3B(), PseudoCount(episodic=True)):
        with pytest.raises(ValueError, match="no score of its own"):
            table.pay(reward)
    with pytest.raises(ValueError, match="Unscored leaves 6 of 6"):
        table.pay(Unscored())
    with pytest.raises(ValueError, match="only rewards of control tasks"):
        table.pay(ExactMatch())


def test_read_table(tmp_path):
    path = tmp_path / "world.npz"
    tau = np.full((3, 2, 3), 1 / 3)
    np.savez(path, transition=tau, start=np.array([1.0, 0, 0]), gamma=0.5)
    table = read_table(path)
    assert (table.mdp.gamma, read_table(path, 0.7).mdp.gamma) == (0.5, 0.7)
    assert table.mdp.start.tolist() == [1, 0, 0]
    reward = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(table.mean(table.pay(reward)), reward.mean(-1))
    with pytest.raises(ValueError, match="no observations"):
        table.pay(Extrinsic())
    np.savez(path, transition=tau * 1.1)
    with pytest.raises(ValueError, match="sums to"):
        read_table(path)
    np.savez(path, other=tau)
    with pytest.raises(ValueError, match="needs `transition`"):
        read_table(path)
