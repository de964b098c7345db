"""How familiar something is to a memory: the inverse kernel of its nearest neighbours, as a pseudo-count."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KernelCount(nn.Module):
    """The similarity s of a visit to its nearest neighbours, of which s^2 stands for a count.

        s = sqrt(sum_i K(d_i)) + c,     K(d) = epsilon / (max(d / m - cluster, 0) + epsilon),     d_i squared distances

    m is the mean of all squared distances to neighbours so far. Before there is any, and while all are 0, it is 1.
    0 < c <= s <= sqrt(k) + c: a visit nobody is near to has s = c. Badia et al., 2020, algorithm 1. That m is a mean
    over all steps of all environments is our reading of "running average".

    Args:
        epsilon: of the kernel (the paper's text says 1e-3 in all experiments, its tables 1e-4 on Atari, 1e-2 in mazes).
        cluster: distance, in units of m, below which two are one.
        c: added for safe division.
    """

    total: Tensor
    number: Tensor

    def __init__(self, *, epsilon: float = 1e-3, cluster: float = 0.008, c: float = 1e-3) -> None:
        super().__init__()
        if not (epsilon > 0 and cluster >= 0 and c > 0):
            raise ValueError(f"epsilon and c are positive, cluster is not negative: got {epsilon}, {c}, {cluster}")
        self.epsilon, self.cluster, self.c = epsilon, cluster, c
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))
        self.register_buffer("number", torch.zeros((), dtype=torch.float64))

    def similarity(self, squares: Tensor, there: Tensor, *, running: bool = True) -> Tensor:
        """Of visits [T, B], from squared distances [T, B, k], infinite where there is no neighbour.

        With `running`, m takes in each step's distances before they are used, of those that are `there` [T, B].
        """
        found, times = self._sums(squares, there)
        total, number = (self.total + found.cumsum(0), self.number + times.cumsum(0)) if running else self._so_far()
        mean = torch.where((number > 0) & (total > 0), total / number.clamp(min=1), 1.0).to(squares.dtype)
        distance = (squares / mean.view(-1, 1, 1) - self.cluster).clamp(min=0)
        return (self.epsilon / (distance + self.epsilon)).sum(-1).sqrt() + self.c

    def advance(self, squares: Tensor, there: Tensor) -> None:
        """Takes the distances of a rollout into m."""
        found, times = self._sums(squares, there)
        self.total += found.sum()
        self.number += times.sum()

    def _so_far(self) -> tuple[Tensor, Tensor]:
        return self.total[None], self.number[None]

    def _sums(self, squares: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        counted = squares.isfinite() & there[..., None]
        return squares.double().masked_fill(~counted, 0.0).sum((1, 2)), counted.double().sum((1, 2))
