"""`guerdon collapse-step` on runs and curves, whole, damaged and misspelt."""

import json

import pytest

from guerdon import cli

CURVE = [0.3, 0.4, 0.5, 0.4, 0.2, 0.1]


@pytest.fixture
def run(tmp_path):
    """A run's folder, with what else a row holds."""
    rows = [
        {"step": 10.0 * i, "total": 60.0, "reward/ExactMatch/mean": v, "loss": -v, "done": i == 5}
        for i, v in enumerate(CURVE)
    ]
    (tmp_path / "progress.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


def said(capsys, *args):
    cli.main(["collapse-step", *map(str, args)])
    return capsys.readouterr().out


def refused(capsys, *args):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["collapse-step", *map(str, args)])
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_a_run(run, capsys):
    out = said(capsys, run, "--key", "reward/ExactMatch/mean")
    assert "reward/ExactMatch/mean collapses at step 50" in out  # the first below 0.15
    assert all(word in out for word in ("first", "peak", "last", "threshold"))
    assert "20 0.5" in " ".join(out.split())


def test_the_papers_definitions(run, capsys):
    key = ("--key", "reward/ExactMatch/mean")
    assert "has not collapsed by step 50" in said(capsys, run, *key, "--threshold", "0.01")
    assert "collapses at step 20" in said(capsys, run, *key, "--mode", "turn")
    assert "collapses at step 40" in said(capsys, run, *key, "--chance", "0.2")


def test_a_csv_and_a_picture(tmp_path, capsys):
    file, picture = tmp_path / "curve.csv", tmp_path / "new" / "curve.png"
    file.write_text("iteration, accuracy,note\n" + "".join(f"{i},{v},x\n" for i, v in enumerate(CURVE)))
    out = said(capsys, file, "--step-key", "iteration", "--picture", picture)  # one number only: no --key
    assert "accuracy collapses at step 5" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_row_that_is_being_written_is_left_out(run, capsys):
    with (run / "progress.jsonl").open("a") as file:
        file.write('{"step": 60.0, "reward/Ex')
    assert "at step 50" in said(capsys, run, "--key", "reward/ExactMatch/mean")


def test_misspelt_keys(run, capsys):
    error = refused(capsys, run, "--key", "reward/ExactMach/mean")
    assert "did you mean reward/ExactMatch/mean?" in error
    assert "did you mean reward/ExactMatch/mean?" in refused(capsys, run, "--key", "exactmatch")
    assert "it has step, total" in refused(capsys, run, "--step-key", "zzzz")
    error = refused(capsys, run)
    assert "say which number with --key: total, reward/ExactMatch/mean, loss" in error


def test_bad_files(tmp_path, capsys):
    file = tmp_path / "curve.jsonl"
    assert "does not exist" in refused(capsys, file)
    file.write_text("\n")
    assert "is empty" in refused(capsys, file)
    file.write_text('{"step": 1, "a": 0.5}\n{"step": 2, "a": NaN}\n')
    assert "not finite at 1 steps, first at 2" in refused(capsys, file)
    file.write_text('{"step": 1, "a": 0.5}\nrubbish\n{"step": 2, "a": 0.5}\n')
    assert "damaged in line 2" in refused(capsys, file)
    file.write_text("[1]\n")
    assert "line 1, is no JSON object" in refused(capsys, file)
    file.write_text('{"step": 1, "a": 0.5}\n{"step": 1, "a": 0.4}\n')
    assert "must increase" in refused(capsys, file)
    file.write_text('{"step": 1, "a": 0.1}\n')
    assert "give a threshold" in refused(capsys, file, "--chance", "0.2")
