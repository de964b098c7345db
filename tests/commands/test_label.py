"""`guerdon label`, but for its page."""

from __future__ import annotations

import json
import math
import re
import stat

import pytest
from text_runs import config

from guerdon.cli import main
from guerdon.commands.label import _priority, _token
from guerdon.judges.answers import Answer, Answers
from guerdon.judges.store import LabelStore
from guerdon.learners.run import Config, train
from guerdon.serve.label_queue import LabelQueue
from guerdon.serve.replay import replay
from guerdon.types import FIRST, SECOND

QUESTION = "Which is better?"


def queue_of(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(n):
    return [{"prompt": "", "first": f"one {i}", "second": f"two {i}"} for i in range(n)]


def fails(capsys, *words):
    with pytest.raises(SystemExit) as error:
        main(["label", *map(str, words)])
    assert error.value.code == 2
    return capsys.readouterr().err


def test_a_token_is_drawn_once_and_nobody_else_can_read_it(tmp_path, monkeypatch):
    token = _token(tmp_path / "queue.jsonl", None)
    assert len(token) >= 20
    assert _token(tmp_path / "queue.jsonl", None) == token
    assert stat.S_IMODE((tmp_path / "queue.jsonl.token").stat().st_mode) == 0o600
    assert _token(tmp_path / "other.jsonl", None) != token
    monkeypatch.setenv("MINE", "secret")
    assert _token(tmp_path / "queue.jsonl", "MINE") == "secret"
    with pytest.raises(ValueError, match="--token-env NONE"):
        _token(tmp_path / "queue.jsonl", "NONE")
    (tmp_path / "queue.jsonl.token").write_text("\n")
    with pytest.raises(ValueError, match="delete it"):
        _token(tmp_path / "queue.jsonl", None)


def test_scores_of_the_queue_or_of_rewards_say_what_is_asked_first(tmp_path):
    path = tmp_path / "queue.jsonl"
    rows = [row | {"scores": [0, s]} for row, s in zip(texts(3), (3, 0.5, -1), strict=True)]
    order = _priority(LabelQueue(queue_of(path, *rows)), (), None)
    assert order is not None
    assert sorted(range(3), key=lambda i: -order[i]) == [1, 2, 0]
    assert _priority(LabelQueue(queue_of(path, *texts(3))), (), None) is None
    sized = [{"prompt": "", "first": "a" * n, "second": "a"} for n in (9, 2, 5)]
    order = _priority(LabelQueue(queue_of(path, *sized)), ("scorers:length",), None)
    assert order is not None
    assert sorted(range(3), key=lambda i: -order[i]) == [1, 2, 0]
    twice = _priority(LabelQueue(queue_of(path, *sized)), ("scorers:length", "scorers:lengths"), None)
    assert twice == pytest.approx(order), "rewards that agree are as sure as one"
    with pytest.raises(ValueError, match="1 of 3 pairs"):
        _priority(LabelQueue(queue_of(path, *rows[:2], texts(3)[2])), (), None)
    with pytest.raises(ValueError, match="scorers:matches cannot score 6 of 6 texts: missing column"):
        _priority(LabelQueue(queue_of(path, *texts(3))), ("scorers:matches",), None)


def test_export_and_agreement_in_the_terminal(tmp_path, capsys):
    path = queue_of(tmp_path / "queue.jsonl", *texts(3), texts(1)[0])
    main(["label", str(path), "--agreement"])
    told = capsys.readouterr()
    assert "nobody has answered yet" in told.out
    assert "duplicates" in told.err
    answers = Answers(LabelStore(tmp_path / "queue.jsonl.labels.sqlite"), QUESTION)
    for name, values in (("Ada", (FIRST, SECOND, FIRST)), ("[bold]Bo", (FIRST, SECOND, None))):
        for i, value in enumerate(values):
            answers.give(name, Answer(f"{name}{i}", (f"one {i}", f"two {i}"), value, False, 1.0))
    main(["label", str(path), "--agreement", "--export", str(tmp_path / "pairs.jsonl"), "--ties", "drop"])
    told = capsys.readouterr().out
    assert "5 labels in" in told
    assert "1 skipped left out" in told
    assert "[bold]Bo" in told
    assert "100%" in told
    assert "1.00" in told
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 5


def test_bad_use_says_what_to_do(tmp_path, capsys):
    path = queue_of(tmp_path / "queue.jsonl", *texts(1))
    assert "no file" in fails(capsys, tmp_path / "none.jsonl")
    assert "at least one label" in fails(capsys, path, "--each", 0, "--agreement")
    bad = queue_of(tmp_path / "bad.jsonl", texts(1)[0], {"prompt": 3})
    assert "--bad skip" in fails(capsys, bad, "--agreement")
    main(["label", str(bad), "--bad", "skip", "--agreement"])
    assert "1 bad lines" in capsys.readouterr().err
    assert "exists already" in fails(capsys, path, "--make", tmp_path / "run")
    assert "two --episodes" in fails(capsys, tmp_path / "new.jsonl", "--make", tmp_path / "run", "--episodes", 1)
    same = ("--make", tmp_path / "run", "--make", tmp_path / "run")
    assert "different names" in fails(capsys, tmp_path / "new.jsonl", *same)
    assert "is no run" in fails(capsys, tmp_path / "new.jsonl", "--make", tmp_path)


def test_episodes_of_two_runs_game_by_game_and_of_one_with_each_other(tmp_path, capsys):
    for number, steps in ((1, 128), (2, 2048)):
        train(config(steps=steps), tmp_path / f"run{number}")
    path = tmp_path / "games" / "queue.jsonl"
    words = ["label", str(path), "--episodes", "2", "--most-steps", "60"]
    main([*words, "--make", str(tmp_path / "run1"), "--make", str(tmp_path / "run2")])
    assert "2 pairs" in capsys.readouterr().out
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["runs"] for row in rows] == [["run1", "run2"]] * 2
    assert all(math.isfinite(paid) for row in rows for paid in row["paid"])
    queue = LabelQueue(path)
    assert [pair.files[0].name for pair in queue.pairs if pair.files] == ["run1-0.cast", "run1-1.cast"]
    assert all("nothing happens" in pair.first for pair in queue.pairs), "the captions go with a recording"
    found = replay(queue.file(queue.pairs[0], 0))
    assert found["kind"] == "terminal"
    assert 2 <= len(found["times"]) <= 61
    shown = json.dumps(found["frames"])
    assert "room" in shown
    assert not re.search("ONI|Extrinsic", shown), "what was paid is not shown"
    main(
        ["label", str(tmp_path / "one.jsonl"), "--make", str(tmp_path / "run1"), "--episodes", "3", "--most-steps", "5"]
    )
    assert "3 pairs" in capsys.readouterr().out


def test_episodes_of_a_task_that_draws_are_pictures(tmp_path):
    few = Config(task="AGV-S-static", learner="PPO(rollout=16)", option=("steps=6",), steps=64, envs=2, workers=0)
    train(few, tmp_path / "run")
    main(["label", str(tmp_path / "queue.jsonl"), "--make", str(tmp_path / "run"), "--episodes", "2"])
    (pair,) = LabelQueue(tmp_path / "queue.jsonl").pairs
    assert pair.files is not None
    assert len(replay(pair.files[0])["frames"]) == 6
