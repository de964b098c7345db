"""The page on comparing rewards: its code runs, and says what the page says."""

import json
import re
import shlex
from pathlib import Path

import torch

from guerdon.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "reward-comparison.md").read_text(encoding="utf-8")
REWARDS, PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.S)
COMMAND = re.search(r"```sh\n(guerdon compare .*?)\n", PAGE)[1]


def test_the_example(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    main(shlex.split(COMMAND)[1:])
    said = capsys.readouterr().out
    shown = re.search(r"```text\n(.*?)```", PAGE, re.S)[1]
    for line in filter(None, shown.splitlines()):
        assert line.removesuffix(" ...") in said
    found = json.loads((tmp_path / "four.json").read_text())
    assert [pair["kind"] for pair in found["pairs"]] == ["shaping", "order", "order"]
    assert (tmp_path / "four.png").exists()


def test_the_python():
    names: dict = {}
    exec(PYTHON, names)
    assert names["found"].raw.shape == (5, 5)
    assert torch.equal(names["found"].raw.diagonal(), torch.zeros(5).double())
