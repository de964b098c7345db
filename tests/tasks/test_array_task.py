"""The frame of array tasks: NEXT_STEP, seeds, bad actions, the Gymnasium form."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from guerdon import tasks
from guerdon.tasks.array_task import ArrayEnv, ArrayTask


class Walk(ArrayTask):
    """A number that random steps and the action push about; 1 is paid, at the end, for 3."""

    def __init__(self, *, num_envs: int, steps: int = 5, box: bool = False) -> None:
        action = spaces.Box(-1.0, 1.0, (1,), np.float32) if box else spaces.Discrete(2, start=1)
        shown = spaces.Dict({"at": spaces.Box(-99.0, 99.0, (1,), np.float32)})
        super().__init__(num_envs=num_envs, observation_space=shown, action_space=action, steps=steps)
        self.at = np.zeros(num_envs)

    def _begin(self, games):
        for i in games.tolist():
            self.at[i] = self.generators[i].random() / 10

    def _move(self, games, actions):
        self.at[games] += actions[:, 0] if actions.ndim > 1 else actions
        won = self.at[games] >= 3
        return won.astype(float), won

    def _show(self):
        return {"at": self.at[:, None].astype(np.float32)}

    def _told(self, game):
        return {"at": self.at[game]}


def started(**options) -> Walk:
    task = Walk(**options)
    task.reset(seed=0)
    return task


def moved(task: Walk, *actions):
    task.send(0, np.array(actions))
    return task.recv(0)


def test_the_step_after_an_end_ignores_its_action_and_shows_the_next_episode():
    task = started(num_envs=2)
    first = task.recv(0)
    assert first.valid.all()
    assert not first.reward.any()
    moved(task, 2, 1)
    end = moved(task, 2, 1)
    assert end.reward.tolist() == [1, 0]
    assert end.terminated.tolist() == [True, False]
    assert end.obs["at"][0, 0] >= 4  # the true last observation
    assert end.finished == [{"return": 1, "length": 2, "success": 1, "at": pytest.approx(task.at[0])}]
    again = moved(task, 2, 1)
    assert again.valid.tolist() == [False, True]
    assert again.reward.tolist() == [0, 1]
    assert 0 <= again.obs["at"][0, 0] < 0.1
    assert again.obs["at"][0, 0] != first.obs["at"][0, 0]
    assert task.time.tolist() == [0, 3]
    assert moved(task, 1, 1).valid.tolist() == [True, False]


def test_an_episode_that_takes_too_long_is_cut_and_has_no_success():
    task = started(num_envs=1, steps=2, box=True)
    moved(task, [0.5])
    end = moved(task, [0.5])
    assert end.truncated.all()
    assert not end.terminated.any()
    assert end.finished[0]["success"] == end.finished[0]["return"] == 0
    assert end.finished[0]["length"] == 2


def test_a_win_on_the_last_step_is_a_termination():
    task = started(num_envs=1, steps=2)
    moved(task, 2)
    end = moved(task, 2)
    assert end.terminated.all()
    assert not end.truncated.any()


def test_game_i_of_seed_s_is_the_single_game_of_seed_s_plus_i():
    task = Walk(num_envs=3)
    task.reset(seed=5)
    for i in range(3):
        env = ArrayEnv(Walk)
        obs, _ = env.reset(seed=5 + i)
        np.testing.assert_array_equal(obs["at"], task.recv(0).obs["at"][i])
    before = task.recv(0).obs["at"].copy()
    task.reset(seed=5)
    np.testing.assert_array_equal(task.recv(0).obs["at"], before)


def test_a_resumed_task_plays_games_the_saved_one_has_not():
    task, other = started(num_envs=2), Walk(num_envs=2)
    other.load_state_dict(task.state_dict())
    with pytest.raises(RuntimeError, match=r"call reset\(seed"):
        other.recv(0)
    other.reset(seed=0)
    assert (other.recv(0).obs["at"] != task.recv(0).obs["at"]).all()


def test_actions_in_a_box_are_clipped():
    task = started(num_envs=1, box=True)
    before = task.at.copy()
    moved(task, [70.0])
    np.testing.assert_allclose(task.at - before, 1.0)


@pytest.mark.parametrize(
    ("box", "actions", "said"),
    [
        (True, [[np.nan], [0.0]], "not finite"),
        (True, [[0.0], [np.inf]], "not finite"),
        (True, [0.0, 0.0], r"shape \[2, 1\], got \[2\]"),
        (False, [0, 1], "1 to 2, got 0"),
        (False, [1, 3], "1 to 2, got 3"),
        (False, [1], r"shape \[2\], got \[1\]"),
        (False, [1.0, 1.5], "1 to 2"),
    ],
)
def test_impossible_actions_are_refused(box, actions, said):
    task = started(num_envs=2, box=box)
    with pytest.raises(ValueError, match=said):
        task.send(0, np.array(actions))


@pytest.mark.parametrize("wrong", [{"num_envs": 0}, {"num_envs": 1, "steps": 0}])
def test_no_games_and_no_time_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        Walk(**wrong)


def test_nothing_before_the_reset_and_no_step_after_the_end():
    with pytest.raises(RuntimeError, match=r"Walk: call reset\(seed"):
        Walk(num_envs=1).send(0, np.array([1]))
    env = ArrayEnv(Walk)
    env.reset(seed=0)
    env.step(2)
    *_, info = env.step(2)
    assert info["success"] == 1
    with pytest.raises(gym.error.ResetNeeded):
        env.step(1)


def test_a_task_without_a_picture_says_so():
    env = ArrayEnv(Walk, render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(NotImplementedError, match="Walk draws no pictures"):
        env.render()
    assert ArrayEnv(Walk).render() is None


@pytest.mark.parametrize("name", tasks.ARRAYS)
def test_every_array_task_is_a_gymnasium_environment_and_draws(name):
    env = gym.make(f"guerdon/{name}-v0", render_mode="rgb_array")
    check_env(env.unwrapped)
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.std() > 0
    assert name in tasks.names()


def test_made_by_either_name_with_options_and_without_captions():
    for name in ("AGV-S-static", "guerdon/AGV-S-static-v0"):
        task = tasks.make(name, num_envs=3, workers=2, seed=1, rays=5)
        assert isinstance(task, ArrayTask)
        assert task.recv(0).obs["lidar"].shape == (3, 5)
        assert task.captions is task.recv(0).caption is None
    with pytest.raises(ValueError, match=r"AGV-S-static has no option 'ray'; there is .*rays"):
        tasks.make("AGV-S-static", num_envs=1, ray=3)
    with pytest.raises(ValueError, match="AGV-S-static"):
        tasks.make("AGV-S-statik", num_envs=2)


@pytest.mark.parametrize("name", tasks.ARRAYS)
def test_every_array_task_shows_what_its_space_allows_and_repeats_itself(name):
    def played() -> list:
        task, generator, seen = tasks.make(name, num_envs=4, seed=3), np.random.default_rng(0), []
        for _ in range(400):
            if isinstance(task.single_action_space, spaces.Box):
                actions = generator.uniform(-1, 1, (4, *task.single_action_space.shape)).astype(np.float32)
            else:
                actions = generator.integers(0, task.single_action_space.n, 4)
            task.send(0, actions)
            step = task.recv(0)
            seen.append({key: array.copy() for key, array in step.obs.items()} | {"reward": step.reward.copy()})
            for i in range(4):
                assert task.single_observation_space.contains({key: array[i] for key, array in step.obs.items()})
        return seen

    for a, b in zip(played(), played(), strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
