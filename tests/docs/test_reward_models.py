"""The page on reward models does what it says: its Python is run on a file of pairs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from guerdon import cli

PAGE = Path(__file__).parents[2] / "docs" / "reward-models.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"{i} ", "chosen": "a fine word", "rejected": "bad", "features": {"care": [1 + i % 5, i % 5]}}
        for i in range(40)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cli.main(["fit", "pairs.jsonl", "--epochs", "1", "--out", "helpful", "--quiet"])
    capsys.readouterr()
    loads, fits = (block for block in BLOCKS if "RewardModel" in block or "RewardFit" in block)
    exec(compile(loads, str(PAGE), "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.startswith("tensor([")
    exec(compile(fits, str(PAGE), "exec"), {"__name__": "page"})
    assert float(capsys.readouterr().out) == 1.0


def test_files_are_read_and_curated_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "prompt": f"{i} ",
            "chosen": "a",
            "rejected": "b",
            "features": {"care": [i % 5, 1 + i % 5][:: 1 if i < 8 else -1]},
        }
        for i in range(40)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    reads, curates = (block for block in BLOCKS if "report.lines" in block or "StrengthCuration" in block)
    page: dict[str, Any] = {"__name__": "page"}
    exec(compile(reads, str(PAGE), "exec"), page)
    assert "pairs.jsonl, line 41" in capsys.readouterr().out
    exec(compile(curates, str(PAGE), "exec"), page)
    assert page["mended"].label.tolist() == [1] * 8 + [0] * 32
    assert page["what_was_done"]["flipped"] == 8
