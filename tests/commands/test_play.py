"""guerdon evaluate, watch and rescore, on runs small enough to make here."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image
from text_runs import config

from guerdon.cli import main
from guerdon.commands.watch import terminal
from guerdon.learners.checkpoint import load_newest
from guerdon.learners.play import Player
from guerdon.learners.run import Config, open_run, train


@pytest.fixture(scope="module")
def corridor(tmp_path_factory):
    return train(config(), tmp_path_factory.mktemp("runs") / "corridor")


@pytest.fixture(scope="module")
def nethack(tmp_path_factory):
    pytest.importorskip("nle")
    few = Config(
        task="NetHackScore", reward="0.1 * Extrinsic() + 0.4 * ONI()", judge="KeywordJudge(words=('see here', 'door'))",
        learner="PPO(rollout=16, minibatches=2, keys=('blstats',))", steps=128, envs=4, workers=0, label_delay=1,
        option=("observation_keys=('blstats', 'message')", "max_episode_steps=40"),
    )  # fmt: skip
    return train(few, tmp_path_factory.mktemp("runs") / "nethack")


def test_evaluate_writes_what_it_prints(corridor, capsys):
    main(["evaluate", str(corridor), "--episodes", "12", "--envs", "4"])
    stored = json.loads((corridor / "evaluation.json").read_text())
    assert stored["episodes"] == 12
    figure = stored["figures"]["return"]
    assert figure["least"] <= figure["mean"] <= figure["most"]
    assert f"{figure['mean']:,.3f}" in capsys.readouterr().out
    assert {"success", "length", "term/ONI", "term/Extrinsic"} <= stored["figures"].keys()


def test_evaluate_plays_the_same_games_for_the_same_seed(corridor):
    def figures(seed):
        main(["evaluate", str(corridor), "--episodes", "8", "--envs", "4", "--seed", str(seed)])
        return json.loads((corridor / "evaluation.json").read_text())["figures"]

    assert figures(1) == figures(1)
    assert figures(1) != figures(2)


def test_a_run_whose_reward_remembers_each_game_plays_with_another_number_of_games(tmp_path):
    reward = "Normalise(Extrinsic()) + Stream(Normalise(RND(features=4, hidden=(8,)), episodic=False), episodic=False)"
    few = Config(task="DeepSea", reward=reward, learner="PPO(rollout=16)", steps=128, envs=4, workers=0, seed=1)
    folder = train(few, tmp_path / "run")
    main(["evaluate", str(folder), "--episodes", "6", "--envs", "3"])
    figures = json.loads((folder / "evaluation.json").read_text())["figures"]
    assert figures["length"]["mean"] == 10
    with Player(open_run(folder), envs=3) as player:
        state, *_ = load_newest(folder / "checkpoints")
        moments = {k: v for k, v in state["learner"]["reward"].items() if "moments" in k or "net" in k}
        now = player.learner.reward.state_dict()
        assert any(v.numel() > 1 for v in moments.values())
        assert all((now[k] == v).all() for k, v in moments.items() if hasattr(v, "numel"))  # learnt: kept
        assert all(v.shape == (3,) for k, v in now.items() if k.endswith("carried"))


def test_watch_films_a_task_that_draws_and_refuses_one_that_does_not(tmp_path, corridor, capsys):
    few = Config(task="AGV-S-static", learner="PPO(rollout=16)", option=("steps=12",), steps=64, envs=2, workers=0)
    folder = train(few, tmp_path / "run")
    main(["watch", str(folder), "--video", str(tmp_path / "episode.gif")])
    assert "13 pictures" in capsys.readouterr().out  # the first observation's and one a step
    with Image.open(tmp_path / "episode.gif") as film:
        assert film.n_frames == 13
        assert film.size == (400, 400)
    for run, name, said in ((folder, "episode.avi", "ends in .gif"), (corridor, "episode.gif", "draws no pictures")):
        with pytest.raises(SystemExit):
            main(["watch", str(run), "--video", str(tmp_path / name)])
        assert said in capsys.readouterr().err


def test_watch_shows_nethack_s_own_screen_with_terms_and_captions(nethack, tmp_path, capsys):
    cast = tmp_path / "game.cast"
    main(["watch", str(nethack), "--cast", str(cast), "--most-steps", "30"])
    lines = [json.loads(line) for line in cast.read_text().splitlines()]
    assert lines[0]["version"] == 2
    assert len(lines) == 31
    assert [event[0] for event in lines[1:]] == pytest.approx([i / 8 for i in range(30)], abs=1e-3)
    frame = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", lines[-1][2])
    assert "Dlvl:1" in frame  # the bottom line of the real game
    assert "@" in frame
    assert "ONI" in frame
    assert "Extrinsic" in frame
    assert "30 frames" in capsys.readouterr().out


def test_watch_plays_what_is_no_nethack_too(corridor, tmp_path):
    cast = tmp_path / "corridor.cast"
    main(["watch", str(corridor), "--cast", str(cast), "--episodes", "1"])
    frames = cast.read_text()
    assert "room" in frames
    assert "caption, seen" in frames


def test_a_screen_keeps_its_characters_and_colours():
    import numpy as np

    chars = np.full((24, 80), ord("."), np.uint8)
    colours = np.zeros((24, 80), np.int8)
    chars[3, 5], colours[3, 5] = ord("@"), 15
    shown = terminal(chars, colours, np.array([3, 5]))
    assert "\x1b[0;1;37m\x1b[7m@\x1b[27m" in shown
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()[3] == "....." + "@" + "." * 74


def test_rescore_shows_what_another_reward_would_have_paid(corridor, tmp_path, capsys):
    out = tmp_path / "compared.json"
    main(["rescore", str(corridor), "--reward", "Extrinsic() + 0.1 * ONI(power=0)", "--out", str(out)])
    found = json.loads(out.read_text())
    sums = {(row["side"], row["term"]): row["sum"] for row in found["terms"]}
    assert sums["before", "Extrinsic"] == sums["after", "Extrinsic"]
    assert sums["after", "ONI"] > sums["before", "ONI"] > 0  # without the gate repeats pay in full
    assert all(row["after"] >= row["before"] for row in found["captions"])
    assert "open" in capsys.readouterr().out


def test_rescore_with_the_run_s_own_reward_changes_nothing(corridor, tmp_path):
    out = tmp_path / "same.json"
    main(["rescore", str(corridor), "--reward", "Extrinsic() + 0.1 * ONI()", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["changed"] == 0.0
    assert found["correlation"] == pytest.approx(1.0)


def test_rescore_can_ask_another_judge(corridor, tmp_path):
    out = tmp_path / "other.json"
    main(["rescore", str(corridor), "--reward", "ONI()", "--judge", "KeywordJudge(words=('gold',))", "--out", str(out)])
    paid = {row["caption"]: row["after"] for row in json.loads(out.read_text())["captions"]}
    assert all("gold" in caption for caption, after in paid.items() if after)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("rescore", "{run}", "--reward", "Extrinsic(x=1)"), "Extrinsic"),
        (("evaluate", "{run}", "--episodes", "0"), "at least 1"),
        (("watch", "{run}", "--fps", "0"), "positive"),
        (("watch", "{run}x"), "is no run"),
    ],
)
def test_mistakes_are_answered_in_one_line(corridor, capsys, words, expected):
    with pytest.raises(SystemExit) as stop:
        main([word.format(run=corridor) for word in words])
    assert stop.value.code == 2
    assert expected in capsys.readouterr().err
