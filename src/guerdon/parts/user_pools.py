"""The pairs of each user, and splits of them into pairs to look at and pairs to predict."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Split(NamedTuple):
    """Rows of pairs of B users: `context` [B, C] to look at and `target` [B, M] to predict, with masks of what is."""

    context: Tensor
    seen: Tensor
    target: Tensor
    asked: Tensor

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        """The rows of pairs that occur, each once, and where in these those of context and target stand, [B, C + M]."""
        return torch.cat([self.context, self.target], 1).unique(return_inverse=True)


class UserPools(NamedTuple):
    """Which rows are whose: [U, P], the first `count` [U] entries of each row; `names` in order of appearance."""

    rows: Tensor
    count: Tensor
    names: list

    @classmethod
    def of(cls, users: Sequence[Hashable]) -> UserPools:
        """Groups rows by user. Raises ValueError if a row has no user (None, NaN or an empty text)."""
        pools: dict[Hashable, list[int]] = {}
        for row, user in enumerate(users):
            if user is None or user == "" or user != user:
                raise ValueError(f"pair {row} has no user")
            pools.setdefault(user, []).append(row)
        count = torch.tensor([len(pool) for pool in pools.values()], dtype=torch.long)
        rows = torch.zeros(len(pools), int(count.max()) if len(pools) else 0, dtype=torch.long)
        for place, pool in enumerate(pools.values()):
            rows[place, : len(pool)] = torch.tensor(pool)
        return cls(rows, count, list(pools))

    @property
    def mask(self) -> Tensor:
        """Which entries of `rows` are pairs, [U, P]."""
        return torch.arange(self.rows.shape[1]) < self.count[:, None]

    def draw(self, users: int, context: int, targets: int, rng: torch.Generator, *, exact: bool = False) -> Split:
        """So many users with two pairs or more, with replacement: 1 to `context` pairs of each, and others to predict.

        With `exact` there are always `context` pairs to look at, of users who have one more.

        Raises:
            ValueError: no user has pairs enough.
        """
        able = (self.count > (context if exact else 1)).nonzero()[:, 0]
        if not len(able):
            most = int(self.count.max()) if len(self.count) else 0
            raise ValueError(
                f"no user has {context + 1 if exact else 2} pairs, some to look at and one to predict: of "
                f"{len(self.count)} users, none has more than {most}"
            )
        who = able[torch.randint(len(able), (users,), generator=rng)]
        order = torch.rand(users, self.rows.shape[1], generator=rng).masked_fill(~self.mask[who], 2.0).argsort(1)
        shuffled, count = self.rows[who].gather(1, order), self.count[who][:, None]
        most = (count - 1).clamp(max=context)
        seen = most if exact else 1 + (torch.rand(users, 1, generator=rng) * most).long().clamp(max=most - 1)
        at, ask = torch.arange(context).expand(users, -1), seen + torch.arange(targets)
        return Split(self._pick(shuffled, at), at < seen, self._pick(shuffled, ask), ask < count)

    @staticmethod
    def _pick(rows: Tensor, at: Tensor) -> Tensor:
        return rows.gather(1, at.clamp(max=rows.shape[1] - 1))
