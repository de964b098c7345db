"""Counting visits: numbers that stand for observations, and how often each of them came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guerdon.parts.episodes import Visits

_WORDS = 1 << 15  # 64-bit words mixed at a time: what a core's cache likes


def digests(obs: Mapping[str, Tensor], keys: Sequence[str]) -> Tensor:
    """int64 [m, n]: what stands for the contents of `keys` in observations [m, n, ...]; equal ones have equal numbers.

    Different ones share a number with a chance of about 2^-64 a pair: of a million, any two with 3e-8. -0.0 is 0.0.
    """
    total = torch.zeros(obs[keys[0]].shape[:2], dtype=torch.int64, device=obs[keys[0]].device)
    for key in keys:
        total = _mixed(total) + _digest(obs[key].flatten(0, 1)[..., None].flatten(1)).view(total.shape)
    return total


class VisitCounts(nn.Module):
    """How often each number came so far: in all of life, or in the running episode of each environment.

    Nothing changes between `before` and `add`: what earlier steps of the same rollout saw is found by sorting.

    Args:
        num_envs: counts per environment and episode; None counts for all together, for ever.
    """

    def __init__(self, num_envs: int | None = None) -> None:
        super().__init__()
        self.episodic = num_envs is not None
        self.tables: list[dict[int, int]] = [{} for _ in range(num_envs or 1)]

    def __len__(self) -> int:
        return sum(map(len, self.tables))

    def before(self, numbers: Tensor, visits: Visits) -> Tensor:
        """int64 [T, B]: how often each number came at earlier steps, 0 where no visit is `there`.

        Environments move at the same time: none sees what another one saw at the same step.
        """
        step, column = visits.there.nonzero(as_tuple=True)
        shown, episode = numbers[step, column], visits.episode[step, column]
        unique, group = shown.unique(return_inverse=True)
        if self.episodic:
            carried = (episode == 0).nonzero().flatten()
            pairs = zip(column[carried].tolist(), shown[carried].tolist(), strict=True)
            known = torch.zeros_like(shown)
            known[carried] = known.new_tensor([self.tables[b].get(number, 0) for b, number in pairs])
            columns, most = numbers.shape[1], int(visits.episode.max()) + 1 if visits.episode.numel() else 1
            group = (group * columns + column) * most + episode
        else:
            known = shown.new_tensor([*map(self.tables[0].get, unique.tolist(), repeat(0))])[group]
        counts = torch.zeros_like(numbers)
        counts[step, column] = known + _earlier(group, step)
        return counts

    def add(self, numbers: Tensor, visits: Visits) -> None:
        """Takes in what was there, once per rollout."""
        if not self.episodic:
            unique, times = numbers[visits.there].unique(return_counts=True)
            _add(self.tables[0], unique.tolist(), times.tolist())
            return
        if not len(numbers):
            return
        last = visits.episode[-1]
        for b, new in enumerate((last > 0).tolist()):
            if new:
                self.tables[b] = {}
        step, column = (visits.there & (visits.episode == last)).nonzero(as_tuple=True)
        for b, number in zip(column.tolist(), numbers[step, column].tolist(), strict=True):
            _add(self.tables[b], (number,), (1,))

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "sizes": [len(table) for table in self.tables],
            "numbers": torch.tensor([n for table in self.tables for n in table], dtype=torch.int64),
            "times": torch.tensor([n for table in self.tables for n in table.values()], dtype=torch.int64),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if len(state["sizes"]) != len(self.tables):  # of other games: their episodes are not these
            self.tables = [{} for _ in self.tables]
            return
        parts = zip(state["numbers"].split(state["sizes"]), state["times"].split(state["sizes"]), strict=True)
        self.tables = [dict(zip(n.tolist(), t.tolist(), strict=True)) for n, t in parts]


def _add(table: dict[int, int], numbers: Sequence[int], times: Sequence[int]) -> None:
    for number, more in zip(numbers, times, strict=True):
        table[number] = table.get(number, 0) + more


def _earlier(group: Tensor, step: Tensor) -> Tensor:
    """[n]: how many of the same group stand at an earlier step; entries come in the order of their steps."""
    group, order = group.sort(stable=True)
    place = torch.arange(len(group), device=group.device)
    other = torch.ones_like(group, dtype=torch.bool)
    other[1:] = group[1:] != group[:-1]
    later = other.clone()
    later[1:] |= step[order][1:] != step[order][:-1]
    since = torch.where(later, place, 0).cummax(0).values - torch.where(other, place, 0).cummax(0).values
    return torch.empty_like(since).scatter_(0, order, since)


def _digest(x: Tensor) -> Tensor:
    """int64 [n] of the rows of [n, size]: what each word's place and value scramble to, summed and scrambled again."""
    if x.is_floating_point():
        x = x + 0.0  # -0.0 becomes 0.0
    raw = x.contiguous().view(torch.uint8) if x.dtype != torch.bool else x.to(torch.uint8)
    words = F.pad(raw, (0, -raw.shape[1] % 8)).view(torch.int64)
    place = _mixed(torch.arange(words.shape[1], device=x.device))
    rows = max(1, _WORDS // max(1, words.shape[1]))
    parts = [_scrambled_(part + place).sum(1) for part in words.split(rows)]
    return _mixed(torch.cat(parts)) if parts else words.new_zeros(0)


def _mixed(x: Tensor) -> Tensor:
    """Each 64-bit word scrambled, one to one: SplitMix64 (Steele et al., 2014)."""
    x = _scrambled_(x - 7046029254386353131)
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _scrambled_(x: Tensor) -> Tensor:
    """The first two rounds of it, in place."""
    x ^= (x >> 30).bitwise_and_(0x3FFFFFFFF)
    x *= -4658895280553007687
    x ^= (x >> 27).bitwise_and_(0x1FFFFFFFFF)
    x *= -7723592293110705685
    return x
