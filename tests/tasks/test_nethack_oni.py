"""ONI's tasks in the real game: goals, prompts, statistics. Wizard mode sets the scene where luck would have to."""

import numpy as np
import pytest

pytest.importorskip("nle", reason="needs the extra nethack")

from nle import nethack
from nle.nethack import Command

from guerdon import tasks
from guerdon.tasks.nethack.core import DEPTH, MORE, ON_STAIRS_DOWN, TIME, YN, X, Y
from guerdon.tasks.nethack.oni import ONI_ACTIONS, STAIRS

KEYS = ("glyphs", "blstats", "message", "inv_letters", "inv_strs")
TELEPORT, MAP, CREATE, WISH = 0x16, 0x06, 0x07, 0x17


def begin(name, seed=1, wizard=True, **options):
    game = tasks.game(name, wizard=wizard, observation_keys=KEYS, spawn_monsters=False, **options)
    views = {key: np.zeros(space.shape, space.dtype) for key, space in game.observation_space.spaces.items()}
    game.bind(views)
    game.reset(seed)
    return game, views


def types(game, *keys):
    for key in keys:
        for code in key.encode() if isinstance(key, str) else [key]:
            game.press(code)
    game.settle()


def act(game, key):
    return game.step(ONI_ACTIONS.index(key))


def shown(views):
    return views["message"].tobytes().partition(b"\0")[0]


def on_the_stairs_of(level, name):
    """A game whose agent stands on the stairs down of `level`; not every level has a way there without digging."""
    for seed in range(1, 50):
        game, views = begin(name, seed)
        types(game, TELEPORT, f"{level}\r")
        types(game, MAP)
        for _ in range(6):
            types(game, "_>.")
            if game.internal[ON_STAIRS_DOWN]:
                return game, views
        game.close()
    raise AssertionError("no way to the stairs in any game")


def test_actions():
    assert tasks.game("NetHackOracle").action_space.n == 23 + 5
    assert {Command.CAST, Command.QUAFF, Command.PRAY, Command.PICKUP, Command.PAY} <= set(ONI_ACTIONS)


@pytest.mark.parametrize("level", [3, 4])
def test_staircase(level):
    game, views = on_the_stairs_of(level - 1, f"NetHackStaircaseLvl{level}")
    assert act(game, ord(">")) == (50.0, True, False)
    assert STAIRS in shown(views)  # the last observation is the new level, not the end of the game
    assert game.message() == shown(views)
    assert views["blstats"][DEPTH] == level
    assert game.stats()["success"] == 1.0
    assert game.stats()["depth"] == level
    game.reset(1)
    assert game.now[DEPTH] == 1


def test_staircase_is_not_any_way_down():
    game, _ = begin("NetHackStaircaseLvl3")
    types(game, TELEPORT, "3\r")
    assert game.now[DEPTH] == 3
    assert act(game, Command.SEARCH) == (0.0, False, False)
    game, _ = on_the_stairs_of(1, "NetHackStaircaseLvl3")
    assert act(game, ord(">")) == (0.0, False, False)
    assert game.now[DEPTH] == 2


def test_continual_pays_once_and_goes_on():
    game, _ = on_the_stairs_of(2, "NetHackStaircaseLvl3Continual")
    assert act(game, ord(">")) == (50.0, False, False)
    assert act(game, ord("<")) == (0.0, False, False)
    assert act(game, ord(">")) == (0.0, False, False)
    assert game.now[DEPTH] == 3
    assert game.measure(1)["success"] == 1.0


def test_stairs_message_is_put_back():
    """Where more is to be said below, a --More-- hides the stairs message, and passing it wipes it."""
    game, views = on_the_stairs_of(2, "NetHackStaircaseLvl3")
    pressed, press = [], game.press
    game.press = lambda key: (press(key), pressed.append((key, game.internal[MORE])))
    assert act(game, ord(">")) == (50.0, True, False)
    assert pressed == [(ord(">"), 1), (ord(" "), 0)]
    assert STAIRS in shown(views)


@pytest.mark.parametrize("name", ["NetHackOracle", "NetHackOracleSober"])
def test_oracle(name):
    game, views = begin(name)
    assert act(game, Command.SEARCH) == (0.0, False, False)
    types(game, CREATE, "Oracle\ry")
    assert act(game, Command.SEARCH) == (50.0, True, False)
    x, y = views["blstats"][[X, Y]]
    assert game._glyph in views["glyphs"][y - 1 : y + 2, x - 1 : x + 2]
    assert game.stats()["success"] == 1.0


def test_oracle_far_away_is_not_met():
    game, views = begin("NetHackOracle")
    x, y = views["blstats"][[X, Y]]
    views["glyphs"][(y + 5) % 21, x] = game._glyph
    assert not game.reached()
    views["glyphs"][y + 1, x] = game._glyph
    assert game.reached()


def test_sober_does_not_believe_hallucinations():
    for name, believes in (("NetHackOracle", True), ("NetHackOracleSober", False)):
        game, views = begin(name)
        types(game, WISH, "blessed potion of hallucination\r")
        items = zip(views["inv_letters"], views["inv_strs"], strict=True)
        letter = next(chr(c) for c, item in items if b"potion" in item.tobytes())
        types(game, "q", letter)
        assert views["blstats"][nethack.NLE_BL_CONDITION] & nethack.BL_MASK_HALLU
        x, y = views["blstats"][[X, Y]]
        views["glyphs"][y, x + 1] = game._glyph  # what a pet may look like now
        assert game.reached() is believes


