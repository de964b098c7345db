"""Where labels live: SQLite by default, PostgreSQL by URL; several runs may share one store at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from guerdon.types import Item, Label

VERSION = 1
CHUNK = 500
"""Rows a statement: well below what either database allows, and past where bigger ones stop paying."""

_tables = sa.MetaData()
_versions = sa.Table("guerdon_store", _tables, sa.Column("version", sa.Integer, primary_key=True))
_judges = sa.Table(
    "guerdon_judge",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("judge", sa.Text, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.UniqueConstraint("judge", "prompt"),
)
# An item's key is a digest of its JSON text: items of any length, with any bytes in them, look up equally fast. It
# comes first in the index: with the judge first, PostgreSQL, before it has statistics, reads all rows of that judge.
_labels = sa.Table(
    "guerdon_label",
    _tables,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("judge_id", sa.Integer, primary_key=True),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("reason", sa.Text),
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("rank", sa.SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)
_leases = sa.Table(
    "guerdon_lease",
    _tables,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("judge_id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)
_HAND = 2  # rank: + 2 if set by hand, + 1 if there is a value and not only a reason. A lower rank never overwrites.


class StoreUnavailable(RuntimeError):
    """The database cannot be reached, is locked or full just now: nothing is lost by trying again later."""


class StoreDamaged(RuntimeError):
    """What is there is not a store that can be read. It is left as it is."""


class Row(NamedTuple):
    """A stored label, when it was given (seconds since 1970) and whether by hand."""

    label: Label
    time: float
    hand: bool


class Tally(NamedTuple):
    """What a store holds of one judge with one prompt. `helpful` is the mean value of its captions."""

    judge: str
    prompt: str
    captions: int
    pairs: int
    helpful: float | None
    unlabelled: int
    by_hand: int
    newest: float


class LabelStore:
    """Labels and pairs in a database, keyed by judge, prompt version and item.

    A label set by hand is never overwritten by a judge, a label never by a reason why there is none; else the newer
    one stays. What `put` has returned from is on disk. A store may be used from several threads and processes.

    Args:
        url: a path ("runs/labels.db"), or "sqlite:///PATH", or "postgresql://USER:PASSWORD@HOST/DATABASE".
        create: False for a store that must be there already.

    Raises:
        FileNotFoundError: no such file, with `create` False.
        StoreUnavailable: nobody answers at this address.
        StoreDamaged: the file is no store, or damaged; it is left as it is.
    """

    def __init__(self, url: str | os.PathLike[str], *, create: bool = True) -> None:
        parsed = _parse(url)
        self.url = parsed.render_as_string(hide_password=False)
        self.shown = parsed.database if parsed.drivername == "sqlite" else parsed.render_as_string()
        self._sqlite = parsed.drivername == "sqlite"
        self._insert: Any = (sqlite if self._sqlite else postgresql).insert
        self._ids: dict[tuple[str, str], int] = {}
        if self._sqlite:
            path = Path(str(parsed.database))
            if not create and not path.is_file():
                raise FileNotFoundError(f"there is no label store at {path}")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(parsed, connect_args={"timeout": 30})
            event.listen(self.engine, "connect", _prepare_sqlite)
        else:
            self.engine = sa.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": 10})
        with self._named(), self.engine.begin() as connection:
            if not self._sqlite:  # CREATE IF NOT EXISTS alone lets two who start at once collide
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(4673529)"))
            for table in _tables.sorted_tables:
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            connection.execute(self._insert(_versions).values(version=VERSION).on_conflict_do_nothing())
            found = connection.scalar(sa.select(sa.func.max(_versions.c.version)))
            if found != VERSION:
                raise StoreDamaged(f"{self.shown} was written by a newer guerdon (format {found}): upgrade guerdon")
            connection.execute(_leases.delete().where(_leases.c.until < time.time() - 3600))

    def get(self, items: Iterable[Item], judge: str, prompt: str) -> dict[Item, Label]:
        """The rows stored for these items, labels and reasons alike; what is not known is not in the answer."""
        found: dict[Item, Label] = {}
        names = {_key(_write(item)): item for item in items}
        if not names or (judge_id := self._judge_id(judge, prompt)) is None:
            return found
        wanted = sa.bindparam("keys", expanding=True)
        columns = (_labels.c.key, _labels.c.value, _labels.c.reason, _labels.c.weight)
        query = sa.select(*columns).where(_labels.c.judge_id == judge_id, _labels.c.key.in_(wanted))
        with self._named(), self.engine.connect() as connection:
            for keys in _chunks(names):
                for key, value, reason, weight in connection.execute(query, {"keys": keys}):
                    item = names[bytes(key)]
                    found[item] = Label(item, value, reason, judge, prompt, weight)
        return found

    def put(self, labels: Iterable[Label], *, hand: bool = False) -> None:
        """Writes rows, all or none of them; writing the same again changes nothing."""
        now = time.time()
        self._put(Row(label, now, hand) for label in labels)

    def _put(self, rows: Iterable[Row]) -> None:
        if records := self._records(rows):
            with self._named(), self.engine.begin() as connection:
                self._upsert(connection, records)

    def _records(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        records: dict[tuple[int, bytes], dict[str, Any]] = {}
        for label, at, hand in rows:
            text = _write(label.item)
            judge_id, key = self._make_judge_id(label.judge, label.prompt), _key(text)
            reason = None if label.reason is None else label.reason.replace("\0", " ")
            rank = _HAND * hand + (label.value is not None)
            record = (key, judge_id, text, label.value, reason, label.weight, at, rank)
            records[judge_id, key] = dict(zip(_labels.c.keys(), record, strict=True))
        return [records[key] for key in sorted(records)]  # in the order of keys: two writers cannot deadlock

    def _upsert(self, connection: sa.Connection, records: list[dict[str, Any]]) -> None:
        insert = self._insert(_labels)
        new, old = insert.excluded, _labels.c
        upsert = insert.on_conflict_do_update(
            index_elements=["judge_id", "key"],
            set_={name: new[name] for name in ("value", "reason", "weight", "time", "rank")},
            where=sa.or_(new.rank > old.rank, sa.and_(new.rank == old.rank, new.time >= old.time)),
        )
        connection.execute(upsert, records)

    def claim(self, items: Iterable[Item], judge: str, prompt: str, *, owner: str, seconds: float = 60) -> list[Item]:
        """Those of `items` which `owner` may ask about now, for `seconds`; nobody else is given them meanwhile.

        Claiming again prolongs. A claim that ran out blocks nobody, so a crashed owner costs others a wait, no more.
        """
        names = {_key(_write(item)): item for item in items}
        if not names:
            return []
        judge_id, now = self._make_judge_id(judge, prompt), time.time()
        insert = self._insert(_leases)
        upsert = insert.on_conflict_do_update(
            index_elements=["judge_id", "key"],
            set_={"owner": insert.excluded.owner, "until": insert.excluded.until},
            where=sa.or_(_leases.c.until < now, _leases.c.owner == owner),
        )
        mine = sa.select(_leases.c.key).where(*self._lease(judge_id, owner))
        asked = {"judge_id": judge_id, "owner": owner, "until": now + seconds}
        granted: set[bytes] = set()
        with self._named(), self.engine.begin() as connection:
            connection.execute(upsert, [asked | {"key": key} for key in sorted(names)])
            for keys in _chunks(names):
                granted.update(bytes(key) for key in connection.scalars(mine, {"keys": keys}))
        return [item for key, item in names.items() if key in granted]

    def release(self, items: Iterable[Item], judge: str, prompt: str, *, owner: str) -> None:
        """Gives up the owner's claims on these items."""
        delete = _leases.delete().where(*self._lease(self._make_judge_id(judge, prompt), owner))
        with self._named(), self.engine.begin() as connection:
            for keys in _chunks(sorted(_key(_write(item)) for item in items)):
                connection.execute(delete, {"keys": keys})

    def rows(
        self,
        *,
        judge: str | None = None,
        prompt: str | None = None,
        contains: str = "",
        unlabelled: bool = False,
        newest_first: bool = False,
    ) -> Iterator[Row]:
        """All rows by time, or those of one judge, of one prompt, whose item has a text in it, or without a label."""
        query = sa.select(_judges.c.judge, _judges.c.prompt, _labels).join_from(
            _labels, _judges, _labels.c.judge_id == _judges.c.id
        )
        if judge is not None:
            query = query.where(_judges.c.judge == judge)
        if prompt is not None:
            query = query.where(_judges.c.prompt == prompt)
        if contains:
            query = query.where(_labels.c.item.icontains(json.dumps(contains)[1:-1], autoescape=True))
        if unlabelled:
            query = query.where(_labels.c.value.is_(None))
        time, key = (_labels.c.time.desc(), _labels.c.key.desc()) if newest_first else (_labels.c.time, _labels.c.key)
        with self._named(), self.engine.connect() as connection:
            for row in connection.execute(query.order_by(time, key).execution_options(yield_per=1000)):
                label = Label(_read(row.item), row.value, row.reason, row.judge, row.prompt, row.weight)
                yield Row(label, row.time, row.rank >= _HAND)

    def count(self) -> int:
        """Rows in the store, reasons included."""
        with self._named(), self.engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(_labels)) or 0

    def tallies(self) -> list[Tally]:
        """What there is of each judge and prompt."""
        pair = _labels.c.item.startswith("[")
        query = (
            sa.select(
                _judges.c.judge,
                _judges.c.prompt,
                sa.func.count().filter(~pair),
                sa.func.count().filter(pair),
                sa.func.avg(_labels.c.value).filter(~pair),
                sa.func.count().filter(_labels.c.value.is_(None)),
                sa.func.count().filter(_labels.c.rank >= _HAND),
                sa.func.max(_labels.c.time),
            )
            .join_from(_judges, _labels, _labels.c.judge_id == _judges.c.id)
            .group_by(_judges.c.judge, _judges.c.prompt)
            .order_by(_judges.c.judge, _judges.c.prompt)
        )
        with self._named(), self.engine.connect() as connection:
            return [Tally(*row) for row in connection.execute(query)]

    def export(self, path: str | os.PathLike[str]) -> int:
        """Writes all rows to a file, one JSON object a line, whole or not at all; returns how many."""
        target, count = Path(path), 0
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        try:
            with partial.open("w", encoding="ascii") as file:
                for label, at, hand in self.rows():
                    record = label._asdict() | {"time": at, "source": "hand" if hand else "judge"}
                    file.write(json.dumps(record) + "\n")
                    count += 1
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return count

    def import_file(self, path: str | os.PathLike[str]) -> int:
        """Reads rows that `export` wrote, under the same rules as `put` and with their own times; returns how many.

        Raises:
            ValueError: a line that is no such row; it is named, and the rows before it may have been read.
        """
        with Path(path).open(encoding="utf-8") as file:
            rows, count = _read_rows(file, path), 0
            while chunk := list(islice(rows, 20 * CHUNK)):
                self._put(chunk)
                count += len(chunk)
        return count

    def close(self) -> None:
        """Gives back connections; the store opens them again when it is used again."""
        self.engine.dispose()

    def _judge_id(self, judge: str, prompt: str) -> int | None:
        if (judge, prompt) not in self._ids:
            query = sa.select(_judges.c.id).where(_judges.c.judge == judge, _judges.c.prompt == prompt)
            with self._named(), self.engine.connect() as connection:
                found = connection.scalar(query)
            if found is None:
                return None
            self._ids[judge, prompt] = found
        return self._ids[judge, prompt]

    def _make_judge_id(self, judge: str, prompt: str) -> int:
        if (found := self._judge_id(judge, prompt)) is None:
            with self._named(), self.engine.begin() as connection:
                connection.execute(self._insert(_judges).values(judge=judge, prompt=prompt).on_conflict_do_nothing())
            found = self._judge_id(judge, prompt)
        assert found is not None
        return found

    @staticmethod
    def _lease(judge_id: int, owner: str) -> tuple[Any, ...]:
        keys = sa.bindparam("keys", expanding=True)
        return _leases.c.judge_id == judge_id, _leases.c.owner == owner, _leases.c.key.in_(keys)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turns a driver's errors into one of ours that names the store and the cure."""
        try:
            yield
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())
            if self._sqlite and ("not a database" in said or "malformed" in said):
                raise StoreDamaged(
                    f"the label store {self.shown} is damaged ({said}) and was left as it is: put back a copy, or "
                    f"save what can be saved with `sqlite3 {self.shown} .recover | sqlite3 NEW.db`, or move it away"
                ) from error
            if isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated:
                raise StoreUnavailable(f"the label store {self.shown} cannot be used now: {said}") from error
            raise


