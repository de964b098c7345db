"""Memories that are asked for the nearest of what they hold, exactly: one per episode, and one for life."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guerdon.parts.episodes import Visits
from guerdon.parts.growing import grown

_ELEMENTS = 1 << 20  # distances worked out at a time: what a core's cache likes
_LATE = 1 << 40  # beyond any ordinal


class EpisodicMemory(nn.Module):
    """The last vectors of each environment's running episode, in a ring each; exact search in blocks.

    A query costs O(m d) for m vectors held. Room is made as an episode grows, up to `capacity`; then the oldest make
    way. Vectors are kept as they came: those of a network that has learnt since are not worked out anew.

    Args:
        num_envs: B.
        size: d.
        capacity: vectors per environment.
    """

    entries: Tensor  # [B, m, d]
    count: Tensor  # [B] int64: vectors of the running episode so far, with those that made way

    def __init__(self, num_envs: int, size: int, capacity: int) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"a memory holds at least one vector, got a capacity of {capacity}")
        self.capacity = capacity
        self.register_buffer("entries", torch.zeros(num_envs, 0, size))
        self.register_buffer("count", torch.zeros(num_envs, dtype=torch.int64))

    def nearest(self, vectors: Tensor, visits: Visits, k: int) -> Tensor:
        """[T+1, B, k] squared distances, ascending, of each visit's vector to the nearest before it in its episode.

        Infinite where there are fewer than k. Vectors [T+1, B, d] see those of the same rollout before them, too.
        """
        used, steps = min(self.entries.shape[1], int(self.count.max())), len(vectors)
        wide = max(1, _ELEMENTS // max(1, steps * (used + steps)))
        found = [
            self._search(vectors[:, b : b + wide].transpose(0, 1), visits, slice(b, b + wide), used, k)
            for b in range(0, vectors.shape[1], wide)
        ]
        return torch.cat(found).transpose(0, 1)

    def _search(self, queries: Tensor, visits: Visits, rows: slice, used: int, k: int) -> Tensor:
        there, episode, ordinal = (x[:, rows].T for x in visits)
        count, carried = self.count[rows, None], episode == 0
        ordinal = ordinal + count * carried
        oldest = (ordinal - self.capacity).clamp(min=0)
        slot = torch.arange(used, device=queries.device)
        held = count - 1 - (count - 1 - slot) % self.capacity  # ordinals of what the ring holds; negative where nothing
        hidden = torch.empty(*episode.shape, used + len(visits.there), dtype=torch.bool, device=queries.device)
        torch.lt(held[:, None], torch.where(carried, oldest, _LATE)[..., None], out=hidden[..., :used])
        place = (episode * _LATE + ordinal).masked_fill(~there, -1)[:, None]
        since, mine = (episode * _LATE + oldest)[..., None], (episode * _LATE + ordinal)[..., None]
        torch.logical_or(place < since, place >= mine, out=hidden[..., used:])
        return nearest(queries, torch.cat([self.entries[rows, :used], queries], 1), k, hidden)[0]

    def add(self, vectors: Tensor, visits: Visits) -> None:
        """Takes in the visits of each environment's last episode, once per rollout."""
        if not len(vectors):
            return
        last = visits.episode[-1]
        self.count.masked_fill_(last > 0, 0)
        kept = visits.there & (visits.episode == last)
        ordinal = visits.ordinal + self.count
        self.count += kept.sum(0)
        room = min(self.capacity, int(self.count.max()))
        self.entries = _grown(self.entries.transpose(0, 1), room, self.capacity).transpose(0, 1)
        step, column = (kept & (ordinal >= self.count - self.capacity)).nonzero(as_tuple=True)
        self.entries[column, ordinal[step, column] % self.capacity] = vectors[step, column].to(self.entries)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *more: Any) -> None:
        _make_room(self, state, prefix)
        super()._load_from_state_dict(state, prefix, *more)