def test_y_eats_the_first_thing_listed():
    game, views = begin("NetHackScoreOni", character="val-hum-neu-fem", wizard=False)
    act(game, Command.EAT)
    question = shown(views)
    assert b"What do you want to eat? [" in question
    assert game.internal[YN]
    letter = question[question.index(b"[") + 1]
    pressed, press = [], game.press
    game.press = lambda key: (pressed.append(key), press(key))
    act(game, ord("y"))
    assert pressed[0] == letter
    assert not game.internal[YN]


def test_y_moves_where_nothing_is_asked():
    game, _ = begin("NetHackScoreOni", wizard=False)
    pressed, press = [], game.press
    game.press = lambda key: (pressed.append(key), press(key))
    act(game, ord("y"))
    assert pressed[0] == ord("y")


@pytest.mark.parametrize(
    ("question", "is_open"),
    [
        (b"There is a newt corpse here; eat it? [ynq] (n)", True),
        (b"What do you want to drink? [f or ?*]", True),
        (b"In what direction?", True),
        (b"Are you sure you want to pray? [yn] (n)", True),
        (b"Really attack the peaceful gnome?", True),
        (b"Beware, there will be no return!  Still climb? [yn] (n)", False),
        (b"What do you want to wield? [- abc or ?*]", False),
    ],
)
def test_which_questions_stay_open(question, is_open):
    game, _ = begin("NetHackRewardFree", wizard=False)
    assert game.is_open(question) is is_open
    game.close()


def test_texts_are_escaped_and_questions_declined():
    game, views = begin("NetHackScoreOni", wizard=True)
    game.press(CREATE)
    assert game.internal[2]  # a text to type
    game.settle()
    assert not game.internal[2]
    game.press(ord("w"))
    assert game.internal[YN]
    game.settle()
    assert not game.internal[YN]
    assert views["blstats"][TIME] == 1


def test_skills_are_enhanced_at_once():
    """The real list of skills is opened and left again, no time passes, and the message that said so stays."""
    game, views = begin("NetHackScoreOni", character="val-hum-neu-fem", wizard=False)
    press, pressed = game.press, []
    told = b"You feel more confident in your fighting skills."

    def tell(key):
        press(key)
        pressed.append(key)
        if key == Command.SEARCH:
            game.buffers["message"][: len(told)] = np.frombuffer(told, np.uint8)

    game.press = tell
    act(game, Command.SEARCH)
    assert pressed[:3] == [Command.SEARCH, Command.ENHANCE, ord("a")]
    assert views["blstats"][TIME] == 2  # the search alone
    assert not any(game.internal[i] for i in (1, 2, 3))
    assert shown(views) == told


def test_casting_casts_the_first_spell():
    for seed in range(40):
        game, views = begin("NetHackScoreOni", seed=seed, character="wiz-elf-cha-fem", wizard=False)
        act(game, Command.CAST)
        if shown(views) == b"In what direction? ":
            break
        game.close()
    assert game.internal[YN]
    act(game, ord("j"))
    assert not game.internal[YN]


def test_casting_without_spells_presses_nothing_more():
    game, _ = begin("NetHackScoreOni", character="val-hum-neu-fem", wizard=False)
    pressed, press = [], game.press
    game.press = lambda key: (pressed.append(key), press(key))
    act(game, Command.CAST)
    assert ord("a") not in pressed


def test_reward_free_pays_nothing_but_keeps_the_score():
    generator = np.random.default_rng(0)
    free, _ = begin("NetHackRewardFree", wizard=False, max_episode_steps=150)
    score, _ = begin("NetHackScoreOni", wizard=False, max_episode_steps=150)
    for seed in range(3):
        free.reset(seed)
        score.reset(seed)
        end = False
        while not end:
            action = int(generator.integers(28))
            reward, end, _ = free.step(action)
            assert reward == 0.0
            assert score.step(action)[1] == end
        assert free.stats() == score.stats()
        assert {"depth", "gold", "experience_level", "scout", "kills", "score", "turns", "died"} <= set(free.stats())
        assert free.stats()["scout"] > 0
        assert free.stats()["turns"] > 10


def test_kills_are_counted():
    game, _ = begin("NetHackScoreOni")
    types(game, CREATE, "newt\r")
    glyphs, now = game.buffers["glyphs"], game.now
    monsters = range(nethack.GLYPH_MON_OFF, nethack.GLYPH_PET_OFF)
    newt_glyph = next(g for g in monsters if nethack.permonst(nethack.glyph_to_mon(g)).mname == "newt")
    for _ in range(60):
        x, y = now[X], now[Y]
        around = {key: int(glyphs[y + i // 3 - 1, x + i % 3 - 1]) for i, key in enumerate("ykuh.lbjn")}
        newt = [key for key, glyph in around.items() if glyph == newt_glyph]
        act(game, ord(newt[0]) if newt else Command.SEARCH)
        if game.kills:
            break
    assert game.kills == 1
