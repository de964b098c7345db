"""A distance between rewards, with what it depends on; and how it is computed for many, exactly or from samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

_AT_ONCE = 2**23  # numbers of rewards in a batch: 64 MB, so that what is made of it is small, too
_ZERO = 1e-6  # of what was paid: below it a sampled form is rounding, and the ridge of the fit

SampledReward = Callable[[Tensor, Tensor, Tensor], Tensor]
"""r(s, a, s') of n transitions: states [n, ...], actions [n, ...], states; [n] out."""


@dataclass(frozen=True)
class Distance:
    """How far rewards are from each other. Only distances that agree in all but `raw` can be compared."""

    raw: Tensor  # [...], or [N, N] between all; 0 same, 2 opposite for the L2 norm
    metric: str  # canonicalisation, normalisation and metric
    coverage: str  # which transitions count, and how much
    gamma: float
    seeds: tuple[int, ...] = ()  # of the samples; none where it is exact
    low: Tensor | None = None  # 95 % interval of the mean over seeds
    high: Tensor | None = None

    @property
    def half(self) -> Tensor:
        """Raw / 2: for the L2 norm between 0 and 1, as EPIC counts."""
        return self.raw / 2


class Transitions(NamedTuple):
    """A batch of steps; `ended` where `there` is terminal, so that nothing comes after it."""

    here: Tensor  # [n, ...]
    action: Tensor  # [n, ...]
    there: Tensor  # [n, ...]
    ended: Tensor  # bool [n]


@dataclass(frozen=True)
class Simulator:
    """What sampled distances draw from. Each function takes how many, or a batch, and a generator.

    Args:
        states: D_S, n -> [n, ...].
        actions: D_A, n -> [n, ...]; also the policy whose values `VAL` levels by.
        step: (states, actions) -> next states.
        gamma: the discount.
        ended: which states are terminal, [n, ...] -> bool [n]; by default none.
    """

    states: Callable[[int, torch.Generator], Tensor]
    actions: Callable[[int, torch.Generator], Tensor]
    step: Callable[[Tensor, Tensor, torch.Generator], Tensor]
    gamma: float
    ended: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < 1:
            raise ValueError(f"a simulator's gamma must be at least 0 and below 1, got {self.gamma}")

    def transitions(self, n: int, generator: torch.Generator) -> Transitions:
        """So many steps from D_S by D_A."""
        here, action = self.states(n, generator), self.actions(n, generator)
        there = self.step(here, action, generator)
        ended = torch.zeros(n, dtype=torch.bool) if self.ended is None else self.ended(there)
        return Transitions(here, action, there, ended)


def exact(first: Tensor, second: Tensor | None, forms: Callable[[Tensor], Tensor], p: float) -> Tensor:
    """The p-norm of differences of `forms` [..., K]: of pairs, [...], or between all of `first` [N, ...], [N, N].

    Few rewards are put into form at a time, so that the memory beside the rewards stays small.
    """
    table = first.shape[-3:]
    lead = first.shape[:-3]
    if second is None:
        if len(lead) != 1:
            raise ValueError(f"distances between all rewards need a table [N, S, A, S], got {list(first.shape)}")
        all_forms = torch.cat([forms(part) for part in _parts(first)])
        return torch.cdist(all_forms, all_forms, p=p, compute_mode="donot_use_mm_for_euclid_dist")
    if second.shape != first.shape:
        raise ValueError(f"pairs of rewards need equal shapes, got {list(first.shape)} and {list(second.shape)}")
    pairs = zip(_parts(first.reshape(-1, *table)), _parts(second.reshape(-1, *table)), strict=True)
    found = [torch.linalg.vector_norm(forms(a) - forms(b), p, -1) for a, b in pairs]
    return torch.cat(found).reshape(lead)


def _parts(rewards: Tensor) -> Sequence[Tensor]:
    return rewards.split(max(1, _AT_ONCE // max(1, rewards[:1].numel())))


def from_samples(
    rewards: Sequence[SampledReward], canonical: Callable[[torch.Generator], Tensor], seeds: Sequence[int],
    *, p: float, centred: bool, metric: str, coverage: str, gamma: float,
) -> Distance:  # fmt: skip
    """Distances between all rewards, [N, N], from canonical values [N, n] of one batch a seed.

    The same batch serves both norms and the difference, so that d(R, R) is 0. `centred` takes the mean away first, as
    Pearson's distance does.
    """
    if len(rewards) < 2 or not seeds:
        raise ValueError(f"a sampled distance needs two rewards and a seed, got {len(rewards)} and {len(seeds)}")
    found = []
    for seed in seeds:
        forms = canonical(torch.Generator().manual_seed(seed))
        found.append(between(forms - forms.mean(-1, keepdim=True) if centred else forms, p))
    by_seed = torch.stack(found)
    mean, low, high = interval(by_seed)
    return Distance(mean, metric, coverage, gamma, tuple(seeds), low, high)


def between(forms: Tensor, p: float) -> Tensor:
    """Distances [N, N] between canonical values [N, n] of one batch, each divided by its norm, 0 where that is 0."""
    size = torch.linalg.vector_norm(forms, p, -1, keepdim=True)
    unit = torch.where(size == 0, 0.0, forms / torch.where(size == 0, 1.0, size))
    return torch.cdist(unit, unit, p=p, compute_mode="donot_use_mm_for_euclid_dist")


def without_rounding(forms: Tensor, paid: Tensor) -> Tensor:
    """Canonical values [N, n], and 0 for a reward whose largest is below 1e-6 of the largest `paid` [N, n]."""
    nothing = forms.abs().amax(-1, keepdim=True) <= _ZERO * paid.abs().amax(-1, keepdim=True)
    return torch.where(nothing, 0.0, forms)


def paid(rewards: Sequence[SampledReward], here: Tensor, action: Tensor, there: Tensor) -> Tensor:
    """[N, n] float64, what each reward pays. Raises ValueError where one returns another shape, NaN or infinity."""
    rows = []
    for i, reward in enumerate(rewards):
        row = reward(here, action, there).double()
        if list(row.shape) != [len(here)]:
            raise ValueError(f"reward {i} must return [{len(here)}] for as many transitions, got {list(row.shape)}")
        if not bool(row.isfinite().all()):
            raise ValueError(f"reward {i} is NaN or infinite on {int((~row.isfinite()).sum())} of {len(row)} steps")
        rows.append(row)
    return torch.stack(rows)


def interval(by_seed: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Mean over seeds [R, ...] and its 95 % interval by Student's t, which one seed does not have."""
    mean, runs = by_seed.mean(0), len(by_seed)
    if runs < 2:
        return mean, None, None
    reach = float(stats.t.ppf(0.975, runs - 1)) / runs**0.5 * by_seed.std(0)
    return mean, (mean - reach).clamp(min=0.0), mean + reach
