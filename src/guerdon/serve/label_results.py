"""What people's answers come to: how far they agree with each other and with judges, and a file to fit a reward on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from guerdon.judges.answers import PERSON, Answers, PairItem
from guerdon.judges.store import LabelStore
from guerdon.learners.checkpoint import write_whole
from guerdon.parts.agreement import cohen_kappa, fleiss_kappa, raw_agreement
from guerdon.serve.label_queue import FILES, LabelQueue
from guerdon.types import FIRST, SECOND, TIE

LABELS = {FIRST: "first", SECOND: "second", TIE: "tie"}
"""What an outcome is called in a file."""


class Comparison(NamedTuple):
    """Two who have answered the same pairs."""

    one: str
    other: str
    pairs: int
    raw: float  # share of equal answers; a tie is an answer
    kappa: float  # Cohen's; NaN where it is not defined


class Agreement(NamedTuple):
    """How far everybody agrees, on the pairs of a queue."""

    people: dict[str, Counter[str]]  # of each person how many "first", "second", "tie", "skipped"
    fleiss: float  # of all people
    shared: int  # pairs that at least two people have answered
    comparisons: list[
        Comparison
    ]  # of people with each other, and of people with judges and with the file's own answers


def agreement(queue: LabelQueue, answers: Answers) -> Agreement:
    """Compares the labels in a store that are about the pairs of `queue`: people's, judges', and the file's."""
    items = [pair.item for pair in queue.pairs]
    said = answers.labels()
    people = {name: {i: v for i in items if (v := given.get(i)) is not None} for name, given in sorted(said.items())}
    counts = {
        name: Counter(LABELS.get(given[i], "skipped") for i in items if i in given)  # type: ignore[arg-type]
        for name, given in sorted(said.items())
    }
    ratings = [[given[i] for given in people.values() if i in given] for i in items]
    others = judged(answers.store, items)
    if own := {pair.item: float(pair.given) for pair in queue.pairs if pair.given is not None}:
        others["the file"] = own
    names = list(people)
    meetings = [(a, b, people[a], people[b]) for i, a in enumerate(names) for b in names[i + 1 :]]
    meetings += [(a, b, people[a], given) for a in names for b, given in others.items()]
    comparisons = []
    for a, b, one, other in meetings:
        if both := [i for i in items if i in one and i in other]:
            pair = [one[i] for i in both], [other[i] for i in both]
            comparisons.append(Comparison(a, b, len(both), raw_agreement(*pair), cohen_kappa(*pair)))
    shared = sum(len(rated) > 1 for rated in ratings)
    return Agreement(counts, fleiss_kappa(ratings), shared, comparisons)


def judged(store: LabelStore, items: list[PairItem]) -> dict[str, Mapping[PairItem, float]]:
    """Of each judge in a store that is no person its labels of these pairs, also of those asked the other way round."""
    found: dict[str, Mapping[PairItem, float]] = {}
    turned = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}
    for tally in store.tallies():
        if tally.pairs and not tally.judge.startswith(PERSON):
            known = store.get([*items, *((b, a) for a, b in items)], tally.judge, tally.prompt)
            values = {item: row.value for item, row in known.items() if row.value is not None}
            labels = {(a, b): float(turned[int(values[b, a])]) for a, b in items if (b, a) in values}
            labels |= {item: values[item] for item in items if item in values}
            if labels:
                found[f"{tally.judge} ({tally.prompt})"] = labels
    return found


def export(
    queue: LabelQueue, answers: Answers, path: Path, *, ties: Literal["keep", "drop"] = "keep"
) -> tuple[int, Counter[str]]:
    """Writes the labels as rows {"prompt", "first", "second", "label", "user", ...} that `guerdon fit` reads.

    A row a label, in the queue's order; "user" is who gave it. The queue's further columns are kept. Recordings keep
    their file columns, and "first" and "second" are the texts that go with them, or else the files' names.

    Returns:
        How many rows were written, and how many labels of each kind were not.
    """
    said, rows, left = answers.labels(), list[str](), Counter[str]()
    for pair in queue.pairs:
        own: dict[str, Any] = {"prompt": pair.prompt, "first": pair.first, "second": pair.second}
        if pair.files is not None:
            names = (file.relative_to(queue.folder).as_posix() for file in pair.files)
            own |= dict(zip(FILES, names, strict=True))
        for name, given in sorted(said.items()):
            if pair.item not in given:
                continue
            value = given[pair.item]
            if value is None or (value == TIE and ties == "drop"):
                left["skipped" if value is None else "ties"] += 1
            else:
                row = {**pair.columns, **own, "label": LABELS[int(value)], "user": name}
                rows.append(json.dumps(row, allow_nan=False) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write("".join(rows).encode("ascii")))
    return len(rows), left


def percent(share: float) -> str:
    """A share as people read it; n/a where there is none."""
    return "n/a" if math.isnan(share) else f"{share:.0%}"


def kappa(value: float) -> str:
    """A kappa with two places; n/a where it is not defined."""
    return "n/a" if math.isnan(value) else f"{value:.2f}"
