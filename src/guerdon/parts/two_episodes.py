"""The running episode and the one before it: how far a state is from either."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from guerdon.parts.episodes import Visits
from guerdon.parts.knn_memory import nearest

_ELEMENTS = 1 << 20  # distances worked out at a time: what a core's cache likes
_NONE = -2  # an episode long gone, or no vector at all


class TwoEpisodes(nn.Module):
    """The vectors of each environment's running episode and of the one before it; exact search.

    Args:
        num_envs: B.
        size: d.
        capacity: vectors per environment, of both episodes together; then the oldest make way.
    """

    entries: Tensor  # [B, m, d], the oldest first
    episode: Tensor  # [B, m]: 0 the running one, -1 the one before it, -2 nothing

    def __init__(self, num_envs: int, size: int, capacity: int) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"a memory holds at least one vector, got a capacity of {capacity}")
        self.capacity = capacity
        self.register_buffer("entries", torch.zeros(num_envs, 0, size))
        self.register_buffer("episode", torch.full((num_envs, 0), _NONE))

    def nearest(self, vectors: Tensor, visits: Visits, k: int) -> tuple[Tensor, Tensor]:
        """Squared distances of vectors [T+1, B, d] to the k nearest: before it in its episode, and in the one before.

        [T+1, B, k] each, ascending, infinite where there are fewer than k.
        """
        held, episode = self._joined(vectors, visits)
        mine, queries, steps = visits.episode.T[..., None], vectors.transpose(0, 1), len(vectors)
        later = torch.ones(steps, held.shape[1], dtype=torch.bool, device=held.device)
        later = later.triu(held.shape[1] - steps)  # itself included
        found, wide = [], max(1, _ELEMENTS // max(1, steps * held.shape[1]))
        for b in range(0, len(held), wide):
            rows = slice(b, b + wide)
            other = episode[rows, None]
            inside = nearest(queries[rows], held[rows], k, (other != mine[rows]) | later)[0]
            found.append((inside, nearest(queries[rows], held[rows], k, other != mine[rows] - 1)[0]))
        inside, outside = (torch.cat(parts).transpose(0, 1) for parts in zip(*found, strict=True))
        return inside, outside

    def add(self, vectors: Tensor, visits: Visits) -> None:
        """Takes in the visits of a rollout, once."""
        if not len(vectors):
            return
        held, episode = self._joined(vectors, visits)
        episode = (episode - visits.episode[-1][:, None]).clamp(min=_NONE)
        order = (episode > _NONE).sort(dim=1, stable=True).indices  # nothing first, then all that is kept, oldest first
        longest = min(self.capacity, int((episode > _NONE).sum(1).max()))
        order = order[:, order.shape[1] - longest :]
        self.entries = held.gather(1, order[..., None].expand(-1, -1, held.shape[2]))
        self.episode = episode.gather(1, order)

    def _joined(self, vectors: Tensor, visits: Visits) -> tuple[Tensor, Tensor]:
        new = visits.episode.masked_fill(~visits.there, _NONE).T
        return torch.cat([self.entries, vectors.transpose(0, 1)], 1), torch.cat([self.episode, new], 1)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *more: Any) -> None:
        if (saved := state.get(f"{prefix}entries")) is not None and saved.ndim == 3:  # however long it was
            self.entries = self.entries.new_zeros(len(self.entries), saved.shape[1], self.entries.shape[2])
            self.episode = self.episode.new_full(self.entries.shape[:2], _NONE)
        super()._load_from_state_dict(state, prefix, *more)
