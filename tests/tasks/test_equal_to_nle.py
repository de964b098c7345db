"""Our games against nle's and minihack's own environments: same seeds, same actions, same bits."""

import numpy as np
import pytest

pytest.importorskip("nle", reason="needs the extra nethack")
pytest.importorskip("minihack", reason="needs the extra nethack")

from guerdon import tasks
from guerdon.tasks.gymnasium_game import GymnasiumGame
from guerdon.tasks.nethack.minihack_game import RegisteredLevel, construct

KEYS = ("glyphs", "chars", "colors", "specials", "blstats", "message", "inv_glyphs", "inv_strs", "inv_letters")
CROPS = ("glyphs_crop", "chars_crop", "colors_crop", "specials_crop")


def bound(game):
    views = {key: np.zeros(space.shape, space.dtype) for key, space in game.observation_space.spaces.items()}
    game.bind(views)
    return views


def compare(game, env, *, steps, seeds, actions, restart=250):
    """Plays both with random actions; every observation, reward and end must be the same. Returns the ends seen."""
    views, generator, ends = bound(game), np.random.default_rng(steps), []
    seeds = iter(seeds)

    def begin():
        seed = next(seeds)
        env.unwrapped.seed(seed, seed, reseed=False)
        game.reset(seed)
        return env.reset()[0]

    shown, since = begin(), 0
    for step in range(steps):
        for key, view in views.items():
            np.testing.assert_array_equal(view, shown[key], err_msg=f"{key} at step {step}")
        action = int(actions[generator.integers(len(actions))])
        shown, reward, terminated, truncated, _ = env.step(action)
        assert game.step(action) == (reward, terminated, truncated), f"step {step}"
        since += 1
        if terminated or truncated:
            for key, view in views.items():
                np.testing.assert_array_equal(view, shown[key], err_msg=f"{key} at the end, step {step}")
            ends.append(game.stats())
        if terminated or truncated or since == restart:
            shown, since = begin(), 0
    game.close()
    env.close()
    return ends


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("NetHackScore", {}),
        ("NetHackScore", {"max_episode_steps": 40}),
        ("NetHackScore", {"penalty_mode": "exp", "penalty_step": -0.001, "penalty_time": 0.1}),
        ("NetHackScore", {"penalty_mode": "linear", "allow_all_modes": True, "allow_all_yn_questions": True}),
        ("NetHackScore", {"penalty_mode": "square", "spawn_monsters": False, "character": "val-dwa-law-fem"}),
        ("NetHackScore", {"penalty_mode": "always", "character": "@"}),
        ("NetHackStaircase", {"max_episode_steps": 150}),
        ("NetHackGold", {}),
        ("NetHackScout", {}),
    ],
)
def test_nle(name, options):
    env = construct(f"{name}-v0", observation_keys=KEYS, **options)
    game = tasks.game(name, observation_keys=KEYS, **options)
    assert game.observation_space == env.observation_space
    assert game.action_space == env.action_space
    compare(game, env, steps=900, seeds=range(1000), actions=range(env.action_space.n))


def test_nle_to_the_end():
    """Long games that end by death, with every key of the keyboard that plays."""
    import nle.nethack as nethack

    actions = nethack.USEFUL_ACTIONS
    env = construct("NetHackScore-v0", observation_keys=KEYS, actions=actions, wizard=False)
    game = tasks.game("NetHackScore", observation_keys=KEYS, actions=actions)
    ends = compare(game, env, steps=4000, seeds=range(50, 1000), actions=range(len(actions)), restart=10**9)
    assert any(end["died"] for end in ends)


def test_fewer_keys_do_not_change_the_game():
    """The core fills only what is asked for; the game must not notice."""
    env = construct("NetHackScore-v0", observation_keys=(*KEYS, "screen_descriptions", "tty_chars"))
    game = tasks.game("NetHackScore", observation_keys=("glyphs", "blstats", "message"))
    compare(game, env, steps=1500, seeds=range(7, 1000), actions=range(env.action_space.n), restart=700)


MINIHACK = [
    "MiniHack-Room-5x5-v0",
    "MiniHack-Room-Ultimate-15x15-v0",
    "MiniHack-Corridor-R3-v0",
    "MiniHack-MazeWalk-9x9-v0",
    "MiniHack-ExploreMaze-Easy-v0",
    "MiniHack-Memento-Short-F2-v0",
    "MiniHack-LavaCross-Levitate-Potion-Pickup-Restricted-v0",
    "MiniHack-WoD-Easy-Restricted-v0",
    "MiniHack-Eat-v0",
    "MiniHack-Sink-v0",
    "MiniHack-Quest-Easy-v0",
    "MiniHack-HideNSeek-Lava-v0",
]


@pytest.mark.parametrize("name", MINIHACK)
def test_minihack(name):
    keys = (*KEYS[:6], *CROPS)
    env = construct(name, observation_keys=keys)
    game = tasks.game(name, observation_keys=keys)
    assert isinstance(game, RegisteredLevel)
    assert game.observation_space == env.observation_space
    assert game.action_space == env.action_space
    compare(game, env, steps=700, seeds=range(1000), actions=range(env.action_space.n))


def test_minihack_success_and_time_limit():
    """Both ways to end that are not death, with a reward for each, and blstats without the alignment."""
    options = {"max_episode_steps": 60, "reward_lose": -1, "include_alignment_blstats": False}
    env = construct("MiniHack-Room-5x5-v0", observation_keys=("blstats", "chars_crop", "message"), **options)
    game = tasks.game("MiniHack-Room-5x5-v0", observation_keys=("blstats", "chars_crop", "message"), **options)
    assert game.observation_space == env.observation_space
    ends = compare(game, env, steps=1500, seeds=range(1000), actions=range(8))
    assert {end["success"] for end in ends} == {0.0, 1.0}


@pytest.mark.parametrize("name", ["MiniHack-KeyRoom-S5-v0", "MiniHack-Sokoban1a-v1"])
def test_minihack_with_steps_of_its_own(name):
    """Environments that change how a step works are played in their own code."""
    keys = ("glyphs", "blstats", "message", "chars_crop", "inv_strs", "inv_letters")
    env = construct(name, observation_keys=keys)
    game = tasks.game(name, observation_keys=keys)
    assert isinstance(game, GymnasiumGame)
    compare(game, env, steps=400, seeds=range(1000), actions=range(env.action_space.n))


def test_crop_at_the_edges():
    """A crop is what numpy's pad would give, wherever the agent stands, for any odd size."""
    game = tasks.game("MiniHack-Corridor-R5-v0", observation_keys=("glyphs", "glyphs_crop", "blstats"), crop=(9, 9))
    game.close()
    game = tasks.game("NetHackScore", observation_keys=("glyphs", "glyphs_crop", "blstats"), crop=(15, 41))
    views, generator = bound(game), np.random.default_rng(0)
    game.reset(3)
    edges = 0
    for step in range(600):
        x, y = views["blstats"][:2]
        padded = np.pad(views["glyphs"], ((7, 7), (20, 20)))
        np.testing.assert_array_equal(views["glyphs_crop"], padded[y : y + 15, x : x + 41])
        edges += y < 7 or x < 20 or x > 58
        if game.step(int(generator.integers(23)))[1]:
            game.reset(step)
    assert edges
    game.close()
