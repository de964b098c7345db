"""``guerdon labels``, as typed: what it prints, what it changes, and what it says to a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guerdon.cli import main
from guerdon.judges.store import LabelStore
from guerdon.types import Label


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "labels.sqlite")
    store = LabelStore(path)
    store.put([Label(f"You see here {i} [gold] pieces.", float(i % 2), None, "keyword", "v1") for i in range(30)])
    store.put([Label("It is \x1b[31mred.", None, "unparseable", "llama", "v2")])
    store.put([Label(("You see a door.", "You die..."), 0.0, None, "llama", "rank-1")])
    store.close()
    return path


def test_an_overview(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["labels", path, "--limit", "5"])
    shown = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    assert ["keyword", "v1", "30", "50.0%", "0", "0", "0"] in [line[:7] for line in lines]
    assert ["llama", "rank-1", "0", "", "1", "0", "0"] in [line[:7] for line in lines]
    assert ["You see a door.  |  You die...", "0", "llama", "rank-1"] in [line[:4] for line in lines]
    assert ["It is \\x1b[31mred.", "unparseable", "llama", "v2"] in [line[:4] for line in lines]
    assert "\x1b[31m" not in shown
    assert shown.count("[gold]") == 3  # five newest, of which two are llama's
    main(["labels", path, "--judge", "llama"])
    assert "keyword" not in capsys.readouterr().out


def test_grep(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["labels", path, "--grep", "HERE 1", "--limit", "4"])
    shown = capsys.readouterr().out
    assert shown.count("You see here 1") == 4
    assert "--limit 40" in shown
    main(["labels", path, "--grep", "here 7 [gold]"])
    assert capsys.readouterr().out.count("You see here 7 [gold] pieces.") == 1


def test_correcting_a_label(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    caption = "You see here 2 [gold] pieces."
    main(["labels", path, "--set", caption, "1"])
    assert f"'{caption}' is 1 for keyword with prompt v1" in capsys.readouterr().out
    main(["labels", path, "--set", '["You see a door.", "You die..."]', "2"])
    store = LabelStore(path)
    store.put([Label(caption, 0.0, None, "keyword", "v1")])
    assert store.get([caption], "keyword", "v1")[caption].value == 1.0
    assert [row.label.value for row in store.rows() if row.hand] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("caption", "value", "message"),
    [
        ("You see here 2 [gold] pieces", "1", "did you mean 'You see here 2 [gold] pieces.'"),
        ("", "1", "has no answer to ''"),
        ("[1, 2, 3]", "1", "has no answer to '[1, 2, 3]'"),
        ("You see here 2 [gold] pieces.", "1.5", "the label of a caption is from 0 to 1, not 1.5"),
        ('["You see a door.", "You die..."]', "0.5", "the label of a pair is 0"),
        ('["You die...", "You see a door."]', "0", "has no answer to"),
    ],
)
def test_a_wrong_correction_changes_nothing(
    path: str, caption: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(LabelStore(path).rows())
    with pytest.raises(SystemExit) as caught:
        main(["labels", path, "--set", caption, value])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert list(LabelStore(path).rows()) == before


def test_export_and_import(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, other = str(tmp_path / "labels.jsonl"), str(tmp_path / "other.sqlite")
    main(["labels", path, "--export", file])
    main(["labels", other, "--import-file", file])
    shown = capsys.readouterr().out
    assert f"wrote 32 rows to {file}" in shown
    assert f"read 32 rows from {file}" in shown
    assert list(LabelStore(other).rows()) == list(LabelStore(path).rows())
    assert json.loads(Path(file).read_text().splitlines()[0])["judge"] == "keyword"


def test_a_wrong_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["labels", str(tmp_path / "none.sqlite")])
    assert f"error: there is no label store at {tmp_path}/none.sqlite" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    (tmp_path / "notes.txt").write_text("notes\n" * 100)
    with pytest.raises(SystemExit):
        main(["labels", str(tmp_path / "notes.txt")])
    assert "notes.txt is damaged" in capsys.readouterr().err


def test_an_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LabelStore(tmp_path / "labels.sqlite").close()
    main(["labels", str(tmp_path / "labels.sqlite")])
    assert capsys.readouterr().out == f"no labels in {tmp_path}/labels.sqlite\n"
