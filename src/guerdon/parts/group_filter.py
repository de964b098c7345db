"""Which groups of answers teach anything, and what an answer that runs on too long pays (DAPO, Yu et al., 2025).

https://arxiv.org/abs/2503.14476. A group whose answers all earned the same has advantage 0 throughout: it costs its
share of the batch and teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from guerdon.parts.group_advantages import pool_statistics

Batch = TypeVar("Batch")


def varied_groups(reward: Tensor, group: Tensor, *, minimum: float = 0.0) -> Tensor:
    """[N] bool: scored answers of groups whose rewards have a sample standard deviation above `minimum`.

    Args:
        reward: [N]; NaN is not scored, and counts in no deviation.
        group: [N] integers.
        minimum: 0 in DAPO.

    Raises:
        ValueError: wrong shapes, or an infinite reward.
    """
    index = torch.unique(group, return_inverse=True)[1]
    return (pool_statistics(reward, index).std > minimum) & ~reward.isnan()


def collect_varied(
    draw: Callable[[], tuple[Batch, Tensor, Tensor]], *, groups: int, max_rounds: int = 10
) -> list[tuple[Batch, Tensor]]:
    """DAPO's dynamic sampling: draws until `groups` varied groups are there, and leaves what is too many.

    Args:
        draw: gives a batch of anything with its rewards [N] and group ids [N].
        groups: how many are wanted.
        max_rounds: draws after which to give up (10 in verl's DAPO recipe).

    Returns:
        Each batch with the rows [n] of it to train on. Ids may repeat from batch to batch: groups of different
        batches are different groups.

    Raises:
        RuntimeError: too few varied groups after `max_rounds` draws.
    """
    kept: list[tuple[Batch, Tensor]] = []
    missing = groups
    for _ in range(max_rounds):
        batch, reward, group = draw()
        keep = varied_groups(reward, group)
        chosen = torch.unique(group[keep])[:missing]
        kept.append((batch, (keep & torch.isin(group, chosen)).nonzero()[:, 0]))
        missing -= len(chosen)
        if missing <= 0:
            return kept
    raise RuntimeError(
        f"{groups - missing} of {groups} groups had answers of different reward after {max_rounds} rounds: the prompts "
        "are too easy or too hard, or sampling varies too little"
    )


def overlong_penalty(length: Tensor, *, limit: int, buffer: int, factor: float = 1.0) -> Tensor:
    """DAPO's soft overlong punishment, to be added to the reward: 0 up to limit - buffer tokens, -factor at the limit.

    -factor * clip((T - (limit - buffer)) / buffer, 0, 1), [N] from lengths T [N]. Beyond the limit it stays -factor,
    as in the paper; verl never meets such an answer.

    Raises:
        ValueError: a buffer that is not in 1..limit.
    """
    if not 0 < buffer <= limit:
        raise ValueError(f"the buffer must lie in 1..limit = {limit}, got {buffer}")
    return -factor * ((length - (limit - buffer)) / buffer).clamp(0.0, 1.0)
