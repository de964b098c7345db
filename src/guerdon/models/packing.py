"""Sequences to rows for a forward pass, in which what sequences have in common stands once.

Tokens of a row form a trie: a token sees its ancestors and itself, and its position is its depth. Sequences are sorted,
so that those with a common beginning are neighbours, and cut into rows where that is cheapest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Row:
    """T distinct tokens, and E tokens to be predicted from them: `target[e]` by `node[e]`, for token (sequence, place).

    Token a sees token b where ``b <= a < leave[b]``: a walk through the trie that comes to a has been at b and has not
    left it yet. A row that does not branch is one sequence, in which each token sees all before it.
    """

    tokens: np.ndarray  # [T]
    depth: np.ndarray  # [T]
    leave: np.ndarray  # [T]
    branched: bool
    node: np.ndarray  # [E]
    target: np.ndarray  # [E]
    sequence: np.ndarray  # [E]
    place: np.ndarray  # [E], in its sequence

    def __len__(self) -> int:
        return len(self.tokens)


def pack(
    sequences: Sequence[Sequence[int]], wanted: Sequence[np.ndarray], *, width: int, knee: float, share: bool = True
) -> list[Row]:
    """Rows that predict the tokens at the places `wanted[i]` (rising, from 1 on) of every sequence i.

    Only what a prediction needs is in a row: never the last token of a sequence.

    Args:
        sequences: token ids.
        wanted: the places in each, at least one.
        width: of a row, at most; a sequence that is longer has a row of its own.
        knee: the width at which attention costs as much as all else. A row of T tokens costs T + T^2 / knee.
        share: False gives every sequence a row of its own.
    """
    feeds = [np.asarray(s[: w[-1]], dtype=np.int64) for s, w in zip(sequences, wanted, strict=True)]
    order = sorted(range(len(feeds)), key=lambda i: feeds[i].tolist())
    sizes = np.array([len(feeds[i]) for i in order])
    common = np.array([0] + [_common(feeds[a], feeds[b]) for a, b in pairwise(order)])
    cuts = _cuts(sizes, sizes - common, width, knee) if share else list(range(len(order) + 1))
    rows = []
    for start, end in pairwise(cuts):
        members = order[start:end]
        rows.append(_row(members, [feeds[i] for i in members], common[start:end], sequences, wanted))
    return rows


def batches(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """Rows of like width together, those that branch apart from those that do not; at most `budget` tokens, padded."""
    found: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (row.branched, len(row)), reverse=True):
        last = found[-1] if found else None
        fits = last and last[0].branched == row.branched and (len(last) + 1) * len(last[0]) <= budget
        if last and fits:
            last.append(row)
        else:
            found.append([row])
    return found


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two sequences have in common at the beginning."""
    n = min(len(a), len(b))
    different = a[:n] != b[:n]
    return int(different.argmax()) if different.any() else n


def _cuts(sizes: np.ndarray, fresh: np.ndarray, width: int, knee: float) -> list[int]:
    """Where to begin a new row, so that all rows together cost least; `fresh` is a sequence's part not in the last."""
    total = np.concatenate([[0], np.cumsum(fresh)])
    best, begin = np.zeros(len(sizes) + 1), np.zeros(len(sizes) + 1, dtype=np.int64)
    lowest = 0
    for end in range(1, len(sizes) + 1):
        while lowest < end - 1 and sizes[lowest] + total[end] - total[lowest + 1] > width:
            lowest += 1
        starts = np.arange(lowest, end)
        tokens = sizes[starts] + total[end] - total[starts + 1]
        cost = best[starts] + tokens + tokens.astype(float) ** 2 / knee
        chosen = int(cost.argmin())
        best[end], begin[end] = cost[chosen], starts[chosen]
    cuts = [len(sizes)]
    while cuts[-1]:
        cuts.append(int(begin[cuts[-1]]))
    return cuts[::-1]


def _row(
    members: list[int],
    feeds: list[np.ndarray],
    common: np.ndarray,
    sequences: Sequence[Sequence[int]],
    wanted: Sequence[np.ndarray],
) -> Row:
    """The trie of sorted sequences: each brings the tokens that are not in common with the one before it."""
    shared = [0, *common[1:].tolist()]
    tokens = np.concatenate([feed[n:] for feed, n in zip(feeds, shared, strict=True)])
    depth = np.concatenate([np.arange(n, len(feed)) for feed, n in zip(feeds, shared, strict=True)])
    leave = np.full(len(tokens), len(tokens))
    path, paths, branched, end = np.zeros(0, dtype=np.int64), [], False, 0
    for feed, n in zip(feeds, shared, strict=True):
        branched |= n < len(path)
        leave[path[n:]] = end
        begin, end = end, end + len(feed) - n
        path = np.concatenate([path[:n], np.arange(begin, end)])
        paths.append(path)
    return Row(
        tokens=tokens,
        depth=depth,
        leave=leave,
        branched=branched,
        node=np.concatenate([path[wanted[i] - 1] for i, path in zip(members, paths, strict=True)]),
        target=np.concatenate([np.asarray(sequences[i], dtype=np.int64)[wanted[i]] for i in members]),
        sequence=np.concatenate([np.full(len(wanted[i]), i) for i in members]),
        place=np.concatenate([wanted[i] for i in members]),
    )
