"""`guerdon audit`: every kind of model, resuming, bad input, reports."""

import json
import math
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from judges.model_server import completion, serving
from serve.reward_process import RewardProcess
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from guerdon.cli import main
from guerdon.commands.audit_model import kind_of
from guerdon.models import tiny_model

ROOT = Path(__file__).parents[2]
DATA = ROOT / "claims/data"


@pytest.fixture
def suite(tmp_path):
    rows = [
        {"prompt": f"p{i}", "chosen": "long " * (2 + i), "rejected": "short" if i else "longest of all answers"}
        for i in range(4)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def rb2(tmp_path):
    row = {"prompt": "name one", "chosen": ["right"], "rejected": ["bad", "worse", "worst"], "subset": "Math"}
    path = tmp_path / "rb2.jsonl"
    path.write_text("".join(json.dumps(row | {"id": str(i), "prompt": f"name {i}"}) + "\n" for i in range(6)))
    return path


def audit(*arguments):
    main(["audit", *map(str, arguments), "--quiet"])


def report(out):
    return json.loads((out / "audit.json").read_text())


def error(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        audit(*arguments)
    assert left.value.code == 2
    return capsys.readouterr().err


def test_a_reward_is_scored_and_reported(suite, tmp_path, capsys):
    out = tmp_path / "out"
    audit("ShortPenalty(least=1000)", "--suite", suite, "--out", out)
    found = report(out)
    assert found["score"]["value"] == 0.75
    assert found["model"] == "ShortPenalty(least=1000)"
    assert found["worst"][0]["wrong"] == "longest of all answers"
    said = capsys.readouterr().out
    assert "pairs" in said
    assert "75.0" in said
    assert "likes length" not in said  # three of four right answers are the longer: no more than is right
    assert "ShortPenalty" in (out / "audit.html").read_text()


def test_the_same_scores_from_a_function_a_file_and_a_server(suite, tmp_path):
    audit("ShortPenalty(least=1000)", "--suite", suite, "--out", tmp_path / "reward")
    audit("scorers:length", "--suite", suite, "--out", tmp_path / "function")
    rows = [json.loads(line) for line in suite.read_text().splitlines()]
    scores = [
        {"prompt": r["prompt"], "completion": r[k], "reward": len(r[k])} for r in rows for k in ("chosen", "rejected")
    ]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(s) + "\n" for s in scores))
    audit(tmp_path / "scores.jsonl", "--suite", suite, "--out", tmp_path / "file")
    with RewardProcess("ShortPenalty(least=1000)") as server:
        audit(server.url, "--suite", suite, "--out", tmp_path / "server")
    for kind in ("reward", "function", "file", "server"):
        assert report(tmp_path / kind)["subsets"][0]["score"]["value"] == 0.75, kind


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A sequence classifier with one label, a chat template and 40 tokens of room, a character each."""
    folder = tmp_path_factory.mktemp("classifier")
    base = tiny_model(max_length=40)
    config = base.module.config
    config.num_labels = 1
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def own_scores(folder, texts):
    """What transformers makes of texts."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return [float(model(**tokenizer(t, return_tensors="pt", add_special_tokens=False)).logits) for t in texts]


def test_a_folder_of_transformers_scores_as_transformers_does(classifier, tmp_path):
    pairs = [("2+2?", "four", "five"), ("a", "b", "cc")]
    path = tmp_path / "p.jsonl"
    path.write_text(
        "".join(json.dumps(dict(zip(("prompt", "chosen", "rejected"), p, strict=True))) + "\n" for p in pairs)
    )
    audit(classifier, "--suite", path, "--out", tmp_path / "chat", "--worst", 9)
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    rendered = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": p}, {"role": "assistant", "content": a}], tokenize=False
        )
        for p, *answers in pairs
        for a in answers
    ]
    kept = [json.loads(line)[1] for line in (tmp_path / "chat/scores.jsonl").read_text().splitlines()[1:]]
    assert kept == pytest.approx(own_scores(classifier, rendered), abs=1e-5)
    assert "chat template" in report(tmp_path / "chat")["how"]
    audit(classifier, "--suite", path, "--out", tmp_path / "plain", "--chat", "False")
    plain = [json.loads(line)[1] for line in (tmp_path / "plain/scores.jsonl").read_text().splitlines()[1:]]
    assert plain == pytest.approx(own_scores(classifier, [f"<bos>{p}{a}" for p, *two in pairs for a in two]), abs=1e-5)


