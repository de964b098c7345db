"""A judge as an expression: its keywords are its configuration, so its text makes it again."""

from __future__ import annotations

import difflib
import typing
from dataclasses import MISSING, fields
from typing import Any


def expression(judge: Any, *, leave_out: tuple[str, ...] = ()) -> str:
    """``Name(key=value, ...)`` with those keywords of a dataclass that are not at their defaults."""
    given = [
        f"{f.name}={value!r}"
        for f in fields(judge)
        if f.init
        and f.name not in leave_out
        and ((value := getattr(judge, f.name)) != f.default or f.default is MISSING)
    ]
    return f"{type(judge).__name__}({', '.join(given)})"


def check_choices(judge: Any, *names: str) -> None:
    """Raises ValueError, naming the nearest choice, where one of these ``Literal`` fields holds something else."""
    hints = typing.get_type_hints(type(judge))
    for name in names:
        value, choices = getattr(judge, name), typing.get_args(hints[name])
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{type(judge).__name__}({name}={value!r}): choose one of {', '.join(map(repr, choices))}{hint}"
            )
