"""Learners and task options as they are written on the command line."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from guerdon.expression import parse
from guerdon.learners.ppo import PPO


def parse_learner(text: str) -> PPO:
    """The learner that `text` describes, as in ``PPO(recurrent=True)``. Raises ExpressionError if it is none."""
    return parse(text, "learner", {"PPO": PPO})


def literals(pairs: Sequence[str]) -> dict[str, Any]:
    """``("rooms=45", "name=abc")`` as {"rooms": 45, "name": "abc"}. Raises ValueError for a pair without "="."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"a task option is written key=value, not {pair!r}")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found
