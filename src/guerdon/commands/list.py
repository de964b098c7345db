"""``guerdon list``: the catalogue."""

from __future__ import annotations

import json as json_text

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guerdon import catalogue

_COLOURS = {"holds": "green", "does not hold": "red", "stale": "yellow"}


def list_(*, json: bool = False) -> None:
    """Prints every reward: what it pays for, its paper, what it scores, and whether its claim check holds.

    Args:
        json: print JSON for programs instead of a table.
    """
    if json:
        print(json_text.dumps({"rewards": _rows(), "judges": _judges()}, indent=2))
        return
    table = Table("reward", "pays for", "scores", "claim", "paper", title="Rewards")
    for row in _rows():
        if row["install"]:
            table.add_row(row["name"], f"[yellow]unavailable: {escape(row['install'])}", "", "", "")
            continue
        paper = escape(row["paper"])
        paper = f"[link={row['link']}]{paper}[/link]" if row["link"] else paper
        colour = _COLOURS.get(row["status"], "dim")
        table.add_row(row["name"], escape(row["rewards"]), row["scores"], f"[{colour}]{row['status']}[/]", paper)
    judges = Table("judge", "answers with", title="Judges")
    for name, does in _judges().items():
        judges.add_row(name, escape(does))
    console = Console()
    console.print(table)
    console.print(judges)
    console.print(
        'Use them in an expression: guerdon train TASK --reward "0.1 * Extrinsic() + 0.4 * Name(keyword=value)"'
    )


def _rows() -> list[dict[str, str]]:
    rows = []
    for entry in catalogue.entries():
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
