"""guerdon tasks."""

from __future__ import annotations

from json import dumps

from rich.console import Console
from rich.table import Table


def tasks(like: str = "", json: bool = False) -> None:
    """List the tasks there are; any Gymnasium id (also module:Id-v0) is a task too.

    Args:
        like: show only names that contain this.
        json: print JSON.
    """
    from guerdon import tasks as found

    names = [name for name in found.names() if like.lower() in name.lower()]
    if json:
        print(dumps(names))
        return
    table = Table(title=f"{len(names)} tasks", box=None, title_justify="left", show_header=False)
    for start in range(0, len(names), 3):
        table.add_row(*names[start : start + 3])
    Console().print(table)
