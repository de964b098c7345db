"""The documentation says what is so: its commands exist, its expressions parse, README's table is the code's."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import samples

from guerdon import cli, tasks
from guerdon.expression import parse_judge, parse_reward

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [
    pytest.param(line.strip(), id=f"{page.name}: {line.strip()[:60]}")
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    for line in block.splitlines()
    if line.strip().startswith("guerdon ")
]


@pytest.fixture(scope="module")
def generate():
    """docs/generate.py as a module."""
    pytest.importorskip("minihack", reason="needs minihack")
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module("generate")
    sys.path.remove(str(ROOT / "docs"))


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_in_the_documentation_is_one(line, tmp_path, monkeypatch):
    """Its options exist; its task, reward and judge are real. What it would do is left to other tests."""
    words = shlex.split(line, comments=True)[1:]
    module, _, function = cli.COMMANDS[words[0]][0].partition(":")
    command = getattr(importlib.import_module(f"guerdon.commands.{module}"), function)
    options = dict(pairwise(words))
    known = set(inspect.signature(command).parameters)
    if words[0] == "train":
        from guerdon.learners.run import Config

        known |= set(Config.__dataclass_fields__)
        (tmp_path / "mine.py").write_text(example())
        monkeypatch.syspath_prepend(tmp_path)
        if not words[1].startswith("--"):
            assert words[1] in tasks.names() or words[1] == "CartPole-v1"
        if "--reward" in options:
            parse_reward(options["--reward"])
        if "--judge" in options:
            parse_judge(options["--judge"])
    if words[0] == "fit":
        from guerdon.commands.fit import Options

        known |= set(Options.__dataclass_fields__)
    if words[0] == "tune":
        from guerdon.commands.tune import Config, make

        known |= set(Config.__dataclass_fields__)
        if "--reward" in options:
            make(Config(task=words[1], reward=options["--reward"], sampler=options.get("--sampler", "GroupSampler()")))
    for word in words:
        if word.startswith("--"):
            assert word.removeprefix("--").replace("-", "_") in known | {"json"}


def example() -> str:
    """README's reward."""
    return re.search(r"```python\n(import torch.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[1]


def test_the_readmes_reward_scores():
    space: dict = {}
    exec(compile(example(), "README.md", "exec"), space)
    experience = samples.rollout()
    assert space["Hurry"](cost=0.5).score(experience).eq(-0.5).all()


def test_the_readmes_table_is_the_codes(generate):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generate.readme(text) == text, "run: .venv/bin/python docs/generate.py --readme"
