"""One number from the step scores of an answer, for reward models that judge each step (process reward models)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Aggregator = Literal["min", "max", "prod", "geometric_mean", "mean", "last", "mean_logit", "mean_odd"]


def aggregate_steps(p: Tensor, mask: Tensor, how: Aggregator, *, eps: float = 1e-6) -> Tensor:
    """[N] float64: one value for each row of step probabilities.

        prod = p_1 ... p_T,  geometric_mean = prod^(1/T),  last = p_T,
        mean_logit = sigmoid(mean_t log(p_t / (1 - p_t))),  mean_odd = max(0, mean_t p_t / (1 - p_t))

    prod <= min <= geometric_mean <= mean <= max. All are in 0..1 but mean_odd, which is at least 0. prod falls with
    the number of steps. Kim et al., "Evaluating Robustness of Reward Models for Mathematical Reasoning", 2024,
    https://arxiv.org/abs/2410.01729; there, p of 0 or 1 makes logits and odds infinite, here those two clip p.

    Args:
        p: [N, T] probabilities that a step is right, in 0..1.
        mask: [N, T] bool: where there is a step. Each row must have one.
        how: which of these.
        eps: mean_logit and mean_odd read p in [eps, 1 - eps] (1e-6: our choice).

    Raises:
        ValueError: shapes differ, a row has no step, or a p is NaN or outside of 0..1.
    """
    if p.ndim != 2 or p.shape != mask.shape:
        raise ValueError(f"step scores and their mask are [N, T], got {list(p.shape)} and {list(mask.shape)}")
    mask = mask.bool()
    if not bool(mask.any(1).all()):
        raise ValueError(f"row {int(mask.any(1).int().argmin())} has no step to aggregate")
    p = p.double()
    if not bool((((p >= 0) & (p <= 1)) | ~mask).all()):
        bad = p[mask & ~((p >= 0) & (p <= 1))][0]
        raise ValueError(f"a step score is a probability in 0..1, got {float(bad):g}")
    count = mask.sum(1)
    if how in ("mean_logit", "mean_odd"):
        p = p.clamp(eps, 1 - eps)

    def mean(x: Tensor) -> Tensor:
        return torch.where(mask, x, 0.0).sum(1) / count

    match how:
        case "min":
            return torch.where(mask, p, torch.inf).amin(1)
        case "max":
            return torch.where(mask, p, -torch.inf).amax(1)
        case "prod":
            return torch.where(mask, p, 1.0).prod(1)
        case "geometric_mean":
            return mean(p.log()).exp()
        case "mean":
            return mean(p)
        case "last":
            at = torch.arange(p.shape[1], device=p.device).where(mask, -1).amax(1)
            return p.gather(1, at[:, None])[:, 0]
        case "mean_logit":
            return mean(p.logit()).sigmoid()
        case "mean_odd":
            return mean(p / (1 - p)).clamp(min=0)
    raise ValueError(f"no way to aggregate steps is called {how!r}: there are {', '.join(Aggregator.__args__)}")


def aggregate_lists(steps: Sequence[Sequence[float]], how: Aggregator, *, empty: float | None = None) -> list[float]:
    """The same for lists of step scores, one an answer.

    Args:
        steps: each answer's scores.
        how: see `aggregate_steps`.
        empty: the value of an answer without steps (0.5 in the authors' best-of-N); None refuses it.

    Raises:
        ValueError: an answer has no step, and `empty` is None; or as `aggregate_steps`.
    """
    there = [i for i, row in enumerate(steps) if len(row)]
    if empty is None and len(there) < len(steps):
        missing = next(i for i, row in enumerate(steps) if not len(row))
        raise ValueError(f"answer {missing} has no step scores; empty=0.5 would give it a value")
    values = [0.0 if empty is None else empty] * len(steps)
    if there:
        rows = [torch.tensor(steps[i], dtype=torch.float64) for i in there]
        mask = pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True)
        for i, value in zip(there, aggregate_steps(pad_sequence(rows, batch_first=True), mask, how), strict=True):
            values[i] = float(value)
    return values
