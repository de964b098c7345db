"""Encoders as they start: an observation must come through before anything is learned."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from guerdon.models.encoders import BigMap, Image

MINIGRID = spaces.Box(0, 255, (7, 7, 3), np.uint8)  # of which only 0 to 10 occur


def build(kind, space):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(space, 64)


@pytest.mark.parametrize(
    ("kind", "space"),
    [
        (Image, MINIGRID),
        (Image, spaces.Box(0, 255, (84, 84, 3), np.uint8)),
        (BigMap, spaces.Box(0, 5976, (21, 79), np.int16)),
    ],
)
def test_convolutions_begin_orthogonal_without_bias_as_the_dense_layers_do(kind, space):
    convolutions = [m for m in build(kind, space).modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 3
    for layer in convolutions:
        rows = layer.weight.flatten(1)
        gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
        torch.testing.assert_close(gram, 2 * torch.eye(len(gram)), atol=1e-5, rtol=0)
        assert layer.bias is not None
        assert not layer.bias.any()


def test_small_numbers_in_an_image_are_seen_through_three_convolutions():
    """With smaller first weights and random biases, two images of MiniGrid look much the same to a new policy."""
    images = torch.randint(0, 11, (64, 7, 7, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        features = build(Image, MINIGRID)(images)
    share = features.std(0).norm() / features.norm(dim=1).mean()
    assert share > 0.2, f"features vary by {share:.3f} of their size"
