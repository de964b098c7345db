"""Pairs in batches, whose lists are read once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from guerdon.types import Completions, Pairs


def pair_batches(pairs: Pairs, rows: Iterable[Tensor]) -> Iterator[Pairs]:
    """``pairs.rows(at)`` for each `at` of `rows`, in time that grows with the batch instead of with all pairs.

    Each look at a list of a Completions makes it anew, which for many pairs costs more than a step.
    """
    if not isinstance(pairs.first, Completions):
        yield from (pairs.rows(at) for at in rows)
        return
    sides = [_Side(side) for side in (pairs.first, pairs.second)]
    label, weight = pairs.label, pairs.weight
    columns = None if pairs.columns is None else {name: list(values) for name, values in pairs.columns.items()}
    for at in rows:
        chosen = at.tolist()
        yield Pairs(
            first=sides[0].rows(chosen), second=sides[1].rows(chosen), label=label[at],
            weight=None if weight is None else weight[at],
            columns=None if columns is None else {name: [v[i] for i in chosen] for name, v in columns.items()},
        )  # fmt: skip


class _Side:
    """Completions as plain lists and tensors."""

    def __init__(self, side: Completions) -> None:
        self.lists = {"prompt": list(side.prompt), "text": list(side.text)}
        names = ("ids", "mask", "group", "step", "log_prob", "prompt_ids", "prompt_mask")
        self.tensors = {n: v for n in names if (v := getattr(side, n)) is not None}
        self.columns = None if side.columns is None else {k: list(v) for k, v in side.columns.items()}

    def rows(self, chosen: list[int]) -> Completions:
        at = torch.tensor(chosen, dtype=torch.long)
        fields: dict[str, Any] = {name: [values[i] for i in chosen] for name, values in self.lists.items()}
        fields |= {name: value[at] for name, value in self.tensors.items()}
        if self.columns is not None:
            fields["columns"] = {name: [values[i] for i in chosen] for name, values in self.columns.items()}
        return Completions(**fields)
