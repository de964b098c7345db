import inspect
import json
import sys
from pathlib import Path

import pytest

import guerdon
from guerdon import catalogue
from guerdon.commands.list import list_
from guerdon.rewards.feedback import ONI
from guerdon.rewards.shaping import Clip

ROOT = Path(guerdon.__file__).parents[2]


def entry(name: str) -> catalogue.Entry:
    return next(e for e in catalogue.entries() if e.name == name)


def test_methods_are_found_with_what_they_say_of_themselves():
    found = entry("ONI")
    assert found.cls is ONI
    assert found.about is ONI.about
    assert found.folder == "feedback"
    assert entry("Clip").status == ""
    assert catalogue.rewards()["Clip"] is Clip
    assert "RecordedJudge" in catalogue.judges()


def test_every_claim_has_its_script():
    for e in catalogue.entries():
        if e.about and e.about.claim:
            assert (ROOT / "claims" / f"{e.about.claim}.py").exists(), f"{e.name} names claims/{e.about.claim}.py"


def write(claims: Path, **result) -> None:
    (claims / "results").mkdir(parents=True, exist_ok=True)
    (claims / "results" / "oni.json").write_text(json.dumps(result))


def test_the_status_of_a_claim(tmp_path):
    claims = tmp_path / "claims"
    assert catalogue.claim_status(ONI, claims) == "see docs"
    claims.mkdir()
    (claims / "oni.py").write_text("print('checked')\n")
    assert catalogue.claim_status(ONI, claims) == "not run"
    code = catalogue.code_hash(claims / "oni.py", inspect.getfile(ONI))
    write(claims, code=code, holds=True)
    assert catalogue.claim_status(ONI, claims) == "holds"
    write(claims, code=code, holds=False)
    assert catalogue.claim_status(ONI, claims) == "does not hold"
    (claims / "oni.py").write_text("print('checked anew')\n")
    assert catalogue.claim_status(ONI, claims) == "stale"
    write(claims, holds=True)
    with pytest.raises(ValueError, match=r"oni\.json is not the result of a claim check"):
        catalogue.claim_status(ONI, claims)
    (claims / "results" / "oni.json").write_text("{")
    with pytest.raises(ValueError, match=r"run claims/oni\.py again"):
        catalogue.claim_status(ONI, claims)


def test_one_claim_about_several_methods_lists_their_files(tmp_path):
    claims = tmp_path / "claims"
    claims.mkdir()
    (claims / "oni.py").write_text("print('checked')\n")
    own, other = inspect.getfile(ONI), inspect.getfile(Clip)
    code, listed = catalogue.code_hash(claims / "oni.py", other), {"src/guerdon/oni.py": catalogue.code_hash(own)}
    write(claims, code=code, parts=listed, holds=True)
    assert catalogue.claim_status(ONI, claims) == "holds"
    write(claims, code=code, parts={"src/guerdon/oni.py": "older"}, holds=True)
    assert catalogue.claim_status(ONI, claims) == "stale"
    write(claims, code=catalogue.code_hash(claims / "oni.py", claims / "oni.py"), parts=listed, holds=True)
    assert catalogue.claim_status(ONI, claims) == "stale"


def test_credits_stand_in_the_catalogue():
    found = {e.name: e for e in catalogue.credit_entries()}
    assert found.keys() == catalogue.credits().keys()
    assert found["GroupAdvantage"].about.claim == "grpo_family"


def test_the_hash_is_of_the_text_of_all_files(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one\ntwo\n")
    b.write_bytes(b"")
    before = catalogue.code_hash(a, b)
    assert len(before) == 16
    assert catalogue.code_hash(b, a) != before
    a.write_bytes(b"one\r\ntwo\r\n")
    assert catalogue.code_hash(a, b) == before  # a checkout with other line ends is no other code
    a.write_bytes(b"one\n")
    b.write_bytes(b"two\n")
    assert catalogue.code_hash(a, b) != before  # where one file ends and the next begins counts


METHOD = """
import gguf_does_not_exist
from guerdon.types import Reward
"""
LAZY = '''
__all__ = ["Here", "There"]
from guerdon.types import About, Reward

class Here(Reward):
    """A reward."""
    about = About(rewards="x", paper="y")

def __getattr__(name):
    import {missing}
'''


def packaged(tmp_path, monkeypatch, **folders: str):
    """A package of rewards with these folders."""
    (tmp_path / "fake_rewards").mkdir(parents=True)
    (tmp_path / "fake_rewards" / "__init__.py").write_text("")
    for name, text in folders.items():
        (tmp_path / "fake_rewards" / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"fake_rewards.{name}", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fake_rewards", raising=False)
    import fake_rewards  # pyright: ignore[reportMissingImports]

    return fake_rewards


def test_what_cannot_be_imported_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    package = packaged(tmp_path, monkeypatch, eager=METHOD, lazy=LAZY.format(missing="psycopg"))
    found = {e.name: e for e in catalogue.entries(package)}
    assert found["eager"].install == "pip install gguf_does_not_exist"
    assert found["There"].install == "pip install 'guerdon[postgresql]'"
    assert found["There"].cls is None
    assert found["Here"].cls is not None
    assert found["Here"].install == ""


def test_a_broken_import_is_not_taken_for_a_missing_package(tmp_path, monkeypatch):
    with pytest.raises(ImportError, match="NoSuchThing"):
        catalogue.entries(packaged(tmp_path, monkeypatch, broken="from guerdon.types import NoSuchThing"))
    with pytest.raises(ModuleNotFoundError, match=r"guerdon\.nosuch"):
        catalogue.entries(packaged(tmp_path / "b", monkeypatch, broken="import guerdon.nosuch"))


def test_list_prints_every_method(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    list_()
    printed = capsys.readouterr().out
    for e in catalogue.entries():
        assert e.name in printed
        assert e.status in printed
    assert "RecordedJudge" in printed


def test_list_shows_what_is_not_installed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    missing = catalogue.Entry("Big", "likelihood", None, None, "", "pip install 'guerdon[text]'")
    monkeypatch.setattr(catalogue, "entries", lambda: [missing])
    list_()
    assert "unavailable: pip install 'guerdon[text]'" in capsys.readouterr().out


def test_list_prints_json(capsys):
    list_(json=True)
    printed = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in printed["rewards"]}
    assert rows.keys() == {e.name for e in catalogue.entries()}
    assert rows["ONI"]["claim"] == "oni"
    assert rows["ONI"]["status"] == entry("ONI").status
    assert "RecordedJudge" in printed["judges"]
