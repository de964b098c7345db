"""A short run on a corridor of text, with a judge that needs no model, for tests of runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from guerdon.learners.run import Config

JUDGE = "KeywordJudge(words=('open', 'goal'))"


def config(**changed: Any) -> Config:
    """Eight rooms, two thousand steps, labels two iterations after they were asked for."""
    usual: dict[str, Any] = {
        "task": "TextCorridor",
        "reward": "Extrinsic() + 0.1 * ONI()",
        "judge": JUDGE,
        "learner": "PPO(rollout=16, minibatches=2)",
        "steps": 2048,
        "envs": 8,
        "workers": 0,
        "option": ("rooms=8", "steps=30"),
        "label_delay": 2,
        "save_every": 4,
        "seed": 3,
    }
    return Config(**(usual | changed))


def rows(folder: Path) -> list[dict[str, float]]:
    """What the run wrote of its progress."""
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


def command(*words: str, **kwargs: Any) -> subprocess.Popen[str]:
    """`guerdon WORDS...`, started in a process (and a process group) of its own."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    args = [sys.executable, "-m", "guerdon.cli", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(args, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True, **kwargs)


def train_command(folder: Path, **changed: Any) -> subprocess.Popen[str]:
    """`guerdon train` with `config(**changed)`."""
    c = config(**changed)
    words = ["train", c.task, "--reward", c.reward, "--learner", c.learner, "--run", str(folder)]
    for name in ("judge", "steps", "envs", "workers", "label_delay", "save_every", "seed", "store"):
        if (value := getattr(c, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return command(*words, "--option", *c.option)
