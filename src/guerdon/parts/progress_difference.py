"""Progress: a value after a step minus the value before it, for any value over padded states.

A value may be a belief in the right answer, a negative entropy, the score of a step, a distance covered. Values stand
on K+1 states, the first one before anything was done; progress stands on the K steps between them. Both are [B, ...],
rows of B sequences of their own. Pure functions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def progress_difference(
    value: Tensor, mask: Tensor | None = None, *, kind: Literal["difference", "log"] = "difference"
) -> Tensor:
    """[B, K]: g_k = x_k - x_j with x the value (or its logarithm) and j the last valid state before k.

        difference:  x = value        log:  x = log(value)

    A state is valid where `mask` is True and x is finite; into any other one progress is 0, and the next valid state is
    compared with the last valid one, so that progress always sums to the last valid x minus the first. Where nothing
    valid came before, progress is 0. Differentiable in valid values.

    Args:
        value: [B, K+1], at least one state.
        mask: [B, K+1] bool; None is all True.
        kind: see above; a value of 0 or less is not valid under "log".

    Raises:
        ValueError: shapes disagree, or another kind.
    """
    if value.ndim != 2 or not value.shape[1] or (mask is not None and mask.shape != value.shape):
        shapes = f"value {list(value.shape)}" + ("" if mask is None else f" and mask {list(mask.shape)}")
        raise ValueError(f"progress_difference needs values and mask of K+1 states [B, K+1], got {shapes}")
    if kind not in ("difference", "log"):
        raise ValueError(f"progress is a 'difference' or 'log', not {kind!r}")
    valid = value.isfinite() & (value > 0 if kind == "log" else True)
    valid = valid if mask is None else valid & mask.bool()
    x = torch.where(valid, value, 1.0)  # before the logarithm, so that no gradient is NaN
    x = x.log() if kind == "log" else x
    before, known = last_valid(x, valid)
    return torch.where(valid[:, 1:] & known[:, :-1], x[:, 1:] - before[:, :-1], 0.0)


def last_valid(value: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """[B, K] each: at every place the last value so far, itself included, that is valid; and whether there is one."""
    place = torch.arange(value.shape[1], device=value.device).expand(value.shape)
    last = torch.where(valid, place, -1).cummax(1).values
    return value.gather(1, last.clamp(min=0)), last >= 0


def potential_shaping(
    potential: Tensor, mask: Tensor | None = None, *, gamma: float = 1.0, terminal: Tensor | None = None
) -> Tensor:
    """[B, K]: F_k = gamma Phi_k - Phi_{k-1}, which changes no optimal policy of a discounted task (Ng et al., 1999).

    That holds when `gamma` is the learner's own and the potential of a terminal state is 0, wherever `terminal` says
    so. A state outside `mask` has no step into it (0), and the next one in the mask follows the last one before it.

    Args:
        potential: [B, K+1], Phi of every state; finite within the mask.
        mask: [B, K+1] bool; None is all True.
        gamma: the learner's discount.
        terminal: [B, K+1] bool, states after which nothing comes; None is none.

    Raises:
        ValueError: shapes disagree, or a potential within the mask is not finite.
    """
    mask = torch.ones_like(potential, dtype=torch.bool) if mask is None else mask.bool()
    terminal = torch.zeros_like(mask) if terminal is None else terminal.bool()
    if potential.ndim != 2 or not potential.shape[1] or not potential.shape == mask.shape == terminal.shape:
        shapes = [list(x.shape) for x in (potential, mask, terminal)]
        raise ValueError(f"potential_shaping needs potential, mask and terminal to be [B, K+1], got {shapes}")
    phi = torch.where(mask & ~terminal, potential, 0.0)
    if not bool(phi.isfinite().all()):
        raise ValueError("potential_shaping met a potential that is NaN or infinite: mask that state out")
    before, known = last_valid(phi, mask)
    return torch.where(mask[:, 1:] & known[:, :-1], gamma * phi[:, 1:] - before[:, :-1], 0.0)
