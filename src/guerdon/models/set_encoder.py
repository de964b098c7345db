"""From a user's labelled pairs to a Gaussian over what kind of user that is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SetEncoder(nn.Module):
    """N compared pairs of one user, in any order and number, to mean and log-variance of z.

    With g(preferred, other) an MLP to Z numbers and q the chance that the second is better, a pair is
    h = q g(b, a) + (1 - q) g(a, b): exactly what (b, a, 1 - q) is, and a tie is both halves. The pairs look at each
    other (one attention head, scale sqrt Z), and their mean and log(1 + N) go through two linear layers. The language
    version of Poddar et al. (2024); labels, symmetry and the count, without which a mean cannot tell how much was seen,
    are ours. A row without any pair gives what the biases give; use the prior there.

    Args:
        size: D of an embedding.
        latent: Z.
        hidden: widths of g.
    """

    def __init__(self, size: int, latent: int, *, hidden: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        self.pair = layers([2 * size, *hidden, latent])
        self.look = nn.Linear(latent, 3 * latent)
        self.mu = nn.Linear(latent + 1, latent)
        self.log_var = nn.Linear(latent + 1, latent)

    def forward(self, first: Tensor, second: Tensor, q: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, D] embeddings of both sides, [B, N] q and which pairs there are; [B, Z] mean and log-variance."""
        q = q[..., None]
        h = q * self.pair(torch.cat([second, first], -1)) + (1 - q) * self.pair(torch.cat([first, second], -1))
        asked, offered, said = self.look(h).chunk(3, -1)
        weight = asked @ offered.mT / math.sqrt(h.shape[-1])
        weight = weight.masked_fill(~mask[:, None, :], torch.finfo(h.dtype).min).softmax(-1)
        h = (h + weight @ said) * mask[..., None]
        count = mask.sum(1, keepdim=True)
        pooled = torch.cat([h.sum(1) / count.clamp(min=1), count.to(h).log1p()], -1)
        return self.mu(pooled), self.log_var(pooled).clamp(-10.0, 10.0)


class ConcatenatedEncoder(nn.Module):
    """The same for exactly N pairs, one after the other: an MLP on [a_1, b_1, y_1, a_2, ...], y = 1 - q.

    The control version of the paper's code, three layers of LeakyReLU 0.2: the order of the pairs matters.
    """

    def __init__(self, size: int, latent: int, *, pairs: int, hidden: Sequence[int] = (256, 256, 256)) -> None:
        super().__init__()
        self.pairs = pairs
        self.net = layers([pairs * (2 * size + 1), *hidden, 2 * latent])

    def forward(self, first: Tensor, second: Tensor, q: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `SetEncoder`. Raises ValueError for another number of pairs."""
        if mask.shape[1] != self.pairs or not bool(mask.all()):
            raise ValueError(f"a concatenated encoder reads {self.pairs} pairs of each user, got "
                             f"{sorted(set(mask.sum(1).tolist()))}; the set encoder reads any number")  # fmt: skip
        x = torch.cat([first, second, 1 - q[..., None]], -1).flatten(1)
        mu, log_var = self.net(x).chunk(2, -1)
        return mu, log_var.clamp(-10.0, 10.0)


def layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths with LeakyReLU 0.2 between them."""
    made: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        made += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*made[:-1])
