"""`guerdon fit` from end to end: a folder that scores, that transformers loads, and that survives kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from guerdon import cli
from guerdon.commands.fit import doubts
from guerdon.models import tiny_model
from guerdon.parts.pair_rows import read_pairs, to_pairs
from guerdon.rewards.preference import RewardModel
from guerdon.types import Spec


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = []
    for i in range(60):
        features = {"care": [1 + i % 4, i % 4], "noise": [i % 3, (i + 1) % 3]}
        words = {"chosen": "yes " * (i % 6 + 1) + "!", "rejected": "no " * (i % 4 + 1) + "?"}
        rows.append({"prompt": f"question {i // 2}: ", **words, "features": features, "subset": f"part {i % 2}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("model"), tiny_model()
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def fit(*words):
    cli.main(["fit", *map(str, words), "--quiet"])


FEATURES = ("--encoder", "Features(['care', 'noise'], low=0, high=5)", "--batch-size", "16", "--lr", "0.05")


def test_a_folder_with_all_that_was_found(file, tmp_path, capsys):
    out = tmp_path / "out"
    fit(file, *FEATURES, "--held", "0.3", "--out", out)
    found = json.loads((out / "report.json").read_text())
    assert found["accuracy"] == 1.0
    assert found["pairs"] + found["trained_on"] == 60
    assert set(found["subset"]) == {"part 0", "part 1"}
    assert {"calibration.png", "learning.png", "progress.jsonl", "reward.json"} <= {p.name for p in out.iterdir()}
    assert not (out / "checkpoints").exists()
    assert "held-out accuracy 1.000" in capsys.readouterr().out
    pairs = to_pairs(read_pairs(file)[0])
    model = RewardModel(path=str(out))
    model.build(Spec())
    assert bool((model.score(pairs.first) > model.score(pairs.second)).all())


def test_transformers_loads_a_fitted_transformer(file, small, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    out = tmp_path / "out"
    fit(file, "--encoder", f"Transformer(model={str(small)!r})", "--lr", "1e-3", "--batch-size", "16", "--out", out)
    network = AutoModelForSequenceClassification.from_pretrained(out).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    pairs = to_pairs(read_pairs(file)[0])
    ours = RewardModel(path=str(out))
    ours.build(Spec())
    written = [p + t + tokenizer.eos_token for p, t in zip(pairs.first.prompt, pairs.first.text, strict=True)]
    with torch.no_grad():
        theirs = network(**tokenizer(written, padding=True, return_tensors="pt")).logits[:, 0]
    torch.testing.assert_close(ours.score(pairs.first), theirs, rtol=0, atol=1e-5)
    assert float((ours.score(pairs.first) - ours.score(pairs.second)).std()) > 1e-3


def test_killed_it_goes_on(file, tmp_path):
    words = [str(file), *FEATURES, "--epochs", "100", "--save-every", "5", "--out"]
    fit(*words, tmp_path / "whole")
    command = [sys.executable, "-m", "guerdon.cli", "fit", *words, str(tmp_path / "torn")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for(tmp_path / "torn", 20, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    assert not (tmp_path / "torn" / "report.json").exists()
    before = len((tmp_path / "torn" / "progress.jsonl").read_text().splitlines())
    fit(*words, tmp_path / "torn")
    rows = [json.loads(line) for line in (tmp_path / "torn" / "progress.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert len(rows) > before
    made = [(tmp_path / name / "reward.safetensors").read_bytes() for name in ("whole", "torn")]
    assert made[0] == made[1], "to the last bit"


def wait_for(out: Path, steps: int, process) -> None:
    """Until there is a checkpoint of so many steps."""
    deadline = time.monotonic() + 200
    while not any(int(p.stem) >= steps for p in (out / "checkpoints").glob("*.pt")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def refused(capsys, *words) -> str:
    with pytest.raises(SystemExit) as stop:
        fit(*words)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_what_is_wrong_is_said_with_its_cure(file, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    assert "did you mean Embeddings" in refused(capsys, file, "--encoder", "Embedding()", *out)
    assert "did you mean flip?" in refused(capsys, file, *FEATURES, "--curate", "flop=0.1", *out)
    assert "there is no file" in refused(capsys, tmp_path / "none.jsonl", *FEATURES, *out)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(file.read_text() + '{"prompt": "x"}\n')
    assert "broken.jsonl, line 61" in refused(capsys, broken, *FEATURES, *out)
    assert "reads 'carre'" in refused(capsys, file, "--encoder", "Features(['carre'])", *out)
    assert not (tmp_path / "out").exists(), "nothing is left behind by what could not begin"
    fit(file, *FEATURES, "--epochs", "1", *out)
    assert "it is finished" in refused(capsys, file, *FEATURES, "--epochs", "1", *out)
    assert "name another --out" in refused(capsys, file, *FEATURES, "--epochs", "2", *out)


def test_a_text_longer_than_the_model_is_named_before_anything_is_learned(small, tmp_path, capsys):
    long = tmp_path / "long.jsonl"
    rows = [{"prompt": f"{i}", "chosen": "a" * (1 + 3000 * (i == 3)), "rejected": "b"} for i in range(6)]
    long.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = refused(capsys, long, "--encoder", f"Transformer(model={str(small)!r})", "--out", tmp_path / "out")
    assert "tokens" in said
    assert "truncate=True" in said


def test_doubted_pairs_are_flipped(tmp_path):
    rows, noisy = [], set(range(0, 80, 8))
    for i in range(80):
        x, y = (1 + i % 4) / 5, (i % 3) / 5
        better = (x, y) if (x > y) != (i in noisy) else (y, x)
        if x != y:
            rows.append({"prompt": f"{i}", "chosen": "a", "rejected": "b", "features": {"x": list(better)}})
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--encoder", "Features(['x'])", "--epochs", "40", "--lr", "0.1", "--batch-size", "16")
    reports = []
    for name, curate in (("raw", ()), ("curated", ("--curate", "flip=0.12"))):
        fit(tmp_path / "p.jsonl", *words, *curate, "--out", tmp_path / name)
        model = RewardModel(path=str(tmp_path / name))
        model.build(Spec())
        reports.append(float(model.head.last.weight))
    assert reports[1] > 1.05 * reports[0] > 0, "with the wrong labels turned round the same feature counts for more"


def test_a_file_of_its_own_is_held_out_and_shared_prompts_are_told(file, tmp_path, capsys):
    lines = file.read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_text("".join(lines[:41]))
    (tmp_path / "b.jsonl").write_text("".join(lines[41:]))
    fit(tmp_path / "a.jsonl", *FEATURES, "--epochs", "1", "--held-file", tmp_path / "b.jsonl", "--out", tmp_path / "o")
    assert "1 prompts stand in both files" in capsys.readouterr().err, "lines 41 and 42 have one"
    found = json.loads((tmp_path / "o" / "report.json").read_text())
    assert (found["trained_on"], found["pairs"]) == (41, 19)


def test_treatments_are_read():
    assert doubts(("flip=0.3", "margin", "soften")) == {"flip": 0.3, "margin": None, "soften": 0.2}
    with pytest.raises(ValueError, match="SHARE"):
        doubts(("flip=much",))
    with pytest.raises(ValueError, match="takes no share"):
        doubts(("margin=0.1",))
