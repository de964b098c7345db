"""``guerdon list``: the catalogue."""

from __future__ import annotations

import json as json_text

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guerdon import catalogue

_COLOURS = {"holds": "green", "does not hold": "red", "stale": "yellow"}


def list_(*, json: bool = False) -> None:
    """Prints every reward and credit: what it is for, its paper, and whether its claim check holds; and the judges.

    Args:
        json: print JSON for programs instead of a table.
    """
    if json:
        rows = {"rewards": _rows(catalogue.entries()), "credits": _rows(catalogue.credit_entries())}
        print(json_text.dumps(rows | {"judges": _judges()}, indent=2))
        return
    console = Console()
    for title, head, entries in (
        ("Rewards", ("reward", "pays for"), catalogue.entries()),
        ("Credits and filters: rewards of texts to advantages", ("name", "does"), catalogue.credit_entries()),
    ):
        console.print(_table(title, head, _rows(entries)))
    judges = Table("judge", "answers with", title="Judges")
    for name, does in _judges().items():
        judges.add_row(name, escape(does))
    console.print(judges)
    console.print(
        'Use them in an expression: guerdon train TASK --reward "0.1 * Extrinsic() + 0.4 * Name(keyword=value)"'
    )


def _table(title: str, head: tuple[str, str], rows: list[dict[str, str]]) -> Table:
    table = Table(*head, "scores", "claim", "paper", title=title)
    for row in rows:
        if row["install"]:
            table.add_row(row["name"], f"[yellow]unavailable: {escape(row['install'])}", "", "", "")
            continue
        paper = escape(row["paper"])
        paper = f"[link={row['link']}]{paper}[/link]" if row["link"] else paper
        colour = _COLOURS.get(row["status"], "dim")
        table.add_row(row["name"], escape(row["rewards"]), row["scores"], f"[{colour}]{row['status']}[/]", paper)
    return table


def _rows(entries: list[catalogue.Entry]) -> list[dict[str, str]]:
    rows = []
    for entry in entries:
        about = {"rewards": "", "paper": "", "link": "", "scores": "", "claim": "", "example": ""}
        if entry.about:
            about = {key: getattr(entry.about, key) for key in about}
        rows.append(
            {"name": entry.name, "folder": entry.folder, **about, "status": entry.status, "install": entry.install}
        )
    return rows


def _judges() -> dict[str, str]:
    """Each judge with the first line of its docstring, or what to install for it."""
    found = catalogue.judges().items()
    return {n: f"unavailable: {v}" if isinstance(v, str) else (v.__doc__ or "").partition("\n")[0] for n, v in found}