def _parse(url: str | os.PathLike[str]) -> sa.URL:
    text = os.fspath(url)
    parsed = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=os.path.abspath(text))
    if parsed.get_backend_name() == "postgresql":
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise ImportError("PostgreSQL needs a driver: pip install 'guerdon[postgresql]'") from error
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise ValueError(
            f"a label store is a path, sqlite:///PATH or postgresql://..., not {parsed.render_as_string()}"
        )
    return parsed


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # readers and one writer at once
    connection.execute("PRAGMA synchronous = FULL")  # a label is paid for: what was written outlives a power cut


def _write(item: Item) -> str:
    """An item as ASCII text that any database keeps: `"text"`, or `["first", "second"]`."""
    return json.dumps(item)


def _read(text: str) -> Item:
    item = json.loads(text)
    return item if isinstance(item, str) else (item[0], item[1])


def _key(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _chunks(keys: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    remaining = iter(keys)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


def _read_rows(lines: Iterable[str], path: str | os.PathLike[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
            at, source, item = float(fields.pop("time")), fields.pop("source"), fields.pop("item")
            hand = {"hand": True, "judge": False}[source]
            yield Row(Label(_read(json.dumps(item)), **fields), at, hand)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"{os.fspath(path)}, line {number}: not a row that `export` wrote ({error!r})") from error
