"""Run folders as the learner leaves them, small and with known contents, and a browser to look at pages with."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serve.label_work import Work

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

NASTY = '<script>window.hacked = true</script><img src=x onerror=hacked()> & "quotes" \x1b[2J \u202e\xff'

CAPTIONS = [
    {"caption": "You see here a skeleton key.", "count": 812, "paid": 311.2, "value": 1.0},
    {"caption": "The door opens.", "count": 1504, "paid": 287.5, "value": 1.0},
    {"caption": NASTY, "count": 3, "paid": 12.25, "value": 0.5},
    {"caption": "", "count": 90214, "paid": 0.0, "value": 0.0},
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as p:
        running = p.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def work(tmp_path: Path, browser: Any) -> Iterator[Work]:
    """A queue in a folder of its own, its server, and people with browsers."""
    made = Work(tmp_path, browser)
    yield made
    made.close()


def rows(level: float, seed: int, steps: int, judge: bool) -> list[dict[str, Any]]:
    """A curve that rises to `level`."""
    made = []
    for i in range(1, 41):
        rise = level / (1 + math.exp(-(i - 18 - seed) / 3))
        row = {
            "step": i * steps // 40, "seconds": 2.5 * i, "steps_per_second": 9000.0 + 40 * seed,
            "episode/return": 2 * rise - 0.2, "episode/length": 90 - 40 * rise, "episode/success": rise,
            "episode/depth": 1 + 3 * rise, "term/Extrinsic/per_episode": rise, "term/Extrinsic/mean": rise / 50,
            "ppo/entropy": 2 - rise,
        }  # fmt: skip
        if judge:
            row |= {"term/ONI/per_episode": 0.3 + 0.4 * rise, "labels/labelled": 8.0 * i, "labels/waiting": 2.0}
            row |= {"labels/seconds_median": 0.8}
        if i > 1:  # the first row has no finished episode
            made.append(row)
        else:
            made.append({"step": row["step"], "seconds": 2.5, "episode/return": None, "ppo/entropy": math.nan})
    return made


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder and returns it."""

    def make(name: str, *, arm: str | None = None, judge: str | None = None, level: float = 0.9, seed: int = 0,
             steps: int = 400_000, task: str = "TrailOfDoors", done: bool = True) -> Path:  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        config = {
            "guerdon": "0.1.0", "task": task, "option": [], "seed": seed, "steps": steps, "judge": judge,
            "reward": "Extrinsic() + 0.1 * ONI()" if judge else "Extrinsic()", "learner": "PPO(gamma=0.99)",
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config | ({"arm": arm} if arm else {})))
        progress = "".join(json.dumps(row) + "\n" for row in rows(level, seed, steps, judge is not None))
        (folder / "progress.jsonl").write_text(progress)
        captions = CAPTIONS if judge else [row | {"paid": 0.0, "value": None} for row in CAPTIONS]
        (folder / "captions.json").write_text(json.dumps(captions))
        if done:
            (folder / "done.json").write_text(json.dumps({"step": steps, "seconds": 100.0, "reason": "steps done"}))
        return folder

    return make


@pytest.fixture
def three_arms(make_run) -> list[Path]:
    """Task reward only, a judge's labels and random labels, three seeds each."""
    made = []
    for arm, judge, level in (
        ("task reward only", None, 0.03),
        ("ONI", "RecordedJudge()", 0.95),
        ("random labels", "RecordedJudge(labels='random')", 0.93),
    ):
        made += [make_run(f"{arm} {s}".replace(" ", "-"), arm=arm, judge=judge, level=level, seed=s) for s in range(3)]
    return made