def test_texts_longer_than_the_model_are_unscored_or_cut_and_counted(classifier, tmp_path):
    rows = [{"prompt": "p", "chosen": f"{i}" + "x" * (60 if i % 3 == 0 else 3), "rejected": f"{i}y"} for i in range(9)]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    audit(classifier, "--suite", path, "--out", tmp_path / "out")
    found = report(tmp_path / "out")
    assert (found["unscored"], found["subsets"][0]["scored"]) == (3, 6)
    assert any("reads 40" in note for note in found["notes"])
    audit(classifier, "--suite", path, "--out", tmp_path / "cut", "--truncate")
    found = report(tmp_path / "cut")
    assert found["unscored"] == 0
    assert any("3 texts were longer" in note for note in found["notes"])


def test_a_folder_that_holds_no_model_is_refused_once(suite, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "holds no model" in error(capsys, tmp_path / "empty", "--suite", suite)


def test_score_files_of_the_public_benchmark(tmp_path):
    audit(DATA / "rewardmath/Math_Shepherd.json.gz", "--aggregate", "min", "--out", tmp_path)
    found = report(tmp_path)
    assert found["subsets"][0]["metrics"]["accuracy"] == pytest.approx(0.15321, abs=1e-5)
    assert found["bias"] is None


def test_scores_by_id_are_joined_and_what_is_missing_is_unscored(rb2, tmp_path):
    rows = [{"id": str(i), "scores": [2, 1, None if i == 3 else 0, 1]} for i in range(5)]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    audit(tmp_path / "s.json", "--suite", rb2, "--out", tmp_path / "out")
    found = report(tmp_path / "out")
    assert (found["unscored"], found["subsets"][0]["scored"], found["score"]["value"]) == (5, 4, 1)
    assert "5 answers unscored: not in the file, or null" in found["notes"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "0", "scores": [1, 2, 3]}, "0 has 4 answers, and 3 scores"),
        ({"id": "0", "scores": [1, 2, 3, "x"]}, "row 1: the score 'x' is no number"),
        ({"id": "0", "score": 1}, "has the columns ['id', 'score']"),
        ({"id": "0", "scores": [1, 2, 3, math.inf]}, "infinite"),
    ],
)
def test_bad_score_files_are_refused(rb2, tmp_path, capsys, row, said):
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    assert said in error(capsys, tmp_path / "s.jsonl", "--suite", rb2)


