"""What people answer about pairs: who is given which, each answer once, undone or not, beside the judges' labels."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa

from guerdon.judges.store import Label, LabelStore, Row, _judges, _key, _labels, _leases, _read, _tables, _write
from guerdon.types import SECOND

PERSON = "person:"
"""What the name of a judge that is a person begins with."""

SKIPPED = "skipped"
"""The reason why there is no label, where a person did not want to answer."""

PairItem = tuple[str, str]

_answers = sa.Table(
    "guerdon_answer",
    _tables,
    sa.Column(
        "number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True
    ),  # in the order of arrival
    sa.Column("answer", sa.Text, nullable=False, unique=True),
    sa.Column("judge_id", sa.Integer, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("swapped", sa.Boolean, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("undone", sa.Boolean, nullable=False),
)


@lru_cache(maxsize=2**17)
def _name(item: PairItem) -> bytes:
    return _key(_write(item))


class Answer(NamedTuple):
    """A person's answer to one pair."""

    id: str  # made where it is given: one that is sent again counts once
    item: PairItem
    value: float | None  # FIRST, SECOND or TIE; None if skipped
    swapped: bool  # the second was shown on the left
    seconds: float  # that it took


class Offer(NamedTuple):
    """What a person is to answer next; None if there is nothing, now (others have it) or at all."""

    item: PairItem | None
    others: bool  # have pairs that he could be given if they do not answer
    done: int  # pairs that he has answered or skipped
    given: int  # labels by everybody, as far as they are wanted


