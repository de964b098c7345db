"""Rows hold every distinct token once, and each token sees what leads to it and nothing else."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.models.packing import batches, pack

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=9), min_size=1, max_size=12)


def everywhere(sequences):
    return [np.arange(1, len(s)) for s in sequences]


def ancestors(row, node):
    return [b for b in range(node + 1) if node < row.leave[b]]


def cost(row, knee):
    return len(row) + len(row) ** 2 / knee


@settings(max_examples=150, deadline=None)
@given(SEQUENCES, st.integers(1, 30), st.sampled_from([1.0, 20.0, 1e6]))
def test_every_prediction_stands_on_what_is_before_it(sequences, width, knee):
    rows = pack(sequences, everywhere(sequences), width=width, knee=knee)
    seen = []
    for row in rows:
        for node, target, i, place in zip(row.node, row.target, row.sequence, row.place, strict=True):
            path = ancestors(row, node)
            assert [row.tokens[b] for b in path] == sequences[i][:place]
            assert [row.depth[b] for b in path] == list(range(place))
            assert target == sequences[i][place]
            seen.append((i, place))
    assert sorted(seen) == [(i, place) for i, s in enumerate(sequences) for place in range(1, len(s))]


@settings(max_examples=150, deadline=None)
@given(SEQUENCES, st.integers(1, 30))
def test_a_row_holds_distinct_prefixes_only_and_is_no_wider_than_allowed(sequences, width):
    for row in pack(sequences, everywhere(sequences), width=width, knee=50.0):
        paths = [tuple(row.tokens[b] for b in ancestors(row, a)) for a in range(len(row))]
        assert len(set(paths)) == len(paths)
        alone = len({tuple(sequences[i][:-1]) for i in row.sequence}) == 1
        assert len(row) <= width or alone
        assert row.branched == (sorted(map(len, paths)) != list(range(1, len(row) + 1)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=6), min_size=1, max_size=7), st.integers(3, 15))
def test_rows_are_cut_where_it_costs_least(sequences, knee):
    """Against every way to cut the sorted sequences into runs."""
    found = sum(cost(row, knee) for row in pack(sequences, everywhere(sequences), width=99, knee=float(knee)))
    feeds = sorted(tuple(s[:-1]) for s in sequences)
    best = np.inf
    for choice in range(2 ** (len(feeds) - 1)):
        cuts = [0, *(i + 1 for i in range(len(feeds) - 1) if choice >> i & 1), len(feeds)]
        tries = [{f[:n] for f in feeds[a:b] for n in range(1, len(f) + 1)} for a, b in pairwise(cuts)]
        best = min(best, sum(len(t) + len(t) ** 2 / knee for t in tries))
    assert np.isclose(found, best)


def test_tokens_that_nothing_needs_are_in_no_row():
    (row,) = pack([[5, 6, 7, 8], [5, 6, 9, 9]], [np.array([1]), np.array([2])], width=9, knee=1e9)
    assert row.tokens.tolist() == [5, 6]
    assert row.target.tolist() == [6, 9]
    assert not row.branched


def test_a_prompt_its_chains_and_their_references():
    """Prompt 1 2; chains 3 and 4; references 7, 8 9: four distinct paths, the last tokens left out."""
    sequences = [[1, 2, c, *reference] for c in (3, 4) for reference in ([7], [8, 9])]
    (row,) = pack(sequences, [np.arange(3, len(s)) for s in sequences], width=99, knee=1e9)
    assert row.tokens.tolist() == [1, 2, 3, 8, 4, 8]
    assert row.depth.tolist() == [0, 1, 2, 3, 2, 3]
    assert row.leave.tolist() == [6, 6, 4, 4, 6, 6]
    assert row.branched


def test_without_sharing_each_sequence_has_its_row():
    sequences = [[1, 2, 3], [1, 2, 4], [1, 2, 3]]
    rows = pack(sequences, everywhere(sequences), width=99, knee=1e9, share=False)
    assert [row.tokens.tolist() for row in rows] == [[1, 2]] * 3
    assert not any(row.branched for row in rows)


def test_batches_hold_like_rows_within_the_budget():
    sequences = [[i] * n + [0] for i, n in enumerate([9, 3, 8, 2, 30, 3], start=1)]
    rows = pack(sequences, everywhere(sequences), width=1, knee=1e9)
    made = batches(rows, 20)
    assert [[len(row) for row in batch] for batch in made] == [[30], [9, 8], [3, 3, 2]]
    forked = pack([[1, 2, 3], [1, 4, 3]], [np.array([2])] * 2, width=9, knee=1e9)
    assert [len(batch) for batch in batches([*forked, *forked, *rows[:1]], 20)] == [2, 1]