def test_nan_and_failures_of_a_model_are_unscored_and_told(tmp_path):
    rows = [
        {"prompt": str(i), "chosen": c, "rejected": "x" * i} for i, c in enumerate(["nan", "raise", "bool", "inf"], 1)
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    audit("scorers:odd", "--suite", path, "--out", tmp_path / "out")
    found = report(tmp_path / "out")
    assert found["unscored"] == 3
    assert found["subsets"][0]["scored"] == 1
    assert any("no such thing" in note for note in found["notes"])


def test_nothing_scored_at_all_says_why(suite, capsys):
    assert "ExactMatch reads the column 'answer'" in error(capsys, "ExactMatch()", "--suite", suite)


def grade(body, number):
    """A judge that knows "right"."""
    text = body["messages"][-1]["content"]
    if "[Answer A]" not in text:
        return completion("Hm.\n" + ("9" if "\nright" in text else "4"))
    return completion("I say " + next(f"[[{x}]]" for x in "ABCD" if f"[Answer {x}]\nright" in text))


@pytest.mark.parametrize("mode", ["ratings", "ranking"])
def test_a_judge_that_can_be_asked_freely(rb2, tmp_path, mode):
    with serving() as server:
        server.script = grade
        judge = f"OpenAICompatibleJudge(url={server.url!r}, model='m')"
        audit(judge, "--suite", rb2, "--out", tmp_path / "out", "--judge-mode", mode)
        first = len(server.requests)
        assert first == (24 if mode == "ratings" else 6)
        assert all(r["temperature"] == 0 for r in server.requests)
        audit(judge, "--suite", rb2, "--out", tmp_path / "out", "--judge-mode", mode)
        assert len(server.requests) == first  # the replies were kept
    found = report(tmp_path / "out")
    assert found["score"]["value"] == 1
    assert mode in found["how"]


def test_a_judge_s_failures_are_counted_apart(rb2, tmp_path):
    with serving() as server:
        server.script = lambda body, n: (
            (400, {}, b"{}") if "name 0" in body["messages"][-1]["content"] else completion("?")
        )
        judge = f"OpenAICompatibleJudge(url={server.url!r}, model='m', backoff=0.001)"
        audit(judge, "--suite", rb2, "--out", tmp_path / "out")
    found = report(tmp_path / "out")
    assert found["unscored"] == 4
    assert found["score"]["value"] == 0.25
    assert "4 answers unscored: no answer" in found["notes"]
    assert "20 replies have no rating at their end, and count as -1" in found["notes"]


def test_a_judge_of_pairs(suite, tmp_path, capsys):
    audit("KeywordJudge(words=['long'])", "--suite", suite, "--judge-mode", "pairwise", "--out", tmp_path / "out")
    assert report(tmp_path / "out")["score"]["value"] == 0.875  # the first is a tie
    assert "pairwise or ratings" in error(
        capsys, "KeywordJudge(words=['long'])", "--suite", suite, "--judge-mode", "ranking"
    )


def test_answers_of_a_prompt_are_one_group(rb2, tmp_path):
    audit("text_rewards:Longer()", "--suite", rb2, "--out", tmp_path / "out")  # longer than the others of its group
    found = report(tmp_path / "out")
    assert found["unscored"] == 0
    assert found["score"]["value"] == pytest.approx(1 / 3)  # "right", "worse" and "worst", and not "bad"


def test_a_judge_compares_one_with_several(rb2, tmp_path):
    audit("KeywordJudge(words=['right', 'worst'])", "--suite", rb2, "--judge-mode", "pairwise", "--out", tmp_path / "a")
    found = report(tmp_path / "a")["subsets"][0]
    assert found["metrics"] == {"accuracy": 0, "accuracy with ties": 0, "MRR": 0.5, "pairs won": pytest.approx(2 / 3)}


def test_a_killed_audit_goes_on_where_it_stopped(tmp_path):
    rows = [{"prompt": str(i), "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(400)]
    path, out, calls = tmp_path / "p.jsonl", tmp_path / "out", tmp_path / "calls"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "mine.py").write_text(
        "import os, signal\n"
        "def slow(completion):\n"
        f"    with open({str(calls)!r}, 'a') as f: f.write(completion + '\\n')\n"
        f"    if completion == 'b390' and not os.path.exists({str(tmp_path / 'again')!r}): os.kill(os.getpid(), 9)\n"
        "    return float(completion[0] == 'a')\n"
    )
    command = [sys.executable, "-m", "guerdon.cli", "audit", "mine:slow", "--suite", str(path), "--out", str(out)]
    first = subprocess.run(
        [*command, "--concurrency", "1"], cwd=tmp_path, capture_output=True, timeout=120, check=False
    )
    assert first.returncode == -signal.SIGKILL
    kept = len((out / "scores.jsonl").read_text().splitlines()) - 1
    assert kept == 768
    with (out / "scores.jsonl").open("a") as file:
        file.write('["cut sho')
    (tmp_path / "again").touch()
    calls.unlink()
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=True)
    assert len(calls.read_text().splitlines()) == 800 - kept
    assert report(out)["score"]["value"] == 1


def test_scores_of_another_model_are_not_mixed(suite, tmp_path, capsys):
    audit("ShortPenalty(least=1000)", "--suite", suite, "--out", tmp_path / "out")
    said = error(capsys, "ShortPenalty(least=999)", "--suite", suite, "--out", tmp_path / "out")
    assert "another --out" in said


def test_damaged_scores_are_named(suite, tmp_path, capsys):
    audit("ShortPenalty(least=1000)", "--suite", suite, "--out", tmp_path)
    kept = tmp_path / "scores.jsonl"
    kept.write_text(kept.read_text().replace("]\n", "\n", 1))
    assert "scores.jsonl is damaged" in error(capsys, "ShortPenalty(least=1000)", "--suite", suite, "--out", tmp_path)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("ShortPenalti(least=3)", "did you mean ShortPenalty"),
        ("KeywordJudg()", "did you mean KeywordJudge"),
        ("claims/data/llmba", "did you mean claims/data/llmbar"),
        ("scorse.jsonl", "there is no file"),
        ("", "empty"),
    ],
)
def test_misspelt_models_are_helped(suite, capsys, monkeypatch, model, said):
    monkeypatch.chdir(ROOT)
    assert said in error(capsys, model, "--suite", suite)


def test_a_server_that_is_not_there_or_wants_a_token_is_told_at_once(suite, capsys, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert "cannot be reached" in error(capsys, url, "--suite", suite)
    with RewardProcess("ShortPenalty()", "--token-env", "SECRET", env={"SECRET": "right"}) as server:
        monkeypatch.setenv("MINE", "wrong")
        assert "401" in error(capsys, server.url, "--suite", suite, "--token-env", "MINE")


def test_questions_are_needed_and_not_twice(capsys, suite):
    assert "--suite FILE" in error(capsys, "ShortPenalty()")
    scores = DATA / "rewardmath/ArmoRM.json.gz"
    assert "leave out --suite" in error(capsys, scores, "--suite", suite)


def test_what_an_argument_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.jsonl").touch()
    kinds = {
        "http://localhost:1": "server", "folder": "folder", "file.jsonl": "scores", "RecordedJudge()": "judge",
        "0.5 * ShortPenalty()": "reward", "text_rewards:Longer()": "reward", "scorers:length": "reward",
    }  # fmt: skip
    assert {model: kind_of(model) for model in kinds} == kinds
