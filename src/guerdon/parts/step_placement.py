"""Between tokens and steps: values of a completion's steps or turns as [N, K], and back onto its tokens [N, L].

A step's value stands on its last generated token (`Completions.step_ends`). Steps are numbered from 0 in the order of
those tokens and packed to the left: row n has as many as it has ends, K is the most of any row. Pure functions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from guerdon.types import Completions


class Steps(NamedTuple):
    """Values of steps; 0 where `mask` is False."""

    value: Tensor  # [N, K]
    mask: Tensor  # [N, K] bool, True on the first entries of each row


def turn_ends(completions: Completions, name: str) -> Tensor:
    """`Completions.step_ends`, checked: [N, L] bool, the last generated token of every turn.

    Raises ValueError with `name` in it where there are no steps, or where their numbers fall along a row: then turns
    have been told apart wrongly, as by searching the text for one that comes twice.
    """
    if completions.step is None:
        raise ValueError(f"{name} looks at steps or turns: set Completions.step to the step index of each token")
    ends = completions.step_ends()
    number, mask = gather_steps(completions.step, ends)
    if bool(((number[:, 1:] <= number[:, :-1]) & mask[:, 1:]).any()):
        raise ValueError(f"{name} needs step numbers that rise along each row of Completions.step: a step comes twice")
    return ends


def gather_steps(value: Tensor, ends: Tensor) -> Steps:
    """The values that stand on the ends of steps, in order.

    Args:
        value: [N, L].
        ends: [N, L] bool, the last token of each step.

    Raises:
        ValueError: shapes disagree.
    """
    _check("gather_steps", value, ends)
    at, count = step_index(ends), ends.sum(1)
    steps = int(count.max()) if len(ends) else 0
    mask = torch.arange(steps, device=ends.device) < count[:, None]
    row = torch.arange(len(ends), device=ends.device)[:, None].expand_as(ends)[ends]
    return Steps(value.new_zeros(len(ends), steps).index_put((row, at[ends]), value[ends]), mask)


def place_steps(value: Tensor, ends: Tensor) -> Tensor:
    """[N, L]: the k-th value of each row on its k-th end, 0 elsewhere; undoes `gather_steps`.

    Args:
        value: [N, K] with K at least the most ends of any row.
        ends: [N, L] bool.

    Raises:
        ValueError: shapes disagree, or a row has more ends than values.
    """
    return torch.where(ends, spread_steps(value, ends, ends), 0.0)


def spread_steps(value: Tensor, ends: Tensor, mask: Tensor) -> Tensor:
    """[N, L]: each step's value on all of its tokens within `mask`, 0 elsewhere; the tokens up to an end are its step.

    Args:
        value: [N, K].
        ends: [N, L] bool.
        mask: [N, L] bool, the tokens that are to carry a value; those after the last end carry none.

    Raises:
        ValueError: as in `place_steps`.
    """
    most = int(ends.sum(1).max()) if len(ends) else 0
    if value.ndim != 2 or len(value) != len(ends) or value.shape[1] < most or ends.shape != mask.shape:
        raise ValueError(
            f"values of steps {list(value.shape)} do not fit ends {list(ends.shape)} with up to {most} steps a row"
        )
    at = step_index(ends)
    wanted = mask.bool() & (at < ends.sum(1, keepdim=True))
    if not value.shape[1]:
        return value.new_zeros(ends.shape)
    return torch.where(wanted, value.gather(1, at.clamp(max=value.shape[1] - 1)), 0.0)


def step_index(ends: Tensor) -> Tensor:
    """[N, L]: the number of the step a token belongs to, from 0; after the last end, the number of steps."""
    ends = ends.long()
    return ends.cumsum(1) - ends


def steps_to_go(reward: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """[N, K]: G_k = r_k + gamma G_(the next step in the mask), the discounted sum from here on; 0 outside the mask.

    Args:
        reward: [N, K]; what stands outside the mask does not count.
        mask: [N, K] bool; may have holes, which are passed over and not discounted.
        gamma: discount a step.

    Raises:
        ValueError: shapes disagree.
    """
    _check("steps_to_go", reward, mask)
    mask = mask.bool()
    returns, later = torch.zeros_like(reward), reward.new_zeros(len(reward))
    for k in reversed(range(reward.shape[1])):
        later = torch.where(mask[:, k], reward[:, k] + gamma * later, later)
        returns[:, k] = torch.where(mask[:, k], later, 0.0)
    return returns


def next_step(value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """[N, K] each: the value of the next step in the mask (0 if there is none), and whether there is one."""
    _check("next_step", value, mask)
    place = torch.arange(value.shape[1], device=value.device).expand(value.shape)
    nearest = torch.where(mask.bool(), place, value.shape[1]).flip(1).cummin(1).values.flip(1)
    nearest = torch.cat([nearest[:, 1:], nearest.new_full((len(value), 1), value.shape[1])], 1)[:, : value.shape[1]]
    there = nearest < value.shape[1]
    if not value.shape[1]:
        return value, there
    return torch.where(there, value.gather(1, nearest.clamp(max=value.shape[1] - 1)), 0.0), there


def _check(name: str, value: Tensor, mask: Tensor) -> None:
    if value.ndim != 2 or value.shape != mask.shape:
        raise ValueError(f"{name} needs two tensors of one shape, got {list(value.shape)} and {list(mask.shape)}")
