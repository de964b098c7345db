"""Labels of captions that grow without end, found by caption id in one gather."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.parts.growing import grown
from guerdon.types import Captions


def pack(captions: Captions, ids: Tensor) -> dict[str, Any]:
    """`ids` of any shape as plain values that mean the same beside any caption table: each text once, and its place."""
    unique, place = ids.unique(return_inverse=True)
    return {"texts": "\0".join(map(captions.text, unique.tolist())), "place": place.to("cpu", torch.int32)}


def unpack(captions: Captions, packed: dict[str, Any]) -> Tensor:
    """The ids that `pack` took, under `captions`; texts that it does not know are interned."""
    place = packed["place"]
    if place.numel() == 0:
        return place
    return torch.tensor([captions.intern(text) for text in packed["texts"].split("\0")], dtype=torch.int32)[
        place.long()
    ]


class CaptionLabels(nn.Module):
    """Rows of (captions, value, weight), in order of arrival; with one caption a row, at most one row a caption.

    The state is saved by text, so that it can be loaded beside another caption table; load that table first.

    Args:
        captions: the table that the ids belong to.
        width: captions a row: 1 for labels of captions, 2 for outcomes of pairs.
    """

    ids: Tensor  # int32 [capacity, width]
    value: Tensor  # float32 [capacity]
    weight: Tensor  # float32 [capacity]
    row: Tensor  # int32 [captions]: the row of a caption, -1 if it has none; only for width 1

    def __init__(self, captions: Captions, *, width: int = 1) -> None:
        super().__init__()
        self.captions, self.width, self.count = captions, width, 0
        self.register_buffer("ids", torch.zeros(1, width, dtype=torch.int32), persistent=False)
        self.register_buffer("value", torch.zeros(1), persistent=False)
        self.register_buffer("weight", torch.zeros(1), persistent=False)
        self.register_buffer("row", torch.full((1,), -1, dtype=torch.int32), persistent=False)

    def __len__(self) -> int:
        return self.count

    def of(self, ids: Tensor) -> Tensor:
        """float32 [n]: the label of each caption, NaN where there is none. Costs the same however many are known."""
        known = ids < len(self.row)
        row = torch.where(known, self.row[torch.where(known, ids, 0).long()], -1)
        return torch.where(row >= 0, self.value[row.clamp(min=0).long()], torch.nan)

    def add(self, ids: Tensor, value: Tensor, weight: Tensor, *, replace: bool = False) -> int:
        """Appends rows: ids [n, width], value [n], weight [n]; returns how many labels were taken.

        With one caption a row, a caption that has a label keeps its first one, or with `replace` takes the newest.
        """
        ids, value, weight = (x.to(self.ids.device) for x in (ids.to(torch.int32), value.float(), weight.float()))
        if self.width == 1 and len(ids):
            ids, value, weight = self._one_each(ids, value, weight, replace)
            self.row = grown(self.row, int(ids.max()) + 1 if len(ids) else 0, fill=-1)
            row = self.row[ids[:, 0].long()]
            old = row >= 0
            if replace:
                self.value[row[old].long()], self.weight[row[old].long()] = value[old], weight[old]
            taken = len(ids) if replace else int((~old).sum())
            ids, value, weight = ids[~old], value[~old], weight[~old]
            self.row[ids[:, 0].long()] = torch.arange(
                self.count, self.count + len(ids), dtype=torch.int32, device=ids.device
            )
        else:
            taken = len(ids)
        end = self.count + len(ids)
        for name, new in (("ids", ids), ("value", value), ("weight", weight)):
            setattr(self, name, grown(getattr(self, name), end))
            getattr(self, name)[self.count : end] = new
        self.count = end
        return taken

    @staticmethod
    def _one_each(ids: Tensor, value: Tensor, weight: Tensor, last: bool) -> Sequence[Tensor]:
        """One row a caption of those that came together, the first or the last, in order."""
        chosen: dict[int, int] = {}
        for i, caption in enumerate(ids[:, 0].tolist()):
            if last or caption not in chosen:
                chosen[caption] = i
        keep = torch.tensor(sorted(chosen.values()), device=ids.device)
        return ids[keep], value[keep], weight[keep]

    def get_extra_state(self) -> dict[str, Any]:
        n = self.count
        return {
            "ids": pack(self.captions, self.ids[:n]),
            "value": self.value[:n].to("cpu", copy=True),
            "weight": self.weight[:n].to("cpu", copy=True),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.count = 0
        self.row.fill_(-1)
        self.add(unpack(self.captions, state["ids"]), state["value"], state["weight"])
