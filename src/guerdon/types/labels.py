"""What a judge is asked and answers. Imports nothing, so that a judge's process starts at once."""

from __future__ import annotations

from typing import NamedTuple

FIRST, SECOND, TIE = 0, 1, 2
"""Outcomes of a comparison, as stored in `Pairs.label` and in the `Label` of a pair."""

Item = str | tuple[str, str]
"""What a judge is asked about: one caption or text, or two of them to compare."""


class Label(NamedTuple):
    """One answer of a judge, or the reason why there is none (`value` None)."""

    item: Item
    value: float | None  # of a caption: 0..1, how helpful; of a pair: FIRST, SECOND or TIE
    reason: str | None = None  # "unparseable", "refused", "timeout", ...
    judge: str = ""
    prompt: str = ""  # the prompt's version
    weight: float = 1.0
