"""The annotator when things go wrong: every label that was delivered, or paid for, is there after the fault."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from judges.scripted_judge import Script, ScriptedJudge, eventually
from postgres_server import PostgresServer, postgres  # noqa: F401

from guerdon.judges.annotator import Annotator, AnnotatorFailed
from guerdon.judges.store import LabelStore, StoreDamaged
from guerdon.types import Item, Label

KEY = (ScriptedJudge.name, ScriptedJudge.prompt)
FAST = (0.02, 0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "script"


@pytest.fixture
def script(folder: Path) -> Script:
    return Script(folder)


def all_of(annotator: Annotator) -> dict[Item, Label]:
    assert annotator.drain(120)
    return {label.item: label for label in annotator.poll()}


def test_kill_9_of_the_judge_process(folder: Path, script: Script, tmp_path: Path) -> None:
    captions = [f"caption {i}" for i in range(20)]
    store = LabelStore(tmp_path / "labels.sqlite")
    with Annotator(ScriptedJudge(folder), store=store, batch=5, concurrency=2, backoff=FAST) as annotator:
        annotator.submit(captions[:5])
        before = all_of(annotator)
        script.hold.touch()
        annotator.submit(captions)
        eventually(lambda: len(script.calls()) == 3)  # one done, two under way
        os.kill(script.pid(), signal.SIGKILL)
        eventually(lambda: annotator.counters()["restarts"] == 1)
        assert annotator.counters()["waiting"] + annotator.counters()["in_flight"] == 15
        script.hold.unlink()
        after = all_of(annotator)
        assert annotator.counters()["calls"] >= 1 + 3  # those of the dead process that we heard of are not forgotten
    assert sorted([*before, *after]) == sorted(captions)
    assert store.count() == 20
    asked = script.asked()
    assert [asked.count(caption) for caption in captions[:5]] == [1] * 5
    assert sorted(caption for caption in captions if asked.count(caption) == 2) == sorted(
        item for call in script.calls()[1:3] for item in call["items"]
    )


@pytest.mark.parametrize("last_words", ["die", "raise"])
def test_a_judge_that_always_dies_stops_the_run_with_one_message(
    folder: Path, script: Script, tmp_path: Path, last_words: str
) -> None:
    store = LabelStore(tmp_path / "labels.sqlite")
    with Annotator(ScriptedJudge(folder), store=store, max_restarts=1, backoff=FAST, batch=1) as annotator:
        annotator.submit(["a door"])
        assert set(all_of(annotator)) == {"a door"}
        annotator.submit([last_words])
        assert annotator.drain(120)
        with pytest.raises(AnnotatorFailed) as caught:
            annotator.poll()
        assert annotator.counters()["restarts"] == 1
        assert last_words in annotator.state_dict()["waiting"]  # a resumed run asks it again
    message = str(caught.value)
    assert "judge scripted failed: died 2 times within an hour" in message
    assert "labels.sqlite" in message
    assert last_words != "raise" or "ZeroDivisionError: the judge has a bug" in message
    assert store.count() == 1


def test_a_dead_judge_may_be_gone_on_without(folder: Path, script: Script) -> None:
    made = Annotator(
        ScriptedJudge(folder), max_restarts=0, on_failure="continue", batch=1, concurrency=1, delay_steps=1
    )
    with made as annotator:
        annotator.submit(["a door", "die", "a wall"])
        annotator.step()
        assert [label.item for label in annotator.poll()] == ["a door"]  # returns, though one will never come
        annotator.submit(["b"])
        annotator.step()
        assert annotator.poll() == []
        counters = annotator.counters()
        assert (counters["waiting"], counters["labelled"], counters["dropped"]) == (0, 1, 3)


def test_a_judge_that_is_down_is_asked_again_and_catches_up(folder: Path, script: Script) -> None:
    script.down.touch()
    with Annotator(ScriptedJudge(folder), batch=10, concurrency=1, backoff=FAST) as annotator:
        for start in range(0, 50, 10):
            annotator.submit([f"caption {i}" for i in range(start, start + 10)])
            eventually(lambda: annotator.counters()["judge_down"] >= 2 + start / 10)  # noqa: B023
            assert annotator.poll() == []
        assert not script.asked()
        script.down.unlink()
        assert len(all_of(annotator)) == 50
        assert annotator.counters()["restarts"] == 0
    assert len(script.asked()) == 50


def test_kill_9_of_the_database_server_and_then_of_the_judge(
    folder: Path,
    script: Script,
    postgres: PostgresServer,  # noqa: F811
) -> None:
    """Answers that cannot be written are held by the learner, survive the judge's process, and are paid for once."""
    store = LabelStore(postgres.database())
    with Annotator(ScriptedJudge(folder), store=store, batch=5, concurrency=1, backoff=FAST) as annotator:
        annotator.submit(["before"])
        before = all_of(annotator)
        script.hold.touch()
        annotator.submit([f"caption {i}" for i in range(5)])
        eventually(lambda: len(script.calls()) == 2)
        postgres.kill()
        script.hold.unlink()
        eventually(lambda: len(annotator.state_dict()["held"]) == 5)
        assert annotator.poll() == []  # not in the store, not delivered
        os.kill(script.pid(), signal.SIGKILL)
        eventually(lambda: annotator.counters()["restarts"] == 1)
        down = annotator.counters()["store_down"]
        eventually(lambda: annotator.counters()["store_down"] > down)
        annotator.submit(["meanwhile"])
        postgres.start()
        after = all_of(annotator)
        assert set(after) == {*(f"caption {i}" for i in range(5)), "meanwhile"}
        found = store.get([*before, *after], *KEY)
        assert found == before | after
    assert sorted(script.asked()) == sorted(found)


