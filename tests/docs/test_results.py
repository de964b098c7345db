"""What the documentation says of a result: whether it is there, whether it is about this code, how it came out."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from guerdon.catalogue import code_hash

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """docs/results.py and docs/rerun.py over a project with one claim check on one method with one part."""
    monkeypatch.syspath_prepend(DOCS)
    results, rerun = importlib.import_module("results"), importlib.import_module("rerun")
    files = {name: tmp_path / name for name in ("claims/swift.py", "src/swift.py", "src/part.py")}
    for name, path in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'"""About it,\non two lines.\n\nMore of {name}."""\nLONG = True\n')
    (tmp_path / "claims/_helper.py").write_text("")
    (tmp_path / "claims/results").mkdir()
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(rerun, "ROOT", tmp_path)
    yield tmp_path, results, rerun
    for name in ("results", "rerun"):
        sys.modules.pop(name, None)


def write(root: Path, holds: bool = True) -> None:
    result = {
        "claim": "swift", "code": code_hash(root / "claims/swift.py", root / "src/swift.py"), "checks": [],
        "parts": {"src/part.py": code_hash(root / "src/part.py")}, "holds": holds,
    }  # fmt: skip
    (root / "claims/results/swift.json").write_text(json.dumps(result))


def test_a_check_that_has_not_been_run(project):
    _, results, rerun = project
    (check,) = results.checks("claims")
    assert (check.status, check.about, check.long) == ("not run", "About it, on two lines.", True)
    assert rerun.due("claims", everything=False, names=[]) == [check]


@pytest.mark.parametrize(("holds", "status"), [(True, "holds"), (False, "does not hold")])
def test_a_result_of_this_code(project, holds, status):
    root, results, rerun = project
    write(root, holds)
    (check,) = results.checks("claims")
    assert (check.status, check.changed) == (status, [])
    assert rerun.due("claims", everything=False, names=[]) == []
    assert rerun.due("claims", everything=True, names=[]) == [check]


@pytest.mark.parametrize("name", ["claims/swift.py", "src/swift.py"])
def test_a_changed_script_or_method_makes_it_stale(project, name):
    root, results, _ = project
    write(root)
    (root / name).write_text("changed = True\n")
    (check,) = results.checks("claims")
    assert check.status == "stale"


def test_a_changed_part_is_named(project):
    root, results, rerun = project
    write(root)
    (root / "src/part.py").write_text("changed = True\n")
    (check,) = results.checks("claims")
    assert (check.status, check.changed) == ("holds", ["src/part.py"])
    assert rerun.due("claims", everything=False, names=[]) == [check]


def test_a_damaged_result_is_named(project):
    root, results, _ = project
    (root / "claims/results/swift.json").write_text("{")
    (check,) = results.checks("claims")
    with pytest.raises(ValueError, match=r"swift\.json is damaged"):
        _ = check.status


def test_an_unknown_name_is_told(project):
    with pytest.raises(SystemExit, match="there is swift"):
        project[2].due("claims", everything=False, names=["swfit"])
