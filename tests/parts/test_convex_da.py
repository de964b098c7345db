"""Hulls of embeddings and misspelt texts."""

import pytest
import torch
from scipy.spatial import ConvexHull

from guerdon.parts.convex_da import hull_vertices, misspelt


def test_corners_and_what_lies_inside():
    square = torch.tensor([[0.0, 0], [4, 0], [4, 4], [0, 4], [2, 2], [1, 2]])
    assert hull_vertices(square).tolist() == [0, 1, 2, 3]


def test_as_scipy_finds_them_in_the_plane():
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    assert hull_vertices(points).tolist() == sorted(ConvexHull(points.numpy()).vertices.tolist())


def test_affine_maps_of_the_plane_change_nothing():
    g = torch.Generator().manual_seed(1)
    points, map_ = torch.randn(12, 2, generator=g), torch.randn(2, 2, generator=g)
    assert hull_vertices(points).tolist() == hull_vertices(points @ map_ + 5).tolist()


def test_mean_number_of_corners_of_five_points():
    g = torch.Generator().manual_seed(2)
    count = [len(hull_vertices(torch.randn(5, 2, generator=g))) for _ in range(2000)]
    assert sum(count) / 2000 == pytest.approx(4.12, abs=0.05)  # the card's simulation


@pytest.mark.parametrize(
    "points", [torch.randn(3, 8), torch.arange(6.0)[:, None] * torch.ones(1, 4), torch.zeros(5, 3), torch.rand(5, 1)]
)
def test_without_a_hull_all_are_kept(points):
    assert hull_vertices(points).tolist() == list(range(len(points)))


def test_bad_embeddings_are_refused():
    for bad in (torch.zeros(4), torch.full((5, 2), torch.nan)):
        with pytest.raises(ValueError, match="finite"):
            hull_vertices(bad)


def test_few_words_are_misspelt_and_each_by_chance():
    text = " ".join(f"word{chr(97 + i % 26)}" for i in range(60))
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        changed = [
            (a, b) for a, b in zip(text.split(" "), misspelt(text, generator=g).split(" "), strict=True) if a != b
        ]
        assert len(changed) <= 3
    assert len({misspelt(text, generator=g) for _ in range(20)}) > 10
    assert misspelt(text, generator=torch.Generator().manual_seed(5)) == misspelt(
        text, generator=torch.Generator().manual_seed(5)
    )


def test_texts_without_words_stay():
    for text in ("", "a b 1", "12 -- 34"):
        assert misspelt(text, generator=torch.Generator().manual_seed(0)) == text