class Answers:
    """The answers of several people to one question, in a label store: each person is a judge, with labels by hand.

    All is decided in the database, under one lock: servers that share a store share the work, and one that is killed
    has forgotten nothing. What `give` and `undo` have returned from is on disk.

    Args:
        store: where labels go, as those of judge "person:NAME" and, as prompt version, the question.
        question: what is asked; another question is another set of labels.
        each: labels wanted of a pair, by as many people.
        lease: seconds for which a pair that was given to somebody is kept for him.

    Raises:
        ValueError: `each` is below 1.
    """

    def __init__(self, store: LabelStore, question: str, *, each: int = 1, lease: float = 900.0) -> None:
        if each < 1:
            raise ValueError(f"each pair gets at least one label, not {each}")
        self.store, self.question, self.each, self.lease = store, question, each, lease
        with self._locked() as connection:
            connection.execute(sa.schema.CreateTable(_answers, if_not_exists=True))

    def offer(self, person: str, items: Sequence[PairItem], priority: Sequence[float] | None = None) -> Offer:
        """The pair this person is to see, kept for him from now on.

        First what he was given before and has not answered; then, of the pairs that want more labels than have been
        given or are being thought about, the one of highest `priority`, or else of fewest labels; of equals the first.
        """
        mine, names = self._id(person), {_name(item): i for i, item in enumerate(items)}
        with self._locked() as connection:
            done, labelled = self._done(connection, mine), self._labelled(connection)
            busy: Counter[bytes] = Counter()
            kept: list[tuple[float, bytes]] = []
            leases = sa.select(_leases.c.key, _leases.c.judge_id, _leases.c.until).where(self._of_people(_leases))
            for key, judge_id, until in connection.execute(leases):
                if judge_id == mine:
                    kept.append((until, bytes(key)))
                else:
                    busy[bytes(key)] += 1
            left = [key for key in names if key not in done and labelled[key] < self.each]
            free = [key for key in left if labelled[key] + busy[key] < self.each]
            held = [key for _, key in sorted(kept, reverse=True) if key in free]
            given = sum(min(labelled[key], self.each) for key in names)
            offer = Offer(None, bool(left), len(names.keys() & done), given)
            if not free:
                return offer
            if held:
                chosen = held[0]
            elif priority is not None:
                chosen = max(free, key=lambda key: (priority[names[key]], -labelled[key] - busy[key], -names[key]))
            else:
                chosen = min(free, key=lambda key: (labelled[key] + busy[key], names[key]))
            self._keep(connection, mine, chosen)
        return offer._replace(item=items[names[chosen]])

    def give(self, person: str, answer: Answer) -> bool:
        """Writes an answer; False if it was here already. One to a pair that he has answered takes its place."""
        mine, key, now = self._id(person), _name(answer.item), time.time()
        reason = SKIPPED if answer.value is None else None
        label = Label(answer.item, answer.value, reason, PERSON + person, self.question)
        records = self.store._records([Row(label, now, hand=True)])
        about = {"value": answer.value, "swapped": answer.swapped, "seconds": answer.seconds, "time": now}
        named = {"answer": answer.id, "judge_id": mine, "key": key, "item": _write(answer.item), "undone": False}
        with self._locked() as connection:
            if connection.scalar(sa.select(_answers.c.number).where(_answers.c.answer == answer.id)) is not None:
                return False
            of_pair = _answers.c.judge_id == mine, _answers.c.key == key
            connection.execute(_answers.update().where(*of_pair).values(undone=True))
            connection.execute(_answers.insert().values(**about, **named))
            self._forget(connection, mine, key)
            self.store._upsert(connection, records)
            connection.execute(_leases.delete().where(_leases.c.judge_id == mine, _leases.c.key == key))
        return True

    def undo(self, person: str, answer: str) -> PairItem | None:
        """Takes an answer back, if it stands, and keeps its pair for this person; None if he has no such answer."""
        mine = self._id(person)
        with self._locked() as connection:
            query = sa.select(_answers).where(_answers.c.answer == answer, _answers.c.judge_id == mine)
            found = connection.execute(query).one_or_none()
            if found is None:
                return None
            if not found.undone:
                connection.execute(_answers.update().where(_answers.c.number == found.number).values(undone=True))
                self._forget(connection, mine, found.key)
                self._keep(connection, mine, found.key)
        item = _read(found.item)
        return item[0], item[1]

    def last(self, person: str) -> str | None:
        """The answer that this person would undo."""
        query = sa.select(_answers.c.answer).where(_answers.c.judge_id == self._id(person), ~_answers.c.undone)
        with self.store._named(), self.store.engine.connect() as connection:
            return connection.scalar(query.order_by(_answers.c.number.desc()).limit(1))

    def release(self, person: str) -> None:
        """Gives back what is kept for this person."""
        with self._locked() as connection:
            connection.execute(_leases.delete().where(_leases.c.judge_id == self._id(person)))

    def labels(self) -> dict[str, dict[PairItem, float | None]]:
        """What each person says of each pair; None where it was skipped."""
        found: dict[str, dict[PairItem, float | None]] = defaultdict(dict)
        for row in self.store.rows(prompt=self.question):
            item, judge = row.label.item, row.label.judge
            if judge.startswith(PERSON) and not isinstance(item, str):
                found[judge.removeprefix(PERSON)][item] = row.label.value
        return dict(found)

    def left_share(self) -> dict[str, tuple[int, int]]:
        """Of each person: how often he preferred what stood on the left, and how often he preferred one at all."""
        left = sa.func.sum(sa.case(((_answers.c.value == SECOND) == _answers.c.swapped, 1), else_=0))
        query = sa.select(_judges.c.judge, left, sa.func.count()).join(_judges, _judges.c.id == _answers.c.judge_id)
        standing = (~_answers.c.undone, _answers.c.value <= SECOND, _judges.c.prompt == self.question)
        with self.store._named(), self.store.engine.connect() as connection:
            rows = connection.execute(query.where(*standing).group_by(_judges.c.judge)).all()
        return {judge.removeprefix(PERSON): (int(n), total) for judge, n, total in rows}

    @contextmanager
    def _locked(self) -> Iterator[sa.Connection]:
        """A transaction that no other of these runs beside."""
        with self.store._named(), self.store.engine.begin() as connection:
            if not self.store._sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(4673530)"))
            # A write first: SQLite then locks at once, and not only after we have read.
            connection.execute(_leases.delete().where(_leases.c.until < time.time()))
            yield connection

    def _id(self, person: str) -> int:
        return self.store._make_judge_id(PERSON + person, self.question)

    def _of_people(self, table: sa.Table) -> sa.ColumnElement[bool]:
        people = sa.select(_judges.c.id).where(
            _judges.c.prompt == self.question, _judges.c.judge.startswith(PERSON, autoescape=True)
        )
        return table.c.judge_id.in_(people)

    def _done(self, connection: sa.Connection, person: int) -> set[bytes]:
        return {bytes(k) for k in connection.scalars(sa.select(_labels.c.key).where(_labels.c.judge_id == person))}

    def _labelled(self, connection: sa.Connection) -> Counter[bytes]:
        query = sa.select(_labels.c.key, sa.func.count()).where(self._of_people(_labels), _labels.c.value.is_not(None))
        return Counter({bytes(key): n for key, n in connection.execute(query.group_by(_labels.c.key))})

    def _keep(self, connection: sa.Connection, person: int, key: bytes) -> None:
        connection.execute(_leases.delete().where(_leases.c.judge_id == person, _leases.c.key == key))
        until = time.time() + self.lease
        connection.execute(_leases.insert().values(key=key, judge_id=person, owner=PERSON, until=until))

    @staticmethod
    def _forget(connection: sa.Connection, person: int, key: bytes) -> None:
        connection.execute(_labels.delete().where(_labels.c.judge_id == person, _labels.c.key == key))
