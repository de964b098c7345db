"""Augmented texts, of which the most varied are kept: those on the convex hull of their embeddings (ConvexDA)."""

from __future__ import annotations

import string

import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor


def hull_vertices(embeddings: Tensor) -> Tensor:
    """The rows of [n, E] that are corners of the convex hull after a projection on their two main directions.

    Fewer than four points, or points on a line, have no hull: then all are kept. The hull does not depend on sign or
    scale of the directions. Shen et al., "The Trickle-down Impact of Reward (In-)consistency on RLHF", 2023,
    https://arxiv.org/abs/2309.16155. The released script appends one and the same record for every corner; these are
    indices, ascending, from which each caller makes records of its own.

    Raises:
        ValueError: not [n, E], or a value that is not finite.
    """
    if embeddings.ndim != 2 or not bool(embeddings.isfinite().all()):
        raise ValueError(f"hull_vertices needs finite embeddings [n, E], got {list(embeddings.shape)}")
    n = len(embeddings)
    everything = torch.arange(n, device=embeddings.device)
    centred = embeddings.double() - embeddings.double().mean(0)
    if n < 4 or min(centred.shape) < 2:
        return everything
    left, size, _ = torch.linalg.svd(centred, full_matrices=False)
    if size[1] <= 1e-9 * size[0]:
        return everything
    try:
        corners = ConvexHull((left[:, :2] * size[:2]).cpu().numpy()).vertices
    except QhullError:  # flat to within its precision
        return everything
    return torch.as_tensor(np.sort(corners).astype(np.int64), device=embeddings.device)


def misspelt(text: str, *, generator: torch.Generator, rate: float = 0.05) -> str:
    """`text` with a letter dropped, doubled, replaced or swapped in at most `rate` of its words, at least one of them.

    White space stays as it is. A text without a word of two letters comes back unchanged. (rate 0.05: the paper's
    script; which noise is not said there in words: the four here are our choice.)
    """
    words = text.split(" ")
    able = [i for i, word in enumerate(words) if len(word) > 1 and any(c.isalpha() for c in word)]
    if not able:
        return text

    def below(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    for place in torch.randperm(len(able), generator=generator)[: max(1, int(rate * len(words)))].tolist():
        word = words[able[place]]
        at = below(len(word) - 1)
        letter = string.ascii_lowercase[below(26)]
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        kinds = (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + letter + word[at + 1 :],
            swapped,
        )
        words[able[place]] = kinds[below(4)]
    return " ".join(words)