class LifelongMemory(nn.Module):
    """The last `capacity` vectors of all environments; exact search, block by block.

    A query costs O(m d) for m vectors held, and no more working memory than a block. There is no index to keep: exact
    search is what a batch of some thousand queries does in one product of matrices.

    Args:
        size: d.
        capacity: vectors; then the oldest make way.
    """

    entries: Tensor  # [m, d]
    count: Tensor  # int64: vectors so far, with those that made way

    def __init__(self, size: int, capacity: int) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"a memory holds at least one vector, got a capacity of {capacity}")
        self.capacity = capacity
        self.register_buffer("entries", torch.zeros(0, size))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return min(int(self.count), self.capacity)

    def nearest(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The nearest of queries [n, d], ascending: squared distances [n, k], and their rows of `entries` [n, k].

        Infinite, and row -1, where fewer than k are held.
        """
        held, rows = self.entries[: len(self)], 256
        long = max(k, _ELEMENTS // rows)
        found = [self._search(part, held.split(long), k) for part in queries.split(rows)]
        return torch.cat([squares for squares, _ in found]), torch.cat([index for _, index in found])

    def _search(self, queries: Tensor, blocks: tuple[Tensor, ...], k: int) -> tuple[Tensor, Tensor]:
        found = [nearest(queries[None], block[None], k) for block in blocks]
        squares = torch.cat([squares[0] for squares, _ in found], 1)
        index = torch.cat([index[0] + i * len(blocks[0]) for i, (_, index) in enumerate(found)], 1)
        if len(blocks) > 1:
            squares, order = squares.topk(k, largest=False)
            index = index.gather(1, order)
        return squares, index.masked_fill(squares.isinf(), -1)

    def add(self, vectors: Tensor) -> None:
        """Takes in vectors [n, d], the newest last."""
        vectors = vectors[-self.capacity :]
        slot = (self.count + torch.arange(len(vectors), device=vectors.device)) % self.capacity
        self.count += len(vectors)
        self.entries = _grown(self.entries, len(self), self.capacity)
        self.entries[slot] = vectors.to(self.entries)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *more: Any) -> None:
        _make_room(self, state, prefix)
        super()._load_from_state_dict(state, prefix, *more)


def nearest(queries: Tensor, held: Tensor, k: int, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The nearest of vectors [B, m, d] to queries [B, n, d], ascending: squares [B, n, k], and which they are.

    Those that are `hidden` [B, n, m] do not count; infinite where there are fewer than k. A product of matrices finds
    the candidates. Their distances are worked out anew, for the product's cancel where two vectors are close.
    """
    centre = queries.mean(1, keepdim=True)
    near, far = queries - centre, held - centre
    rough = torch.baddbmm(far.square().sum(-1)[:, None], near, far.mT, alpha=-2)  # + |query|^2, the same in its row
    if hidden is not None:
        rough.masked_fill_(hidden, torch.inf)
    kept = min(k, held.shape[1])
    best = rough.topk(kept, largest=False, sorted=False)
    picked = held.gather(1, best.indices.flatten(1)[..., None].expand(-1, -1, held.shape[2]))
    exact = (picked.unflatten(1, best.indices.shape[1:]) - queries[:, :, None]).square().sum(-1)
    exact, order = exact.masked_fill(best.values.isinf(), torch.inf).sort(-1)
    more = (0, k - kept)
    return F.pad(exact, more, value=torch.inf), F.pad(best.indices.gather(-1, order), more)


def _grown(entries: Tensor, size: int, capacity: int) -> Tensor:
    """`entries` with room for `size` rows and some to come, of no more than `capacity` in all."""
    longer = grown(entries, size)
    return longer if len(longer) <= capacity else longer[:capacity].clone()


def _make_room(memory: EpisodicMemory | LifelongMemory, state: dict[str, Any], prefix: str) -> None:
    """A saved memory may be longer or shorter than this one."""
    if (saved := state.get(f"{prefix}entries")) is not None and saved.ndim == memory.entries.ndim:
        dim = saved.ndim - 2
        shape = [*memory.entries.shape[:dim], saved.shape[dim], memory.entries.shape[-1]]
        memory.entries = memory.entries.new_zeros(shape)
