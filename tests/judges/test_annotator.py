"""The annotator when all goes well: order, bounds, nothing twice, repeatable, resumable."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from judges.scripted_judge import Script, ScriptedJudge, eventually

from guerdon.judges.annotator import Annotator
from guerdon.judges.backlog import TRIES
from guerdon.judges.store import LabelStore
from guerdon.types import Item, Label

KEY = (ScriptedJudge.name, ScriptedJudge.prompt)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "script"


@pytest.fixture
def script(folder: Path) -> Script:
    return Script(folder)


def all_of(annotator: Annotator) -> dict[Item, Label]:
    """The labels of all that was submitted."""
    assert annotator.drain(120)
    return {label.item: label for label in annotator.poll()}


def test_labels_reasons_counters_and_store(folder: Path, script: Script, tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.sqlite")
    pair = ("a door", "a wall")
    with Annotator(ScriptedJudge(folder), store=store, batch=3) as annotator:
        assert annotator.poll() == []
        annotator.submit(["You see a door.", "You hit a wall.", "mumble", "late", pair, "mumble"])
        found = all_of(annotator)
        assert found["You see a door."] == Label("You see a door.", 1.0, None, *KEY)
        assert found["You hit a wall."].value == 0.0
        assert (found["mumble"].value, found["mumble"].reason) == (None, "unparseable")
        assert pair in found
        assert store.get(found, *KEY) == found  # written before it was delivered
        counters = annotator.counters()
        expected = {
            "waiting": 0,
            "in_flight": 0,
            "labelled": 3,
            "failed": 2,
            "unparseable": 1,
            "from_store": 0,
            "calls": 2,
        }
        assert {name: counters[name] for name in expected} == expected
        assert 0 < counters["seconds_median"] <= counters["seconds_p90"]
        # What is known is not asked again, whatever was passing is: TRIES times and no more.
        for _ in range(TRIES + 1):
            annotator.submit([*found])
            annotator.drain(120)
            annotator.poll()
        assert script.asked().count("late") == TRIES
        assert len(script.asked()) == 5 + TRIES - 1
    with pytest.raises(RuntimeError, match="closed"):
        annotator.submit(["new"])


def test_another_run_on_the_same_store_pays_for_nothing_twice(folder: Path, script: Script, tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.sqlite")
    store.put([Label(f"caption {i}", 1.0, None, *KEY) for i in range(50)])
    store.put([Label("caption 0", 0.25, None, *KEY)], hand=True)
    store.put([Label("mumble", None, "unparseable", *KEY), Label("late", None, "timeout", *KEY)])
    with Annotator(ScriptedJudge(folder), store=store) as annotator:
        annotator.submit([f"caption {i}" for i in range(60)] + ["mumble", "late"])
        found = all_of(annotator)
    assert len(found) == 62
    assert found["caption 0"].value == 0.25
    assert sorted(script.asked()) == sorted([f"caption {i}" for i in range(50, 60)] + ["late"])
    assert annotator.counters()["from_store"] == 51


@pytest.mark.parametrize("order", ["lifo", "fifo"])
def test_order_bound_and_no_duplicates(folder: Path, script: Script, order: str) -> None:
    script.hold.touch()
    made = Annotator(ScriptedJudge(folder), batch=2, concurrency=1, capacity=6, order=order)  # type: ignore[arg-type]
    with made as annotator:
        annotator.submit(["first 1", "first 2"])
        eventually(script.calls)  # these two are in flight, and held there
        annotator.submit([f"caption {i}" for i in range(10)])  # newest last; there is room for six
        annotator.submit(["first 1", "caption 8", "caption 9", "caption 4"])  # known to be under way, or waiting
        counters = annotator.counters()
        assert (counters["waiting"], counters["in_flight"], counters["dropped"]) == (6, 2, 4)
        script.hold.unlink()
        found = all_of(annotator)
        assert set(found) == {"first 1", "first 2", *(f"caption {i}" for i in range(4, 10))}
        # Seen again is new again, for "lifo".
        newest_first, oldest_first = [4, 9, 8, 7, 6, 5], [4, 5, 6, 7, 8, 9]
        wanted = newest_first if order == "lifo" else oldest_first
        assert script.asked()[2:] == [f"caption {i}" for i in wanted]
        annotator.submit(["caption 0"])  # what was dropped may come again
        assert set(all_of(annotator)) == {"caption 0"}


def test_concurrency_is_bounded(folder: Path, script: Script) -> None:
    script.hold.touch()
    with Annotator(ScriptedJudge(folder), batch=2, concurrency=3) as annotator:
        annotator.submit([f"caption {i}" for i in range(20)])
        eventually(lambda: len(script.calls()) == 3)
        assert annotator.counters()["in_flight"] == 6
        script.hold.unlink()
        assert len(all_of(annotator)) == 20


def test_submit_and_poll_never_wait_for_the_process(folder: Path, script: Script) -> None:
    """The process is stopped, and megabytes are handed in: far more than any pipe holds."""
    with Annotator(ScriptedJudge(folder), batch=500, concurrency=50, capacity=20_000) as annotator:
        annotator.submit(["a door"])
        all_of(annotator)
        os.kill(script.pid(), signal.SIGSTOP)
        for start in range(0, 20_000, 500):
            annotator.submit([f"{i} " + "long" * 250 for i in range(start, start + 500)])
            assert annotator.poll() == []
        assert annotator.counters()["waiting"] + annotator.counters()["in_flight"] == 20_000
        os.kill(script.pid(), signal.SIGCONT)
        assert len(all_of(annotator)) == 20_000


def _repeatable_run(folder: Path, store: Path | None, concurrency: int, hold: bool) -> list[list[Label]]:
    script = Script(folder)
    made = Annotator(
        ScriptedJudge(folder), store=store, batch=3, concurrency=concurrency, capacity=16, delay_steps=2, order="lifo"
    )
    delivered = []
    with made as annotator:
        for step in range(8):
            if hold and step < 2:
                script.hold.touch()  # nothing is answered yet when step 2 polls, or all has been for long
            annotator.submit([f"caption {i} of {step}" for i in range(7 if step == 5 else 4)] + ["door", f"{step - 1}"])
            if hold and step == 2:
                script.hold.unlink()
            if not hold:
                annotator.drain(120)
            delivered.append(annotator.poll())
            annotator.step()
    return delivered


def test_with_delay_steps_each_run_sees_the_same(tmp_path: Path) -> None:
    first = _repeatable_run(tmp_path / "1", None, concurrency=1, hold=True)
    assert first[:2] == [[], []]
    assert [label.item for label in first[2]] == [f"caption {i} of 0" for i in range(4)] + ["door", "-1"]
    assert [label.item for label in first[3]] == [f"caption {i} of 1" for i in range(4)] + ["0"]
    # From step 5 on more is owed than there is room for, and the oldest owed is dropped.
    assert [len(labels) for labels in first] == [0, 0, 6, 5, 5, 3, 3, 6]
    assert [label.item for label in first[5]] == ["caption 2 of 3", "caption 3 of 3", "2"]
    second = _repeatable_run(tmp_path / "2", tmp_path / "labels.sqlite", concurrency=3, hold=False)
    assert second == first
    third = _repeatable_run(tmp_path / "3", tmp_path / "labels.sqlite", concurrency=2, hold=False)  # all from the store
    assert third == first
    assert not Script(tmp_path / "3").asked()


@pytest.mark.parametrize("delay_steps", [None, 1])
def test_a_resumed_run_loses_nothing(folder: Path, script: Script, tmp_path: Path, delay_steps: int | None) -> None:
    store = tmp_path / "labels.sqlite"

    def make() -> Annotator:
        return Annotator(ScriptedJudge(folder), store=store, batch=2, concurrency=1, delay_steps=delay_steps)

    with make() as annotator:
        annotator.submit(["a", "b"])
        annotator.drain(120)  # a, b have come and were not polled
        script.hold.touch()
        annotator.submit([f"caption {i}" for i in range(6)])
        eventually(lambda: len(script.calls()) == 2)  # two are under way, four wait
        saved = io.BytesIO()
        torch.save(annotator.state_dict(), saved)
    script.hold.unlink()
    saved.seek(0)
    resumed = make()
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    with resumed:
        resumed.submit(["a", "caption 3", "new"])
        resumed.step()
        resumed.step()
        found = all_of(resumed)
        resumed.submit(["a"])
        assert resumed.counters()["waiting"] == 0
    assert set(found) == {"a", "b", *(f"caption {i}" for i in range(6)), "new"}
    assert script.asked().count("a") == 1
    assert set(script.asked()) == set(found)


def test_two_learners_on_one_store_share_the_work(tmp_path: Path) -> None:
    """Both see the same captions at the same time; each caption is paid for once, and both get its label."""
    scripts = [Script(tmp_path / name) for name in ("one", "two")]
    judges = [ScriptedJudge(tmp_path / name) for name in ("one", "two")]
    for script in scripts:
        script.hold.touch()
    store = tmp_path / "labels.sqlite"
    captions = [f"caption {i}" for i in range(40)]
    with (
        Annotator(judges[0], store=store, batch=10, lease=3.0) as one,
        Annotator(judges[1], store=store, batch=10) as two,
    ):
        one.submit(captions)
        eventually(scripts[0].calls)
        two.submit(captions)
        eventually(scripts[1].calls)  # it was not granted what the other one asks
        for script in scripts:
            script.hold.unlink()
        assert set(all_of(one)) == set(all_of(two)) == set(captions)
    asked = [item for script in scripts for item in script.asked()]
    assert sorted(asked) == sorted(captions)
    assert all(script.asked() for script in scripts)


class _Local:
    name = prompt = "local"

    def __init__(self) -> None:
        self.held = lambda: None

    async def judge(self, items: Sequence[Item]) -> list[Label]:
        return []

    def counters(self) -> dict[str, float]:
        return {}


def test_wrong_use_is_told_at_once(folder: Path) -> None:
    with pytest.raises(TypeError, match="judge local cannot be sent to its process"):
        Annotator(_Local()).start()
    for wrong in ({"order": "random"}, {"capacity": 0}, {"delay_steps": -1}, {"on_failure": "ignore"}):
        with pytest.raises(ValueError):
            Annotator(ScriptedJudge(folder), **wrong)
