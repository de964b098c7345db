"""Sequences of like length together, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence


def length_batches(lengths: Sequence[int], budget: int, *, waste: float = 0.25, least: int = 512) -> list[list[int]]:
    """Indices in batches: longest first, at most `budget` tokens each once padded to their longest.

    A batch is also closed where the next sequence would be padded by more than `waste` of its width and the batch
    holds `least` tokens already: below that, a pass costs more than the padding. A sequence that is longer than the
    budget has a batch of its own.

    Args:
        lengths: of the sequences, in tokens.
        budget: tokens of a batch, padding included.
        waste: share of the width, 0..1; 1 lets only the budget cut.
        least: tokens that are worth a pass.
    """
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        width = lengths[found[-1][0]] if found else 0
        fits = bool(found) and (len(found[-1]) + 1) * width <= budget
        if fits and (lengths[i] >= (1 - waste) * width or len(found[-1]) * width < least):
            found[-1].append(i)
        else:
            found.append([i])
    return found
