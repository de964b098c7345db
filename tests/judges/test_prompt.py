import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from guerdon.judges import JudgeMisconfigured
from guerdon.judges.parser import parse
from guerdon.judges.prompt import Prompt, settled
from guerdon.types import TIE

CAPTION, PAIR = "You see {here} a <key>.", ("You kill the newt!", "It's a wall.")
CLASSIFICATION = ("default", "combat", "gold")
RANKING = (*CLASSIFICATION, "stairs", "zero-knowledge")


def user(prompt, item) -> str:
    system, turn = prompt.messages(item)
    assert system["role"] == "system"
    assert "NetHack" in system["content"]
    assert turn["role"] == "user"
    return turn["content"]


@pytest.mark.parametrize("goal", CLASSIFICATION)
@pytest.mark.parametrize("route", ["chat", "logprobs"])
def test_a_caption_is_asked_about(goal, route):
    text = user(Prompt(goal=goal, route=route), CAPTION)
    assert text.count(CAPTION) == 1
    assert text.count("FOO") >= 2
    assert ("<label>" in text) == (route == "chat")
    assert parse(CAPTION, text) is None  # a model that repeats the question has said nothing


@pytest.mark.parametrize("goal", RANKING)
@pytest.mark.parametrize("route", ["chat", "logprobs"])
def test_a_pair_is_asked_about(goal, route):
    text = user(Prompt(goal=goal, route=route), PAIR)
    assert text.index(PAIR[0]) < text.index(PAIR[1])
    assert ("<best>" in text) == (route == "chat")
    assert "\n\n\n" not in text
    assert parse(PAIR, text) is None


def test_goals_turn_the_examples_round():
    shown = {goal: user(Prompt(goal=goal), CAPTION) for goal in CLASSIFICATION}
    kill, gold = "experience level 2.</message> is", "gold pieces.</message> is"
    assert {g: (f"{kill} FOO" in t, f"{gold} FOO" in t) for g, t in shown.items()} == {
        "default": (True, True),
        "combat": (True, False),
        "gold": (False, True),
    }


def test_zero_knowledge_says_nothing_of_the_goal():
    without = user(Prompt(goal="zero-knowledge"), PAIR)
    for goal in RANKING[:-1]:
        assert len(user(Prompt(goal=goal), PAIR)) > len(without) + 50


def test_versions_tell_prompts_apart():
    versions = {Prompt(goal=goal, route=route).version for goal in RANKING for route in ("chat", "logprobs")}
    assert len(versions) == 2 * len(RANKING)
    assert Prompt().version == Prompt().version
    assert Prompt().version.startswith("default-chat-")


def test_a_changed_word_is_another_version(tmp_path):
    folder = shutil.copytree(Path(str(files("guerdon.judges") / "prompts")), tmp_path / "mine")
    assert Prompt(folder=str(folder)).version == Prompt().version
    (folder / "classification" / "goals" / "default.txt").write_text("Find the Amulet.")
    mine = Prompt(folder=str(folder))
    assert mine.version != Prompt().version
    assert "Find the Amulet." in user(mine, CAPTION)


@pytest.mark.parametrize(("goal", "item"), [("stairs", CAPTION), ("zero-knowledge", CAPTION)])
def test_a_goal_for_the_other_kind_of_item(goal, item):
    with pytest.raises(JudgeMisconfigured, match=r"not one for classification: choose \['combat', 'default', 'gold'\]"):
        Prompt(goal=goal).messages(item)


def test_an_unknown_goal_names_the_nearest():
    with pytest.raises(JudgeMisconfigured, match="did you mean 'combat'"):
        _ = Prompt(goal="comabt").version


def test_broken_prompts_of_ones_own(tmp_path):
    folder = shutil.copytree(Path(str(files("guerdon.judges") / "prompts")), tmp_path / "mine")
    (folder / "ranking" / "question.txt").write_text("{goal} {caption}")
    with pytest.raises(
        JudgeMisconfigured, match=r"ranking/question.txt has a bad place to fill in: KeyError\('caption'\)"
    ):
        Prompt(folder=str(folder)).messages(PAIR)
    (folder / "system.txt").unlink()
    with pytest.raises(JudgeMisconfigured, match=r"needs a file .*system.txt"):
        Prompt(folder=str(folder)).messages(PAIR)
    with pytest.raises(JudgeMisconfigured, match="no goal 'default' under"):
        Prompt(folder=str(tmp_path / "nowhere")).messages(PAIR)


def test_what_needs_no_call():
    assert settled("") == 0.0
    assert settled(("a", "a")) == TIE
    assert settled("a") is None
    assert settled(("a", "")) is None
