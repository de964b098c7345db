"""Which captions were seen, and what each was paid."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from guerdon.types import Captions, Reward, Rollout


class CaptionLedger:
    """Sums per caption over a run, by caption id.

    Args:
        reward: whose caption terms are booked (those of rewards with ``reads_captions``).
        captions: the table that the ids belong to.
    """

    def __init__(self, reward: Reward, captions: Captions) -> None:
        self.reward, self.captions = reward, captions
        readers = [m for m in reward.modules() if isinstance(m, Reward) and m.reads_captions]
        self._names = tuple(m.name for m in readers)
        self._seen, self._paid = (torch.zeros(0, dtype=torch.float64) for _ in range(2))

    def pays(self, term: str) -> bool:
        """Whether a term of this name is one of the caption rewards'."""
        return term.rpartition(".")[0] in self._names or term in self._names

    def add(self, rollout: Rollout, terms: dict[str, Tensor]) -> None:
        """Books one scored rollout."""
        ids = rollout.caption[1:].flatten().long()  # type: ignore[index]
        grow = len(self.captions) - len(self._seen)
        if grow > 0:
            more = torch.zeros(grow + len(self._seen), dtype=torch.float64)  # doubling
            self._seen, self._paid = torch.cat([self._seen, more]), torch.cat([self._paid, more])
        self._seen.index_add_(0, ids, rollout.valid.flatten().double())
        for name, term in terms.items():
            if self.pays(name):
                self._paid.index_add_(0, ids, term.detach().cpu().flatten().nan_to_num().double())

    def rows(self, most: int = 500) -> list[dict[str, Any]]:
        """The captions that were paid most, then those seen most, with what each would be paid now at first sight."""
        known = min(len(self.captions), len(self._seen))
        by_paid = self._paid[:known].abs().argsort(descending=True)[:most]
        by_seen = self._seen[:known].argsort(descending=True)[: most // 5]
        ids = torch.cat([by_paid, by_seen]).unique()
        ids = ids[(self._seen[ids] > 0) & (ids > 0)]
        if not len(ids):
            return []
        value = self._value_of(ids)
        rows = [
            {"caption": self.captions.text(i), "count": int(self._seen[i]), "paid": float(self._paid[i]), "value": v}
            for i, v in zip(ids.tolist(), value.tolist(), strict=True)
        ]
        return sorted(rows, key=lambda row: -row["paid"])

    def _value_of(self, ids: Tensor) -> Tensor:
        """What the caption rewards pay each caption the first time in an episode, unweighted."""
        n = len(ids)
        no, yes = torch.zeros(1, n, dtype=torch.bool), torch.ones(1, n, dtype=torch.bool)
        probe = Rollout(
            obs=TensorDict({}, [2, n]),
            action=torch.zeros(1, n),
            extrinsic=torch.zeros(1, n),
            terminated=no,
            truncated=no,
            valid=yes,
            caption=ids.int().expand(2, n),
            caption_count=torch.ones(2, n, dtype=torch.int32),
        )
        readers = [m for m in self.reward.modules() if isinstance(m, Reward) and m.reads_captions]
        with torch.no_grad():
            return sum((r.score(probe)[0].float().cpu() for r in readers), torch.zeros(n))

    def state_dict(self) -> dict[str, Tensor]:
        """The sums so far."""
        return {"seen": self._seen, "paid": self._paid}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes on from these sums."""
        self._seen, self._paid = state["seen"], state["paid"]
