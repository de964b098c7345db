"""Tasks by name, their Gymnasium forms, and what is said when there is none."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_game import Toy

from guerdon import tasks
from guerdon.tasks.gymnasium_game import GameEnv, GymnasiumGame, TaskVectorEnv
from guerdon.tasks.minihack_levels import LEVELS
from guerdon.tasks.vector import Workers

ROOM = """
MAZE: "mylevel", ' '
FLAGS: noteleport
GEOMETRY: center,center
MAP
-------
|.....|
|.....|
-------
ENDMAP
REGION: (0,0,7,4), lit, "ordinary"
BRANCH: (1,1,1,1), (0,0,0,0)
STAIR: (5,1), down
OBJECT: ('(', "skeleton key"), (2,1)
"""


def test_importing_tasks_imports_neither_nle_nor_torch():
    code = "import sys, guerdon.tasks; print([m for m in ('nle', 'minihack', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_names():
    pytest.importorskip("minihack", reason="needs the extra nethack")
    names = tasks.names()
    wanted = {"NetHackScore", "NetHackRewardFree", "TextCorridor", "MiniHack-Room-5x5-v0", *LEVELS}
    for task in ("Oracle", "OracleSober", "StaircaseLvl3", "StaircaseLvl4"):
        wanted |= {f"NetHack{task}", f"NetHack{task}Continual"}
    assert wanted <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("NetHackScor", "NetHackScore"),
        ("MiniHack-Room-6x6-v0", "MiniHack-Room-5x5-v0"),
        ("CartPol-v1", "CartPole-v1"),
        ("TextCoridor", "TextCorridor"),
    ],
)
def test_an_unknown_name_tells_the_near_ones(name, near):
    pytest.importorskip("minihack", reason="needs the extra nethack")
    with pytest.raises(ValueError, match=near):
        tasks.make(name, num_envs=2)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nle", None)
    for module in [m for m in sys.modules if m.startswith("guerdon.tasks.nethack.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ImportError, match=r"pip install 'guerdon\[nethack\]'"):
        tasks.make("NetHackScore", num_envs=2)


@pytest.mark.parametrize("name", [*tasks.NETHACK, *LEVELS])
def test_gymnasium_environments(name):
    pytest.importorskip("minihack", reason="needs the extra nethack")
    env = gym.make(f"guerdon/{name}-v0")
    assert isinstance(env.unwrapped, GameEnv)
    check_env(env.unwrapped, skip_render_check=True, skip_close_check=True)
    _, info = env.reset(seed=3)
    first = info["caption"]
    assert env.reset(seed=3)[1]["caption"] == first
    env.close()


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), crop=st.sampled_from([(3, 5), (9, 9), (21, 79)]), data=st.data())
def test_observations_lie_in_their_spaces(seed, crop, data):
    pytest.importorskip("nle", reason="needs the extra nethack")
    keys = (
        "glyphs",
        "glyphs_crop",
        "chars_crop",
        "colors_crop",
        "specials_crop",
        "blstats",
        "message",
        "inv_glyphs",
        "tty_chars",
    )
    env = GameEnv(lambda: tasks.game("NetHackScore", observation_keys=keys, crop=crop))
    obs, _ = env.reset(seed=seed)
    for action in data.draw(st.lists(st.integers(0, 22), max_size=30)):
        assert env.observation_space.contains(obs)
        obs, _, terminated, _, _ = env.step(action)
        if terminated:
            break
    assert env.observation_space.contains(obs)
    env.close()


def test_unknown_options_of_a_game():
    pytest.importorskip("nle", reason="needs the extra nethack")
    with pytest.raises(ValueError, match=r"no observation is called 'glyph'; there are glyphs"):
        tasks.make("NetHackScore", num_envs=2, observation_keys=("glyph",))
    with pytest.raises(ValueError, match="odd"):
        tasks.make("NetHackScore", num_envs=2, crop=(8, 8))
    with pytest.raises(ValueError, match="penalty_mode"):
        tasks.make("NetHackScore", num_envs=2, penalty_mode="cubic")


def play(task, steps, seed=0):
    generator, finished, rewards = np.random.default_rng(seed), [], []
    task.reset(seed=seed)
    for group in range(task.groups):
        task.recv(group)
    for _ in range(steps):
        for group in range(task.groups):
            task.send(group, generator.integers(0, task.single_action_space.n, task.num_envs // task.groups))
            step = task.recv(group)
            finished += step.finished
            rewards.append(step.reward.copy())
    return finished, np.concatenate(rewards)


def test_nethack_in_worker_processes_is_nethack_in_this_one():
    pytest.importorskip("nle", reason="needs the extra nethack")
    seen = []
    for workers in (0, 2):
        with tasks.make("NetHackScoreOni", num_envs=4, workers=workers, max_episode_steps=60, seed=5) as task:
            finished, rewards = play(task, 130)
            seen.append((sorted(map(str, finished)), rewards, sorted(task.captions.state_dict()["texts"])))
    assert seen[0][0] == seen[1][0]
    assert seen[0][2] == seen[1][2]
    np.testing.assert_array_equal(seen[0][1], seen[1][1])
    assert len(seen[0][0]) >= 4


def test_a_level_of_our_own():
    pytest.importorskip("minihack", reason="needs the extra nethack")
    from guerdon.tasks.nethack.minihack import MOVES, Level, level_game

    level = Level(des=ROOM, actions=(*MOVES, "PICKUP", ("n", "1"), "ESC"), max_episode_steps=30, autopickup=False)
    game = level_game(level, observation_keys=("chars", "blstats", "message"))
    assert game.action_space == spaces.Discrete(11)
    views = {key: np.zeros(space.shape, space.dtype) for key, space in game.observation_space.spaces.items()}
    game.bind(views)
    game.reset(0)
    x = views["blstats"][0]
    assert game.step(1) == (0.0, False, False)  # east, onto the key
    assert game.message() == b"You see here a key."
    game.step(8)
    assert game.message().endswith(b" - a key.")
    assert [game.step(1)[1] for _ in range(3)] == [False, False, True]
    assert game.stats()["success"] == 1.0
    assert views["blstats"][0] - x == 4  # the last observation is the level, not the game as it was left
    game.reset(0)
    assert game.step(0) == (-0.01, False, False)  # a wall takes no time
    ends = [game.step(7)[1] for _ in range(29)]
    assert ends == [False] * 28 + [True]
    assert game.stats()["success"] == 0.0


def test_a_level_won_by_a_message():
    pytest.importorskip("minihack", reason="needs the extra nethack")
    from guerdon.tasks.nethack.minihack import Level, level_game

    level = Level(des=ROOM, actions=("E", "PICKUP"), success_message=" - a key.", reward_win=7.0, autopickup=False)
    game = level_game(level)
    game.bind({key: np.zeros(space.shape, space.dtype) for key, space in game.observation_space.spaces.items()})
    game.reset(0)
    assert game.step(0) == (0.0, False, False)
    assert game.step(1) == (7.0, True, False)
    assert b"a key" in game.message()


def test_a_level_that_does_not_compile_or_is_not_there():
    pytest.importorskip("minihack", reason="needs the extra nethack")
    from guerdon.tasks.nethack.minihack import Level, level_game

    with pytest.raises(ValueError, match="does not compile"):
        level_game(Level(des="MAZE: what"))
    with pytest.raises(FileNotFoundError, match=r"no level file nowhere\.des"):
        level_game(Level(des="nowhere.des"))
    with pytest.raises(ValueError, match="no key is called 'JUMPING'"):
        level_game(Level(des=ROOM, actions=("JUMPING",)))


def test_any_gymnasium_environment():
    with tasks.make("CartPole-v1", num_envs=4, workers=1, seed=1) as task:
        assert task.single_observation_space == spaces.Dict({"obs": gym.make("CartPole-v1").observation_space})
        finished, rewards = play(task, 100)
    assert finished
    assert all(e["return"] == e["length"] > 4 for e in finished)
    assert set(rewards.tolist()) == {0.0, 1.0}  # 0 where a game only begins anew
    with tasks.make("guerdon.tasks.text_corridor:guerdon/TextCorridor-v0", num_envs=2, rooms=3) as task:
        play(task, 20)
        assert "you open door" in " ".join(task.captions.state_dict()["texts"])


def test_gymnasium_game_follows_its_environment():
    env, game = gym.make("Acrobot-v1"), GymnasiumGame(lambda: gym.make("Acrobot-v1"))
    views = {"obs": np.zeros(6, np.float32)}
    game.bind(views)
    game.reset(4)
    obs, _ = env.reset(seed=4)
    for action in (0, 2, 1, 2):
        np.testing.assert_array_equal(views["obs"], obs)
        obs, reward, terminated, truncated, _ = env.step(action)
        assert game.step(action) == (reward, terminated, truncated)


def test_text_corridor_steps_in_arrays():
    task = tasks.make("TextCorridor", num_envs=8, workers=2, rooms=4, seed=0)
    assert task.groups == 1
    assert play(task, 50)[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_as_a_gymnasium_vector_environment(workers):
    env = TaskVectorEnv(Workers(Toy, num_envs=6, workers=workers))
    obs, info = env.reset(seed=3)
    assert env.observation_space.contains(obs)
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.NEXT_STEP
    first, over = obs["seed"].copy(), np.zeros(6, bool)
    for _ in range(12):
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
        np.testing.assert_array_equal(info["valid"], ~over)
        assert (reward[over] == 0).all()
        over = terminated | truncated
        assert len(info["finished"]) == over.sum()
    np.testing.assert_array_equal(env.reset(seed=3)[0]["seed"], first)
    assert (env.reset()[0]["seed"] != first).all()
    env.close()


@pytest.mark.parametrize(
    ("name", "option", "near"),
    [
        ("TextCorridor", "roms", "rooms"),
        ("NetHackScore", "max_episode_step", "max_episode_steps"),
        ("NetHackOracle", "penalty_steps", "penalty_step"),
        ("Gallery", "pett", "pet"),
    ],
)
def test_an_unknown_option_is_answered_with_near_ones(name, option, near):
    with pytest.raises(ValueError, match=rf"{name} has no option '{option}'; there is .*\b{near}\b"):
        tasks.make(name, num_envs=2, **{option: 1})
