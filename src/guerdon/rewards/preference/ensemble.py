"""Several reward models as one."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.types import About, Completions, Experience, Labels, Pairs, Reward, Rollout, Spec

RULES = ("mean", "standardised", "vote")
POISSON = np.cumsum([np.exp(-1.0) / np.prod(np.arange(1, k + 1)) for k in range(8)])  # of how often a row is drawn


class Ensemble(Reward):
    """What several reward models say together.

    - "mean": their mean score. One of a wider scale than the others has its way.
    - "standardised": the mean of (r_m - mean_m) / std_m, with the moments of each model's scores on the answers that it
      last learned from, or on those that `calibrate` was handed [reconstructed: the paper says that scales must be made
      equal, not how].
    - "vote": the share of (other answer of the same group, model) that an answer beats, a tie counting half: 0..1. It
      needs groups, and so text.

    With `squash` the score is sigmoid of that, in 0..1, which can stand beside a rule's 0 or 1:
    ``MathVerify() + Ensemble(rewards=[...], rule="standardised", squash=True)`` is BaseReward's rule + model [form and
    weight reconstructed]. Float32, [N] for Completions, [T, B] for a Rollout; else unbounded. `members` gives each
    model's own scores, [M, N] or [M, T, B].

    Each member begins with other weights. With `bootstrap` it also learns from other pairs: each counts for it as often
    as Poisson(1) says, the same in every pass for pairs with a "where" in their columns (files have one).

    BaseReward: A Strong Baseline for Multimodal Reward Model, 2025.

    Args:
        rewards: the models, or what they are copies of.
        copies: of each.
        rule: "mean", "standardised" or "vote".
        squash: see above.
        bootstrap: see above.
    """

    about: ClassVar[About] = About(
        rewards="what several reward models prefer together",
        paper="BaseReward: A Strong Baseline for Multimodal Reward Model (2025)",
        link="https://arxiv.org/abs/2509.16127",
        claim="basereward",
        scores="any",
        example="Ensemble(rewards=[BradleyTerry()], copies=3, rule='standardised')",
    )

    mean: Tensor  # [M]
    std: Tensor  # [M]

    def __init__(
        self, *, rewards: Sequence[Reward], copies: int = 1, rule: str = "mean", squash: bool = False,
        bootstrap: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if rule not in RULES:
            raise ValueError(f"an Ensemble's rule is one of {', '.join(RULES)}, not {rule!r}")
        if not rewards or copies < 1:
            raise ValueError("an Ensemble needs at least one reward and one copy of each")
        self.rewards = nn.ModuleList(rewards)
        self.copies, self.rule, self.squash, self.bootstrap = copies, rule, squash, bootstrap

    def config(self) -> dict[str, Any]:
        return super().config() | {"rewards": list(self.rewards)[: self._given]}

    @property
    def _given(self) -> int:
        """Of `rewards`, how many were handed in; the others are copies."""
        return len(self.rewards) // (self.copies if "mean" in self._buffers else 1)

    @property
    def parts(self) -> list[Reward]:
        return list(self.rewards)  # type: ignore[arg-type]

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        given = self.parts
        for _ in range(self.copies - 1):
            self.rewards.extend(copy.deepcopy(given))
        for part in self.parts:  # one after the other, so that each draws weights of its own
            part.build(spec, device=device, generator=generator)
        self.register_buffer("mean", torch.zeros(len(self.parts), device=device))
        self.register_buffer("std", torch.ones(len(self.parts), device=device))

    def members(self, experience: Experience) -> Tensor:
        """What each model says: [M, N] of Completions, [M, T, B] of a Rollout."""
        return torch.stack([part.evaluate(experience).value for part in self.parts])

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        scores = self.members(experience)
        if self.rule == "vote":
            value = self._votes(scores, experience)
        elif self.rule == "standardised":
            shape = (-1,) + (1,) * (scores.ndim - 1)
            value = ((scores - self.mean.view(shape)) / self.std.view(shape)).mean(0)
        else:
            value = scores.mean(0)
        return value.sigmoid() if self.squash else value

    def _votes(self, scores: Tensor, experience: Experience) -> Tensor:
        if not isinstance(experience, Completions) or experience.group is None:
            raise ValueError(f"{self.name} lets its models vote between answers of a group, and there are no groups")
        lead = scores[:, :, None] - scores[:, None, :]  # [M, N, N]
        beaten = (lead.sign() / 2 + 0.5).masked_fill(lead.isnan(), torch.nan)
        group = experience.group.to(scores.device)
        others = (group[:, None] == group[None, :]) & ~torch.eye(len(group), dtype=torch.bool, device=scores.device)
        count = others.sum(1)
        return torch.where(count > 0, beaten.mean(0).where(others, 0.0).sum(1) / count.clamp(min=1), 0.5)

    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Teaches every member; the mean of what they log, by name."""
        weighted = [self._drawn(experience, m) if isinstance(experience, Pairs) else experience for m in range(self._m)]
        logs = [p.update(e) for p, e in zip(self.parts, weighted, strict=True) if e is not None]
        if isinstance(experience, Pairs) and not isinstance(experience.first, list) and self.rule == "standardised":
            self.calibrate(experience)
        found: dict[str, list[float]] = {}
        for log in logs:
            for key, value in log.items():
                found.setdefault(key, []).append(value)
        return {key: float(np.mean(values)) for key, values in found.items()}

    @property
    def _m(self) -> int:
        return len(self.parts)

    @torch.no_grad()
    def calibrate(self, pairs: Pairs) -> None:
        """Takes mean and deviation of each member's scores on both sides of `pairs`, for "standardised"."""
        flat = torch.cat([self._flat(side) for side in (pairs.first, pairs.second)], 1)
        self.mean.copy_(flat.mean(1))
        std = flat.std(1, correction=0)
        self.std.copy_(torch.where(std > 1e-8, std, 1.0))

    def _flat(self, side: Completions | Rollout) -> Tensor:
        scores = self.members(side)
        return scores[:, side.valid.bool()] if isinstance(side, Rollout) else scores.flatten(1)

    def _drawn(self, pairs: Pairs, member: int) -> Pairs | None:
        """The pairs with the weights that they have for this member; None if it drew none of them."""
        if not self.bootstrap or len(self.parts) == 1:
            return pairs
        n = len(pairs.label)
        where = (pairs.columns or {}).get("where") or [f"{i} of {n}" for i in range(n)]
        u = np.array([zlib.crc32(f"{member}/{w}".encode()) / 2**32 for w in where])
        times = torch.from_numpy(np.searchsorted(POISSON, u, side="right")).to(pairs.label.device).float()
        if not bool(times.any()):
            return None
        weight = times if pairs.weight is None else times * pairs.weight
        return Pairs(first=pairs.first, second=pairs.second, label=pairs.label, weight=weight, columns=pairs.columns)
