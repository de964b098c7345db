"""Paying a rollout for its captions: one evaluation a distinct caption, one gather, one gate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from guerdon.parts.count_gate import count_gate
from guerdon.types import Experience, Rollout


def paid_captions(experience: Experience, name: str) -> tuple[Tensor, Tensor]:
    """(caption ids, episodic counts), int [T, B] each: what step t is paid for stands at index t + 1 of the rollout.

    Invalid steps have the empty caption (id 0) and count 1.

    Raises:
        TypeError: not a Rollout.
        ValueError: a rollout without captions; the message says how to get them.
    """
    if not isinstance(experience, Rollout):
        raise TypeError(f"{name} scores a Rollout, not a {type(experience).__name__}")
    if experience.caption is None or experience.caption_count is None:
        raise ValueError(f"{name} needs captions in the rollout: make the task with tasks.make(..., captions=True)")
    invalid = ~experience.valid.bool()
    return experience.caption[1:].masked_fill(invalid, 0), experience.caption_count[1:].masked_fill(invalid, 1)


def pay_captions(experience: Experience, worth: Callable[[Tensor], Tensor], *, power: float, name: str) -> Tensor:
    """``worth(c) * N(c) ** -power`` for the caption c that each step led to, its N-th time in the episode.

    `worth` maps distinct ids [n] to values [n], on any device, and is called once. The empty caption is worth 0.

    Returns:
        float32 [T, B].
    """
    captions, counts = paid_captions(experience, name)
    distinct, place = captions.unique(return_inverse=True)
    value = worth(distinct).to(distinct.device, torch.float32).masked_fill(distinct == 0, 0.0)
    return value[place] * count_gate(counts, power)


def by_last_sight(captions: Tensor) -> list[int]:
    """The distinct ids among `captions` (time-major) without the empty one, the last seen last."""
    flat = captions.flatten()
    distinct, place = flat.unique(return_inverse=True)
    last = torch.zeros_like(place[: len(distinct)]).scatter_reduce_(
        0, place, torch.arange(len(flat), device=flat.device), "amax", include_self=False
    )
    return [i for i in distinct[last.argsort()].tolist() if i != 0]
