"""Captions out of infos: their ids, and how often each was met in its episode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from guerdon.types import Captions


class CaptionCounts:
    """Counts the captions of B environments, episode by episode, as rollouts carry them.

    Args:
        table: where texts get their ids.
        num_envs: B.
        reader: who wants to know, for errors.
    """

    def __init__(self, table: Captions, num_envs: int, reader: str) -> None:
        self.table, self.num_envs, self.reader = table, num_envs, reader
        self.ids, self.count = (torch.zeros(num_envs, dtype=torch.int32) for _ in range(2))
        self._episodes: list[dict[int, int]] = [{} for _ in range(num_envs)]

    def hear(self, said: Any, heard: Tensor, fresh: Tensor) -> dict[str, Tensor]:
        """Ids and counts [B] after `said`, B texts (None is the empty one) or ids; elsewhere than at `heard` as before.

        Where `fresh` an episode begins with it. Raises ValueError for another number of captions.
        """
        if said is None or len(said) != self.num_envs:
            there = "none" if said is None else f"{len(said)}"
            raise ValueError(f"{self.reader} reads a caption of each of {self.num_envs} environments, and got {there}")
        self.ids, self.count = self.ids.clone(), self.count.clone()
        for i in heard.nonzero().flatten().tolist():
            text = said[i]
            caption = self.table.intern(text or "") if text is None or isinstance(text, str) else int(text)
            if fresh[i]:
                self._episodes[i] = {}
            self._episodes[i][caption] = self._episodes[i].get(caption, 0) + 1
            self.ids[i], self.count[i] = caption, self._episodes[i][caption]
        return {"caption": self.ids, "caption_count": self.count}
