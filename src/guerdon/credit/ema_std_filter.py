"""The filter of RLPR: prompts whose rewards spread less than usual are left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.parts.group_advantages import row_rewards
from guerdon.types import About, Completions, Scored


def group_stds(reward: Tensor, group: Tensor) -> Tensor:
    """[N]: the sample standard deviation (divisor n - 1) of the scored rewards in each row's group; NaN below two."""
    _, at = group.unique(return_inverse=True)
    scored = ~reward.isnan()
    zeros = reward.new_zeros(int(at.max()) + 1 if len(at) else 0)
    count = zeros.index_add(0, at, scored.to(reward.dtype))
    mean = zeros.index_add(0, at, reward.nan_to_num(nan=0.0)) / count
    square = zeros.index_add(0, at, torch.where(scored, (reward - mean[at]) ** 2, 0.0))
    return torch.where(count > 1, (square / (count - 1)).sqrt(), torch.nan)[at]


@dataclass(kw_only=True)
class EmaStdFilter:
    """[N] weights: 1 for the answers of groups whose reward spreads at least `beta` times what is usual, else 0.

        kept where std_group >= beta * ema;      ema <- decay * ema + (1 - decay) * (mean of the groups' stds)

    Every call is a step, counted from 1. Stds are collected from step `collect_from` on; at step `start` the ema begins
    as their mean, and only from then on is anything dropped. A step's stds enter the ema before they are judged, and
    those of dropped groups too. A group with fewer than two scored answers is no evidence: it enters no mean, and is
    dropped once dropping has begun.

    Yu et al., "RLPR", 2025; figures as in its release. `TextLearner(filters=[EmaStdFilter()], rounds=...)` fills a
    batch up again and fails after so many rounds; each round is a call.
    """

    about: ClassVar[About] = About(
        rewards="drops the groups whose rewards spread less than they used to",
        paper="RLPR: Extrapolating RLVR to General Domains without Verifiers (Yu et al., 2025)",
        link="https://arxiv.org/abs/2506.18254",
        scores="Completions",
        claim="rlpr",
    )

    beta: float = 0.5
    decay: float = 0.99
    collect_from: int = 6
    start: int = 11
    step: int = field(default=0, init=False)
    ema: float | None = field(default=None, init=False)
    seen: list[float] = field(default_factory=list, init=False)

    def __call__(self, completions: Completions, scored: Scored) -> Tensor:
        """Raises ValueError without groups."""
        if completions.group is None:
            raise ValueError("EmaStdFilter compares answers within groups, and these completions have none")
        std = group_stds(row_rewards(scored.value, completions.mask.bool()), completions.group)
        self._learn(std, completions.group)
        if self.ema is None:
            return torch.ones_like(std)
        return (std >= self.beta * self.ema).float()

    def _learn(self, std: Tensor, group: Tensor) -> None:
        self.step += 1
        first = [int((group == number).nonzero()[0, 0]) for number in group.unique()]
        mean = float(std[first].nanmean())
        if self.step < self.collect_from or not math.isfinite(mean):
            return
        if self.ema is not None:
            self.ema = self.decay * self.ema + (1 - self.decay) * mean
            return
        self.seen.append(mean)
        if self.step >= self.start:
            self.ema, self.seen = sum(self.seen) / len(self.seen), []

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "ema": self.ema, "seen": list(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.ema, self.seen = state["step"], state["ema"], list(state["seen"])
