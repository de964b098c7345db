"""The tutorial does what it says: its Python is run in order, and its command as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "write-your-own-reward.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def save(block: str, folder: Path) -> bool:
    """Writes a block that begins with a file's name to that file; False if it is to be run instead."""
    named = re.match(r"# (\w+\.py)( \(append\))?\n", block)
    if named:
        with (folder / named[1]).open("a" if named[2] else "w") as file:
            file.write(block)
    return bool(named)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)
    yield tmp_path
    sys.modules.pop("my_rewards", None)


def test_the_code_runs(folder):
    blocks = [text for language, text in BLOCKS if language == "python"]
    assert len(blocks) == 4
    to_run = [block for block in blocks if not save(block, folder)]  # files are whole before they are imported
    names: dict = {}
    for block in to_run:
        exec(compile(block, str(PAGE), "exec"), names)


def test_the_command_runs(folder):
    save(next(text for language, text in BLOCKS if language == "python"), folder)
    (command,) = (text for language, text in BLOCKS if language == "sh")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "my_rewards:Mentions(word='door')" in (folder / "runs" / "mine" / "config.json").read_text()
