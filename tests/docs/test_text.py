"""The page on language models does what it says: its Python is run in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "text.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_code_runs_and_learns(tmp_path, monkeypatch, capsys):
    pytest.importorskip("trl", reason="needs trl")
    pytest.importorskip("datasets", reason="needs datasets")
    monkeypatch.chdir(tmp_path)
    ours, trls = BLOCKS
    names: dict = {"__name__": "page"}
    exec(compile(ours, str(PAGE), "exec"), names)
    seen = [float(line) for line in capsys.readouterr().out.split()]
    assert len(seen) == 60
    assert seen[0] < 0.3 < 0.7 < sum(seen[-5:]) / 5
    exec(compile(trls, str(PAGE), "exec"), names)
    assert names["trainer"].state.global_step == 2
    assert "rewards/Digits/mean" in names["trainer"].state.log_history[0]
