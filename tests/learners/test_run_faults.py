"""What a run does when something is killed, full, damaged or interrupted."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from text_runs import JUDGE, command, config, rows, train_command

from guerdon.judges.store import LabelStore
from guerdon.learners import checkpoint
from guerdon.learners.run import RunError, train

LONG = {"steps": 50_000_000, "label_delay": None}


def wait_for(condition, process, seconds=120.0):
    """Polls until `condition()` is true; fails if the process ends first or time runs out."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        os.sched_yield()


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("*.pt"))


def progressed(folder: Path) -> bool:
    """Whether labels were delivered, and a checkpoint written since."""
    saved = checkpoints(folder)
    labelled = [row["step"] for row in rows_after(folder, 0) if row["labels/labelled"] > 0] if saved else []
    return bool(labelled) and int(saved[-1].stem) > labelled[0]


def test_a_learner_killed_in_mid_run_loses_no_label_and_goes_on(tmp_path):
    folder = tmp_path / "run"
    process = train_command(folder, **LONG)
    wait_for(lambda: progressed(folder), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    delivered = {(r.label.item, r.label.value) for r in LabelStore(folder / "labels.sqlite").rows()}
    assert delivered
    newest = checkpoint.load_newest(folder / "checkpoints")[0]["learner"]["steps"]
    again = command("train", "--resume", str(folder), "--quiet")
    wait_for(lambda: len(rows_after(folder, newest)) > 3, again)
    os.kill(again.pid, signal.SIGINT)
    _, told = again.communicate(timeout=60)
    assert again.returncode == 130
    assert "--resume" in told
    after = {(r.label.item, r.label.value) for r in LabelStore(folder / "labels.sqlite").rows()}
    assert delivered <= after
    steps = [row["step"] for row in rows(folder)]
    assert steps == sorted(set(steps))
    assert json.loads((folder / "done.json").read_text())["reason"] == "interrupted"


def rows_after(folder: Path, step: int) -> list[dict]:
    path = folder / "progress.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # being written just now
            continue
        if row["step"] > step:
            found.append(row)
    return found


def test_a_full_disk_leaves_the_checkpoint_before_it_whole(tmp_path):
    path = checkpoint.save(tmp_path, 1, {"weights": list(range(100))})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the system refuses larger files, as a full disk does
    try:
        with pytest.raises(OSError, match=r"."):
            checkpoint.save(tmp_path, 2, {"weights": list(range(100_000))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before
    assert checkpoint.load_newest(tmp_path)[0]["weights"] == list(range(100))


def test_a_damaged_checkpoint_is_passed_over_and_the_last_one_named(tmp_path, capsys):
    folder = train(config(steps=1024), tmp_path / "run")
    newest = checkpoints(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:-100] + b"\0" * 50)
    train(config(steps=1536), folder, resume=True)
    assert f"{newest.name} is damaged" in capsys.readouterr().out
    assert rows(folder)[-1]["step"] >= 1536
    for path in checkpoints(folder):
        path.write_bytes(b"nothing of use")
    with pytest.raises(checkpoint.CheckpointError, match="start the run anew"):
        train(config(steps=4096), folder, resume=True)


def test_a_damaged_store_stops_the_run_before_it_starts(tmp_path):
    store = tmp_path / "labels.sqlite"
    store.write_bytes(b"this is no database, and never was one" * 100)
    with pytest.raises(RuntimeError, match=r"labels\.sqlite"):
        train(config(store=str(store)), tmp_path / "run")
    assert store.read_bytes().startswith(b"this is no database")


def test_two_learners_share_one_store(tmp_path):
    store = str(tmp_path / "shared.sqlite")
    runs = [train_command(tmp_path / f"run{i}", store=store, seed=3, label_delay=None) for i in range(2)]
    for process in runs:
        _, told = process.communicate(timeout=180)
        assert process.returncode == 0, told[-2000:]
    labelled = [rows(tmp_path / f"run{i}")[-1] for i in range(2)]
    known = {r.label.item for r in LabelStore(store).rows()}
    asked = sum(row["labels/labelled"] - row["labels/from_store"] for row in labelled)
    assert asked <= len(known)  # nothing was paid for twice


def test_a_judge_that_dies_for_good_stops_the_run_with_its_work_saved(tmp_path):
    folder = tmp_path / "run"
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "class Deadly:\n"
        "    name = prompt = 'deadly'\n"
        "    async def judge(self, items):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    def counters(self):\n"
        "        return {}\n"
    )
    process = command(
        "train", "TextCorridor", "--reward", "0.1 * ONI()", "--judge", "deadly:Deadly()", "--run", str(folder),
        "--learner", "PPO(rollout=16, minibatches=2)", "--envs", "8", "--workers", "0", "--steps", "50000000",
        cwd=tmp_path,
    )  # fmt: skip
    _, told = process.communicate(timeout=180)
    assert process.returncode == 2
    assert len([line for line in told.splitlines() if line.startswith("error:")]) == 1
    assert checkpoints(folder)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "TextCorridr"), "TextCorridor"),
        (("train", "TextCorridor", "--reward", "Extrinsc()"), "Extrinsic"),
        (("train", "TextCorridor", "--judge", "KeywordJudge(wrds=('a',))"), "words"),
        (("train", "TextCorridor", "--learner", "PPO(learning_rate=1)"), "lr"),
        (("train", "TextCorridor", "--option", "rooms"), "key=value"),
        (("train",), "name a task"),
        (("evaluate", "nowhere"), "is no run"),
        (("trian",), "did you mean train"),
    ],
)
def test_what_is_misspelt_is_answered_with_what_is_near(tmp_path, words, expected):
    process = command(*words, cwd=tmp_path)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert expected in told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("runs/*/checkpoints"))


def test_a_run_error_names_its_cure(tmp_path):
    with pytest.raises(RunError, match="name another folder"):
        train(config(steps=128, judge=JUDGE), train(config(steps=128), tmp_path / "run"))
