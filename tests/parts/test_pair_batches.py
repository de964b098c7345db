"""Batches of pairs are the rows that they name."""

import samples
import torch

from guerdon.parts.pair_batches import pair_batches
from guerdon.types import Pairs


def same(a, b):
    for name, value in samples.fields(a):
        other = getattr(b, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_they_are_the_rows():
    first, second = samples.solutions(6, seed=1), samples.solutions(6, seed=2)
    columns = {"where": list("abcdef")}
    whole = Pairs(first=first, second=second, label=torch.arange(6) % 3, weight=torch.rand(6), columns=columns)
    bare = Pairs(first=first, second=second, label=torch.arange(6) % 3)
    for pairs in (whole, bare):
        rows = [torch.tensor([4, 0]), torch.tensor([1, 2, 5])]
        for at, made in zip(rows, pair_batches(pairs, rows), strict=True):
            expected = pairs.rows(at)
            same(made.first, expected.first)
            same(made.second, expected.second)
            assert torch.equal(made.label, expected.label)
            assert made.columns == expected.columns
            assert (made.weight is None) == (expected.weight is None)


def test_segments_and_captions_too():
    segments = Pairs(first=samples.rollout(), second=samples.rollout(seed=1), label=torch.zeros(4).long())
    (made,) = pair_batches(segments, [torch.tensor([2])])
    assert made.first.shape == (8, 1)
    captions = Pairs(first=["a", "b"], second=["c", "d"], label=torch.zeros(2).long())
    (made,) = pair_batches(captions, [torch.tensor([1])])
    assert list(made.first) == ["b"]
