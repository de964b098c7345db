"""`guerdon score`: every line of a file has one outcome, however often it is interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guerdon.cli import main
from guerdon.commands.score import load_model
from guerdon.models import RemoteLM, tiny_model

TESTS = Path(__file__).parents[1]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "answers.jsonl"


def write(file, *rows):
    file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))


def row(completion, prompt="p", **columns):
    return {"prompt": prompt, "completion": completion, **columns}


def score(file, reward, *more):
    """Exit status and the scored rows."""
    try:
        main(["score", str(file), "--reward", reward, "--quiet", *more])
        status = 0
    except SystemExit as left:
        status = left.code
    out = file.with_name(f"{file.stem}.scored.jsonl")
    return status, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_each_row_comes_back_with_its_score_and_its_terms(file):
    write(file, row("a", answer="a"), row("bbb", answer="a"), row(["c", "d"], "q", answer="cd"))
    status, rows = score(file, "text_rewards:Longer() + 0.5 * text_rewards:Answer()")
    assert status == 0
    assert rows == [
        row("a", answer="a") | {"reward": 0.5, "reward/Longer": 0.0, "reward/Answer": 0.5},
        row("bbb", answer="a") | {"reward": 1.0, "reward/Longer": 1.0, "reward/Answer": 0.0},
        row(["c", "d"], "q", answer="cd") | {"reward": 0.5, "reward/Longer": None, "reward/Answer": 0.5},
    ]


def test_bad_rows_are_named_by_their_lines_and_the_others_scored(file, capsys):
    write(file, row("a"), "{not json", "[1]", '{"prompt": "p"}', row(7), "", row("raise"), row("nan"), row("b"))
    status, rows = score(file, "scorers:odd")
    assert status == 1
    assert [r["reward"] for r in rows] == [1.0, *[None] * 7, 1.0]
    assert [r.get("reward/line") for r in rows] == [None, 2, 3, 4, 5, 6, None, None, None]
    assert rows[7]["reward/reason"] == "not scored: NaN"
    said = capsys.readouterr()
    assert "2 scored" in said.out
    assert [line.split(":")[0] for line in said.err.splitlines()] == [
        "line 2",
        "line 3",
        "line 4",
        "line 5",
        "line 6",
        "line 7",
    ]
    assert "line 4: bad row: no column 'completion'; there are ['prompt']" in said.err
    assert "line 7: raised: LookupError: no such thing" in said.err


def test_what_is_left_out_on_purpose_is_no_failure(file):
    write(file, row("nan"), row("none"))
    assert score(file, "scorers:odd")[0] == 0


def test_columns_may_be_called_otherwise(file):
    write(file, {"question": "p", "response": "abc"})
    status, rows = score(file, "scorers:length", "--prompt", "question", "--completion", "response")
    assert (status, rows[0]["reward"], rows[0]["response"]) == (0, 3.0, "abc")


def test_a_file_that_grew_is_scored_on_from_there(file, capsys):
    write(file, row("a"), row("bb"))
    score(file, "scorers:length")
    write(file, row("a"), row("bb"), row("ccc", "q"))
    assert [r["reward"] for r in score(file, "scorers:length")[1]] == [1.0, 2.0, 3.0]
    assert capsys.readouterr().out.endswith(": 1 scored (2 rows were there before)\n")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_row_cut_short_and_a_group_cut_apart_are_scored_again(file, cut):
    write(file, row("a"), row("bbb"), row("cc"), row("d", "q"), row("ee", "q"))
    _, whole = score(file, "text_rewards:Longer()")
    out = file.with_name("answers.scored.jsonl")
    text = out.read_bytes()
    for kept in range(0, len(text), cut):
        out.write_bytes(text[:kept])
        assert score(file, "text_rewards:Longer()")[1] == whole


def test_another_command_does_not_go_on_with_the_same_file(file, capsys):
    write(file, row("a"), row("bb"))
    score(file, "scorers:length")
    assert score(file, "scorers:odd")[0] == 2
    assert "name another --out" in capsys.readouterr().err
    write(file, row("a"), row("changed"))
    assert score(file, "scorers:length")[0] == 2
    assert "line 2 is not what it was" in capsys.readouterr().err
    assert score(file, "scorers:odd", "--out", str(file))[0] == 2


@pytest.mark.parametrize("reward", ["ExactMach()", "RLPR()"])  # misspelt; without the model it needs
def test_what_cannot_be_made_leaves_no_file_behind(file, reward):
    write(file, row("a", answer="a"))
    assert score(file, reward) == (2, [])
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert score(file, "ExactMatch()")[1][0]["reward"] == 0.0


def test_killed_again_and_again_it_scores_each_row_once(file):
    write(file, *(row("x" * i, f"p{i // 4}", n=i) for i in range(400)))
    log = file.with_name("calls.txt")
    command = [
        sys.executable,
        "-m",
        "guerdon.cli",
        "score",
        str(file),
        "--reward",
        "scorers:slow_lengths",
        "--batch",
        "4",
    ]
    env = {**os.environ, "PYTHONPATH": str(TESTS), "CALLS": str(log), "OMP_NUM_THREADS": "1"}
    out = file.with_name("answers.scored.jsonl")
    for goal in (20, 200):
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not out.exists() or len(out.read_bytes().splitlines()) < goal:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = out.read_bytes()
    subprocess.run(command, env=env, check=True, capture_output=True)
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert [r["n"] for r in rows] == list(range(400))
    assert [r["reward"] for r in rows] == [float(i) for i in range(400)]
    assert out.read_bytes().startswith(kept[: kept.rfind(b"\n", 0, -200) + 1]), "what was written stayed as it was"
    calls = log.read_text().split()
    assert len(calls) < 2 * 400, "what had been scored was not scored anew"


def test_models_are_loaded_from_folders_or_asked_elsewhere(tmp_path, file):
    made = tiny_model()
    made.tokenizer.model_max_length = 512
    made.module.save_pretrained(tmp_path / "tiny")
    made.tokenizer.save_pretrained(tmp_path / "tiny")
    remote = load_model(f"{tmp_path / 'tiny'}@http://127.0.0.1:9/v1")
    assert isinstance(remote, RemoteLM)
    assert (remote.model, remote.url) == (str(tmp_path / "tiny"), "http://127.0.0.1:9/v1/completions")
    write(file, row("<answer>2</answer>", answer="2"), row("<answer>3</answer>", answer="2"))
    status, rows = score(file, "VeriFree() + ExactMatch()", "--model", str(tmp_path / "tiny"))
    assert status == 0
    assert all(0 < r["reward/VeriFree"] < 1 for r in rows)