def test_held_answers_survive_a_checkpoint(folder: Path, script: Script, postgres: PostgresServer) -> None:  # noqa: F811
    store = LabelStore(postgres.database())
    script.hold.touch()
    with Annotator(ScriptedJudge(folder), store=store, backoff=FAST) as annotator:
        annotator.submit(["a door", "a wall"])
        eventually(script.calls)
        postgres.kill()
        script.hold.unlink()
        eventually(lambda: annotator.state_dict()["held"])
        state = annotator.state_dict()
    assert annotator.state_dict()["held"] == state["held"]
    postgres.start()
    resumed = Annotator(ScriptedJudge(folder), store=store, backoff=FAST)
    resumed.load_state_dict(state)
    with resumed:
        assert set(all_of(resumed)) == {"a door", "a wall"}
    assert script.asked() == ["a wall", "a door"]


def test_a_full_disk_under_the_store(folder: Path, script: Script, tmp_path: Path) -> None:
    """A limit on the size of files, set on the judge's process from outside, stands in for the end of the disk."""
    store = LabelStore(tmp_path / "labels.sqlite")
    with Annotator(ScriptedJudge(folder), store=store, batch=10, concurrency=2, backoff=FAST) as annotator:
        annotator.submit(["a door"])
        delivered = all_of(annotator)
        _, hard = resource.prlimit(script.pid(), resource.RLIMIT_FSIZE)
        resource.prlimit(script.pid(), resource.RLIMIT_FSIZE, (200_000, hard))
        walls = [f"a wall {i} {'x' * 500}" for i in range(300)]
        script.silent.touch()  # its own log must not hit the limit
        annotator.submit(walls)
        eventually(lambda: annotator.counters()["store_down"] >= 2)
        delivered |= {label.item: label for label in annotator.poll()}
        assert len(delivered) < 301
        assert store.get(delivered, *KEY) == delivered
        resource.prlimit(script.pid(), resource.RLIMIT_FSIZE, (hard, hard))
        delivered |= all_of(annotator)
        assert set(delivered) == {"a door", *walls}
        assert annotator.counters()["restarts"] == 0
    assert store.get(delivered, *KEY) == delivered


def test_a_damaged_store_stops_the_run_and_is_left_alone(folder: Path, script: Script, tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    path.write_bytes(b"some notes\n" * 100)
    with pytest.raises(StoreDamaged, match=r"labels\.sqlite is damaged"):
        Annotator(ScriptedJudge(folder), store=path).start()
    store = LabelStore(tmp_path / "other.sqlite")
    store.close()
    with Annotator(ScriptedJudge(folder), store=store, backoff=FAST) as annotator:
        Path(str(store.shown)).write_bytes(b"some notes\n" * 100)  # before its process has opened it
        annotator.submit(["a door"])
        assert annotator.drain(120)
        with pytest.raises(AnnotatorFailed, match=r"StoreDamaged: the label store .*other\.sqlite is damaged"):
            annotator.poll()
        assert annotator.counters()["restarts"] == 0
    assert not script.asked()


LEARNER = """
import signal
import sys
import time
from pathlib import Path
from guerdon.judges.annotator import Annotator
from judges.scripted_judge import ScriptedJudge

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell inherit it ignored
    folder = Path(sys.argv[1])
    annotator = Annotator(ScriptedJudge(folder), store=folder / "labels.sqlite").start()
    annotator.submit(["a door", "a wall"])
    try:
        print("ready", flush=True)
        while True:
            time.sleep(0.05)  # in turns: a signal just before one endless wait would be heard of only after it
    except KeyboardInterrupt:
        (folder / "hold").unlink()
        annotator.drain(120)
        print(len(annotator.poll()), flush=True)
        annotator.close()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_the_end_of_the_learner(folder: Path, script: Script, end: signal.Signals) -> None:
    """Kill -9 takes the judge's process along. Ctrl-C, which a terminal sends to both, is the learner's alone."""
    script.hold.touch()
    (folder / "learner.py").write_text(LEARNER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(folder / "learner.py"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, process_group=0) as learner:
        assert learner.stdout is not None
        assert learner.stdout.readline() == b"ready\n"
        if end == signal.SIGKILL:
            judge = script.pid()
            learner.kill()
        else:
            os.killpg(learner.pid, signal.SIGINT)  # while the judge's process starts, at the earliest moment
            judge = script.pid()
            assert learner.stdout.read() == b"2\n"
            assert learner.wait(60) == 0
        eventually(lambda: not Path(f"/proc/{judge}").exists(), "the judge's process outlived the learner")
    if end == signal.SIGINT:
        assert LabelStore(folder / "labels.sqlite").count() == 2
