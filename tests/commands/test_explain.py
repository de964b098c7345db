from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from guerdon import cli
from guerdon.commands import score as score_command
from guerdon.commands.explain import score
from guerdon.models.tiny_model import tiny_model

ANSWERS = [
    {"prompt": "1+1=", "completion": ["It is é ", "\\boxed{2}"], "answer": "2"},
    {"prompt": "1+1=", "completion": ["It is ", "\\boxed{3}"], "answer": "2"},
]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ANSWERS))
    return path


@pytest.fixture
def tiny(monkeypatch) -> Any:
    """The model that any --model names."""
    model = tiny_model()
    monkeypatch.setattr(score_command, "load_model", lambda name: model)
    return model


def test_a_file_is_scored_and_its_characters_are_tokens(answers, tmp_path, capsys):
    cli.main(["explain", str(answers), "--reward", "ExactMatch()", "--out", str(tmp_path / "page.html")])
    said = capsys.readouterr().out
    assert "It is é │\\boxed{2}<end>" in said, "a character of two bytes once, a line where a step begins"
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("term ExactMatch")] == ["+1", "0"]
    html = (tmp_path / "page.html").read_text()
    assert html.count("<section") == 2
    assert "é" in html


def test_rows_hold_what_the_reward_and_the_credit_gave():
    first, second = score(ANSWERS, "0.5 * ExactMatch()", None)
    assert (first["value"], second["value"]) == (0.5, 0.0)
    assert first["terms"] == {"ExactMatch": 0.5}
    assert first["advantage"] == [0.25] * len(first["tokens"])
    assert second["advantage"] == [-0.25] * len(second["tokens"])
    assert first["steps"] == [0] * 9 + [1] * 10
    alone = score(ANSWERS[:1], "ExactMatch()", None)[0]
    assert alone["advantage"] is None, "one answer alone has nothing to be compared with"


def test_a_model_gives_tokens_and_log_probabilities(tiny):
    row = score([{"prompt": "1+1=", "completion": "2 or 3"}], "SelfCertainty()", "any")[0]
    assert row["tokens"] == list("2 or 3")
    ids = tiny.encode("1+1=2 or 3")
    expected = tiny.score([ids[:5]], [ids[5:]]).log_prob[0].tolist()
    assert row["log_prob"] == pytest.approx(expected, abs=1e-4)
    bare = score([{"prompt": "1+1=", "completion": "2"}], None, "any")[0]
    assert "value" not in bare
    assert math.isfinite(bare["log_prob"][0])


def test_one_completion_from_the_command_line(tiny, capsys):
    cli.main(["explain", "--prompt", "1+1=", "--completion", "2 it is", "--model", "any", "--by", "log-probability"])
    said = capsys.readouterr().out
    assert "tokens coloured by log-probability" in said
    assert "2 it is" in said
    assert "reward" not in said


def test_samples_of_a_run_are_shown_as_they_were_trained_on(tmp_path, capsys):
    rows = [
        {"step": step, "group": 0, "prompt": "q", "text": "ab", "tokens": ["a", "b"], "value": None, "steps": [0, 0],
         "terms": {"Brief": None}, "stages": {}, "weight": 0.0, "advantage": [0.0, 0.0], "log_prob": [-1.0, -2.0]}
        for step in (1, 2, 2)
    ]  # fmt: skip
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cli.main(["explain", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.count("completion ") == 2, "those of the last step"
    assert said.count("not scored") >= 4
    cli.main(["explain", str(tmp_path), "--step", "1", "--by", "Brief"])
    assert "tokens coloured by term Brief: nothing but 0, or not scored" in capsys.readouterr().out
    cli.main(["explain", str(tmp_path), "--rows", "1"])
    assert capsys.readouterr().out.count("completion ") == 1
    cli.main(["explain", str(tmp_path), "--reward", "adapters.small_rewards:Brief()"])
    assert "term Brief" in capsys.readouterr().out, "samples of a run can be scored with another reward"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "name a run or a file"),
        (["--prompt", "a"], "name a run or a file"),
        (["nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["FILE"], "pass --reward, or --model"),
        (["FILE", "--reward", "ExactMach()"], "did you mean ExactMatch"),
        (["FILE", "--reward", "SelfCertainty()"], "needs a language model"),
        (["FILE", "--reward", "ExactMatch()", "--by", "nothing"], "nothing is called 'nothing' here: there are reward"),
        (["FILE", "--step", "3", "--reward", "ExactMatch()", "--rows", "-1"], "rows"),
    ],
)
def test_what_it_says_when_used_wrongly(answers, args, says, capsys):
    with pytest.raises(SystemExit):
        cli.main(["explain", *(str(answers) if a == "FILE" else a for a in args)])
    assert says in " ".join(capsys.readouterr().err.split())
