"""How far a vector points where an episode has not been: the elliptical bonus."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guerdon.parts.episodes import Visits

_BLOCK = 128  # steps taken at a time
_LONGEST = 1e12  # of a bonus: beyond it, float64 leaves fewer than four digits to a bonus of 1


class EllipticalMemory(nn.Module):
    """The inverse covariance of each environment's running episode, C = ridge I + sum of x x^T over its vectors x.

    The bonus of x_t is ``x_t^T C_{t-1}^-1 x_t``, C_{t-1} of the vectors before it. With H the vectors of a block of
    steps as rows, it is the square of the t-th pivot of the Cholesky factor of ``I + H C^-1 H^T``, less 1, and the
    block's change of C^-1 is a product of triangular solves: the Sherman-Morrison steps of the whole block at once, in
    float64. Cost O(d^2) a step.

    Args:
        num_envs: B.
        size: d.
        ridge: lambda, above 0.
    """

    inverse: Tensor  # [B, d, d] float64

    def __init__(self, num_envs: int, size: int, ridge: float) -> None:
        super().__init__()
        if not ridge > 0:
            raise ValueError(f"the ridge must be above 0, got {ridge}")
        self.ridge = ridge
        self.register_buffer("inverse", (torch.eye(size, dtype=torch.float64) / ridge).repeat(num_envs, 1, 1))

    def walk(self, vectors: Tensor, visits: Visits) -> tuple[Tensor, Tensor]:
        """The bonus of each visit, float32 [T+1, B] (0 where there is none), and C^-1 after the rollout.

        Raises FloatingPointError for NaN, and for vectors so long, beside the ridge, that float64 has no digits left.
        """
        if not len(vectors):
            return vectors[..., 0].float(), self.inverse
        x = (vectors * visits.there[..., None]).transpose(0, 1).contiguous().double()
        episode, inverse, running = visits.episode.T, self.inverse, torch.zeros_like(visits.episode[:1]).T
        bonus, blocks = [], -(-len(vectors) // (_BLOCK + 1))  # a rollout of _BLOCK steps shows one observation more
        for rows, numbers in zip(x.tensor_split(blocks, 1), episode.tensor_split(blocks, 1), strict=True):
            part, inverse = self._block(rows, numbers, running, inverse)
            bonus.append(part)
            running = numbers[:, -1:]
        return torch.cat(bonus, 1).T.float(), inverse

    def _block(self, x: Tensor, episode: Tensor, running: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        onward, last = (episode == running)[..., None], episode[:, -1:]
        scaled = torch.where(onward, x @ inverse, x / self.ridge)  # rows of H C^-1, C of the row's own episode
        gram = (scaled @ x.mT).masked_fill(episode[:, :, None] != episode[:, None], 0.0)
        gram.diagonal(dim1=1, dim2=2).add_(1.0)
        if not float(gram.diagonal(dim1=1, dim2=2).max()) <= _LONGEST:
            longest = float(x.norm(dim=-1).max())
            raise FloatingPointError(f"vectors of length {longest:.3g} are too long beside a ridge of {self.ridge:g}")
        factor = torch.linalg.cholesky(gram)
        bonus = (factor.diagonal(dim1=1, dim2=2).square() - 1).clamp(min=0)
        known = torch.linalg.solve_triangular(factor, scaled * (episode == last)[..., None], upper=False)
        fresh = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) / self.ridge
        return bonus, torch.where((last == running)[..., None], inverse, fresh) - known.mT @ known
