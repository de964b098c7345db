"""Stores that are missing, damaged, full, locked, or killed: one clear error, and nothing lost that was written."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from postgres_server import PostgresServer, postgres  # noqa: F401
from sqlalchemy import event

from guerdon.judges.store import LabelStore, StoreDamaged, StoreUnavailable
from guerdon.types import Label


def labels(*numbers: int) -> list[Label]:
    return [Label(f"caption {i}", float(i % 2), None, "judge", "prompt") for i in numbers]


def values(store: LabelStore, *numbers: int) -> list[float | None]:
    found = store.get([f"caption {i}" for i in numbers], "judge", "prompt")
    return [found[f"caption {i}"].value for i in numbers]


def test_a_store_that_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no label store at .*labels\.sqlite"):
        LabelStore(tmp_path / "labels.sqlite", create=False)
    assert not list(tmp_path.iterdir())
    LabelStore(tmp_path / "labels.sqlite").put(labels(1))
    assert LabelStore(f"sqlite:///{tmp_path}/labels.sqlite", create=False).count() == 1


@pytest.mark.parametrize("damage", ["another file", "torn header", "torn pages"])
def test_a_damaged_file_is_named_with_a_cure_and_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "labels.sqlite"
    store = LabelStore(path)
    store.put(labels(*range(2000)))
    store.close()
    content = bytearray(path.read_bytes())
    if damage == "another file":
        content = bytearray(b"some notes\n" * 100)
    elif damage == "torn header":
        content[:16] = bytes(16)
    else:
        content[4096:] = b"\x55" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"labels\.sqlite is damaged .*\.recover"):
        LabelStore(path).put(labels(1))
    assert path.read_bytes() == content


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    LabelStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE guerdon_store SET version = 99")
    with pytest.raises(StoreDamaged, match=r"format 99.*upgrade guerdon"):
        LabelStore(path)


def test_addresses_that_are_none(tmp_path: Path) -> None:
    for address in ("mysql://localhost/labels", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="a label store is a path"):
            LabelStore(address)
    with pytest.raises(StoreUnavailable, match="unable to open") as caught:
        LabelStore(tmp_path)  # a folder
    assert str(tmp_path) in str(caught.value)


def test_no_password_in_an_error() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreUnavailable) as caught:
        LabelStore("postgresql://somebody:secret@127.0.0.1:1/labels")
    assert "127.0.0.1:1/labels" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"pip install 'guerdon\[postgresql\]'"):
        LabelStore("postgresql://localhost/labels")


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.sqlite")
    store.put(labels(*range(100)))
    store.close()
    pages = 40

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(store.engine, "connect", limit)
    with pytest.raises(StoreUnavailable, match=r"labels\.sqlite cannot be used now: .*full"):
        store.put(labels(*range(5000)))
    assert store.count() == 100  # all of a batch or nothing
    store.put(labels(1, 2))
    store.close()
    pages = 10_000
    store.put(labels(*range(5000)))
    assert store.count() == 5000


def test_a_locked_store_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    store = LabelStore(path)
    store.close()
    event.listen(store.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 50"))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.put(labels(1))
    blocker.execute("ROLLBACK")
    store.put(labels(1))
    assert values(store, 1) == [1.0]


WRITER = """
import sys
from guerdon.judges.store import LabelStore
from guerdon.types import Label
store = LabelStore(sys.argv[1])
for i in range(1_000_000):
    store.put([Label(f"caption {i}", float(i % 2), None, "judge", "prompt")])
    print(i, flush=True)
"""


def _kill_a_writer(url: str) -> int:
    """Kill -9 in the middle of its work; returns the last number whose `put` had returned."""
    with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        seen = [int(writer.stdout.readline()) for _ in range(50)]
        writer.kill()
        seen += map(int, writer.stdout.read().split())
    return seen[-1]


def test_kill_9_of_a_writer_loses_nothing_that_was_written(tmp_path: Path) -> None:
    url = str(tmp_path / "labels.sqlite")
    last = _kill_a_writer(url)
    store = LabelStore(url)
    assert values(store, *range(last + 1)) == [float(i % 2) for i in range(last + 1)]
    assert store.count() <= last + 2  # and perhaps the one that was under way


def test_kill_9_of_the_database_server(postgres: PostgresServer) -> None:  # noqa: F811
    store = LabelStore(postgres.database())
    store.put(labels(*range(100)))
    postgres.kill()
    with pytest.raises(StoreUnavailable, match="cannot be used now"):
        store.put(labels(100))
    postgres.start()
    assert values(store, *range(100)) == [float(i % 2) for i in range(100)]
    store.put(labels(100))
    assert store.count() == 101
