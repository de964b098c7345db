"""A reward r(x, z) of a latent z that stands for the user, and the belief of z that a user's pairs lead to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from guerdon.models.reward_head import RewardHead
from guerdon.models.set_encoder import ConcatenatedEncoder, SetEncoder
from guerdon.parts.pair_loss import PREFERENCE
from guerdon.types import FIRST, SECOND, TIE, Completions, Rollout

Kind = Literal["set", "concatenated"]
Scale = Literal["none", "max", "std", "spo"]
AT_ONCE = 2**16
"""Comparisons that go through the network together: 64 MB at 256 units."""


class Seen(NamedTuple):
    """N segments or answers as an encoder saw them."""

    x: Tensor  # [T, N, D], 0 where not valid; T = 1 for answers
    valid: Tensor  # bool [T, N]

    @property
    def mean(self) -> Tensor:
        """[N, D] over valid steps."""
        return self.x.sum(0) / self.valid.sum(0).clamp(min=1)[:, None]

    def at(self, index: Tensor) -> Seen:
        """Those that `index` picks."""
        return Seen(self.x[:, index], self.valid[:, index])


def see(encoder: nn.Module, side: Completions | Rollout, reader: str) -> Seen:
    """Segments or answers through an encoder. Raises ValueError for NaN and infinities."""
    x = encoder(side)
    if isinstance(side, Rollout):
        valid = side.valid.bool().to(x.device)
    else:
        x, valid = x[None], torch.ones(1, len(x), dtype=torch.bool, device=x.device)
    if not bool(x[valid].isfinite().all()):
        raise ValueError(f"{reader}: an embedding is NaN or infinite; look at what the encoder was given")
    return Seen(torch.where(valid[..., None], x, 0.0), valid)


def second_better(label: Tensor) -> Tensor:
    """The chance that the second is better, as labelled: FIRST, SECOND or TIE [...] to float [...]."""
    return torch.tensor([PREFERENCE[outcome] for outcome in (FIRST, SECOND, TIE)], device=label.device)[label]


class LatentReward(nn.Module):
    """Encoder of a user's pairs, prior and reward; see `VPL` for what they mean.

    Args:
        size: D of the features of a step or an answer.
        latent: Z.
        hidden: widths of the layers of both networks.
        kind, pairs: "set", or "concatenated" for exactly so many pairs of a user.
        learned_prior: mean and variances of the prior are parameters; else N(0, 1).
        sphere: z is brought to length sqrt Z.
        scale: how values are made comparable between users.
        comparisons: size of the set of features that this is done over.
    """

    reference: Tensor  # [comparisons, D]; NaN before `keep`

    def __init__(
        self, size: int, latent: int, *, hidden: Sequence[int], kind: Kind, pairs: int, learned_prior: bool,
        sphere: bool, scale: Scale, comparisons: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.latent, self.sphere, self.scale = latent, sphere, scale
        self.who = (
            SetEncoder(size, latent, hidden=hidden)
            if kind == "set"
            else ConcatenatedEncoder(size, latent, pairs=pairs, hidden=hidden)
        )
        self.head = RewardHead(size * (2 if scale == "spo" else 1) + latent, hidden=hidden)
        self.prior_mu = nn.Parameter(torch.zeros(latent), requires_grad=learned_prior)
        self.prior_log_var = nn.Parameter(torch.zeros(latent), requires_grad=learned_prior)
        self.register_buffer("reference", torch.full((comparisons, size), math.nan))

    def belief(self, first: Tensor, second: Tensor, q: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [B, Z], from the pairs [B, N, D] of `mask`; the prior where there are none."""
        known = mask.any(1, keepdim=True)
        if not bool(known.any()):
            return self.prior_mu.expand(len(mask), -1), self.prior_log_var.expand(len(mask), -1)
        mu, log_var = self.who(first, second, q, mask)
        return torch.where(known, mu, self.prior_mu), torch.where(known, log_var, self.prior_log_var)

    def values(self, first: Seen, second: Seen, z: Tensor) -> tuple[Tensor, Tensor]:
        """Values [N] of both sides for z [N, Z]; their difference says which is better."""
        z = self.placed(z)
        if self.scale == "spo":
            a, b = first.mean, second.mean
            return self.head(torch.cat([a, b, z], -1)), self.head(torch.cat([b, a, z], -1))
        each = [(self.head(torch.cat([s.x, z.expand(len(s.x), -1, -1)], -1)) * s.valid).sum(0) for s in (first, second)]
        return each[0], each[1]

    def scores(self, x: Tensor, z: Tensor) -> Tensor:
        """Scores [M, n] of features [n, D] for z [M, Z], on the scale of this reward."""
        z = self.placed(z)
        if self.scale == "none":
            return self._plain(x, z)
        if self.scale == "spo":
            at_once = max(1, AT_ONCE // (len(z) * len(self.reference)))
            parts = [self._better(part, z).sigmoid().mean(-1) for part in x.split(at_once)]
            return torch.cat(parts, 1) if parts else x.new_zeros(len(z), 0)
        known = self._plain(self.reference, z)
        over = known.abs().amax(1, keepdim=True) if self.scale == "max" else known.std(1, keepdim=True)
        return self._plain(x, z) / over.clamp(min=1e-8)

    @torch.no_grad()
    def keep(self, x: Tensor, rng: torch.Generator) -> None:
        """Draws the set to compare with from features [n, D]."""
        n = len(self.reference)
        order = torch.randperm(len(x), generator=rng)[:n]
        more = torch.randint(len(x), (n - len(order),), generator=rng)
        self.reference.copy_(x[torch.cat([order, more])])

    def placed(self, z: Tensor) -> Tensor:
        """z, on the sphere if that is where it lives."""
        return z * (math.sqrt(self.latent) / z.norm(dim=-1, keepdim=True).clamp(min=1e-8)) if self.sphere else z

    def _plain(self, x: Tensor, z: Tensor) -> Tensor:
        return self.head(torch.cat([x.expand(len(z), -1, -1), z[:, None].expand(-1, len(x), -1)], -1))

    def _better(self, x: Tensor, z: Tensor) -> Tensor:
        """Log-odds [M, n, C] that x [n, D] is better than those of the set, for z [M, Z]."""
        shape = (len(z), len(x), len(self.reference), -1)
        a, b, c = x[None, :, None].expand(shape), self.reference.expand(shape), z[:, None, None].expand(shape)
        return self.head(torch.cat([a, b, c], -1)) - self.head(torch.cat([b, a, c], -1))
