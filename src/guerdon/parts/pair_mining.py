"""Preference pairs out of scored samples of the same prompts, for DPO: CRew-DPO and FLR share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from guerdon.types import FIRST, Completions, Pairs


class Mined(NamedTuple):
    """Row `chosen` is to be preferred to row `rejected` of the same group; `gap` is the difference of their scores."""

    chosen: int
    rejected: int
    gap: float


def mine_pairs(
    score: Tensor,
    group: Tensor,
    *,
    right: Tensor | None = None,
    min_gap: float | None = None,
    per_group: int | None = 1,
    limit: int | None = None,
) -> list[Mined]:
    """The pairs with the largest gap, score(chosen) - score(rejected), the largest first; of equals the lowest rows.

    With `right`, every pair of a right and a wrong row of a group is a candidate, so that there are (#right)(#wrong) of
    them and a gap may be negative. Without it, every pair of rows with different scores is one, the higher chosen: the
    best of a group is its highest against its lowest. Rows whose score is NaN take no part.

    Args:
        score: [N].
        group: [N], the prompt of each row.
        right: [N] bool, or None.
        min_gap: least gap that is kept.
        per_group: how many pairs a group may give; None keeps all.
        limit: how many pairs there may be in all.
    """
    shapes = [list(t.shape) for t in (score, group, right) if t is not None]
    if score.ndim != 1 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"score, group and right must all be [N], got {shapes}")
    values, kept = score.tolist(), []
    for number in group.unique().tolist():
        rows = [i for i in (group == number).nonzero()[:, 0].tolist() if values[i] == values[i]]
        if right is None:
            candidates = ((i, j) for i in rows for j in rows if values[i] > values[j])
        else:
            candidates = ((i, j) for i in rows if right[i] for j in rows if not right[j])
        pairs = [Mined(i, j, values[i] - values[j]) for i, j in candidates]
        pairs = [p for p in pairs if min_gap is None or p.gap >= min_gap]
        kept += sorted(pairs, key=_largest_first)[:per_group]
    return sorted(kept, key=_largest_first)[:limit]


def pairs_of(completions: Completions, mined: Iterable[Mined]) -> Pairs:
    """The mined pairs as comparisons of completions, the chosen first, with the column "gap"."""
    mined = list(mined)
    return Pairs(
        first=completions.rows([p.chosen for p in mined]),
        second=completions.rows([p.rejected for p in mined]),
        label=torch.full((len(mined),), FIRST),
        columns={"gap": [p.gap for p in mined]},
    )


def _largest_first(pair: Mined) -> tuple[float, int, int]:
    return -pair.gap, pair.chosen, pair.rejected
