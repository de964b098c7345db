"""``guerdon labels``: what judges have said, and what a person says to it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from guerdon.judges.answers import PERSON
from guerdon.judges.store import LabelStore, Row
from guerdon.types import FIRST, SECOND, TIE, Item, Label

_PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False}


def labels(
    store: Annotated[str, tyro.conf.Positional],
    *,
    grep: str = "",
    judge: str | None = None,
    prompt: str | None = None,
    set: Annotated[tuple[str, float] | None, tyro.conf.arg(metavar="CAPTION VALUE")] = None,
    export: Path | None = None,
    import_file: Path | None = None,
    limit: int = 10,
) -> None:
    """Looks into a label store; exports, imports, or corrects its labels.

    A store keeps what each judge said of each caption (1 helpful, 0 not) or pair of captions (0 the first is better,
    1 the second, 2 neither). Every run keeps one in its folder, unless several share one by --store.

    What there is:  guerdon labels runs/first/labels.sqlite

    What was said of some captions:  guerdon labels runs/first/labels.sqlite --grep "gold piece"

    Correct it:  guerdon labels runs/first/labels.sqlite --set "You see here an apple." 0

    Take it elsewhere:  guerdon labels labels.sqlite --export labels.jsonl, and there --import-file labels.jsonl

    A label set by hand counts from then on for every run that meets this caption for the first time, and no judge
    ever overwrites it. A pair is written as JSON: --set '["You see a door.", "You die..."]' 0

    Args:
        store: a file, or postgresql://USER:PASSWORD@HOST/DATABASE.
        grep: show the labels of items with this text in them, whatever its case.
        judge: only this judge.
        prompt: only this prompt version.
        set: a caption (or pair) in the store, and the label that it should have.
        export: write all rows to this file, one JSON object a line.
        import_file: read rows from such a file. A label by hand stays over a judge's, the newer stays over the older.
        limit: how many rows to show.
    """
    console = Console()
    known = LabelStore(store, create=import_file is not None)
    if import_file is not None:
        console.print(f"read {known.import_file(import_file):,} rows from {import_file}", **_PLAIN)
    if set is not None:
        _correct(known, *set, judge, prompt, console)
    if export is not None:
        console.print(f"wrote {known.export(export):,} rows to {export}", **_PLAIN)
    if grep:
        found = list(islice(known.rows(judge=judge, prompt=prompt, contains=grep, newest_first=True), limit + 1))
        console.print(_rows_table(f"Items with {escape(repr(grep))}", found[:limit]))
        if len(found) > limit:
            console.print(f"and more: --limit {10 * limit}")
    if not (grep or set or export or import_file):
        _overview(known, judge, prompt, limit, console)
    known.close()


def _overview(known: LabelStore, judge: str | None, prompt: str | None, limit: int, console: Console) -> None:
    names = (Column(name, overflow="fold") for name in ("judge", "prompt"))
    table = Table(*names, title=f"Labels in {escape(str(known.shown))}")
    for column in ("captions", "helpful", "pairs", "no label", "by hand", "newest"):
        table.add_column(column, justify="right", no_wrap=True)
    for tally in known.tallies():
        if judge in (None, tally.judge) and prompt in (None, tally.prompt):
            helpful = "" if tally.helpful is None else f"{tally.helpful:.1%}"
            counts = [f"{n:,}" for n in (tally.pairs, tally.unlabelled, tally.by_hand)]
            key = escape(tally.judge), escape(tally.prompt)
            table.add_row(*key, f"{tally.captions:,}", helpful, *counts, _when(tally.newest)[:10])
    if not table.row_count:
        console.print(f"no labels in {known.shown}", **_PLAIN)
        return
    console.print(table)
    newest = known.rows(judge=judge, prompt=prompt, newest_first=True)
    console.print(_rows_table("Newest", islice(newest, limit)))
    without = list(islice(known.rows(judge=judge, prompt=prompt, unlabelled=True, newest_first=True), limit))
    if without:
        console.print(_rows_table("Newest without a label", without))


def _rows_table(title: str, rows: Iterable[Row]) -> Table:
    table = Table("item", "label", "judge", "prompt", "when", title=title)
    for label, at, hand in rows:
        item = label.item if isinstance(label.item, str) else "  |  ".join(label.item)
        given = f"[yellow]{label.reason}" if label.value is None else f"{label.value:g}"
        by_hand = hand and not label.judge.startswith(PERSON)
        names = "[bold]by hand" if by_hand else escape(label.judge), escape(label.prompt)
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in item)  # a caption must not steer the terminal
        table.add_row(escape(shown), given, *names, _when(at))
    return table


def _correct(
    known: LabelStore, text: str, value: float, judge: str | None, prompt: str | None, console: Console
) -> None:
    """Sets a label for each judge and prompt that has an answer to this item."""
    item: Item = text
    if text.startswith("["):
        with suppress(ValueError):  # then it is a caption that begins like this
            first, second = json.loads(text)
            item = str(first), str(second)
    if isinstance(item, tuple) and value not in (FIRST, SECOND, TIE):
        raise ValueError(f"the label of a pair is 0 (first better), 1 (second better) or 2 (neither), not {value:g}")
    if isinstance(item, str) and not 0 <= value <= 1:
        raise ValueError(f"the label of a caption is from 0 to 1, not {value:g}")
    keys = [(t.judge, t.prompt) for t in known.tallies() if judge in (None, t.judge) and prompt in (None, t.prompt)]
    holders = [key for key in keys if known.get([item], *key)]
    if not holders:
        near = difflib.get_close_matches(text, _alike(known, text), n=3)
        hint = f": did you mean {' or '.join(map(repr, near))}?" if near else "; look for it with --grep"
        raise ValueError(f"{known.shown} has no answer to {text!r}{hint}")
    known.put([Label(item, value, None, *key) for key in holders], hand=True)
    for key in holders:
        console.print(f"{text!r} is {value:g} for {' with prompt '.join(key)}", **_PLAIN)


def _alike(known: LabelStore, text: str) -> list[str]:
    """Captions that share the longest word with `text`."""
    word = max(text.split(), key=len, default="")
    rows = islice(known.rows(contains=word, newest_first=True), 5000)
    return [row.label.item for row in rows if isinstance(row.label.item, str)]


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"
