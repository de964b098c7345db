"""Learning from stored answers whose sampling probabilities nobody kept: log-likelihood, weighted by the advantage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.parts.token_policy_loss import Aggregation, aggregate


@dataclass(frozen=True, kw_only=True)
class AdvantageWeightedLoss:
    """l = -max(A, least) log pi(a|s) of every token, aggregated; to be minimised. Called as `PolicyLoss` is.

    Good answers are imitated in proportion to their advantage. With `least` 0 bad ones are left alone, since nothing
    would bound how far off-policy gradients push them down; None keeps them. Where the behaviour policy's
    log-probabilities are stored, `PolicyLoss(clip_high=0.2, beta=0.04, kl="k3")` with them as old and as reference
    log-probabilities is offline GRPO, and is to be preferred (Nous, 2025; this fallback is our choice).
    """

    least: float | None = 0.0
    aggregation: Aggregation = "token-mean"

    def __call__(
        self,
        log_prob: Tensor,
        old_log_prob: Tensor | None,
        advantage: Tensor,
        mask: Tensor,
        *,
        global_tokens: float | None = None,
        global_rows: float | None = None,
        **_: Any,
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss [] of [N, L] log-probabilities and advantages, and the share of tokens that is imitated.

        Raises ValueError for shapes that differ, or an advantage within the mask that is not finite.
        """
        if not log_prob.shape == advantage.shape == mask.shape or log_prob.ndim != 2:
            shapes = [list(x.shape) for x in (log_prob, advantage, mask)]
            raise ValueError(f"log_prob, advantage and mask must all be [N, L], got {shapes}")
        mask = mask.bool()
        weight = torch.where(mask, advantage, 0.0).detach()
        if not bool(weight.isfinite().all()):
            raise ValueError("AdvantageWeightedLoss met an advantage that is NaN or infinite")
        weight = weight if self.least is None else torch.where(mask, weight.clamp(min=self.least), 0.0)
        loss = aggregate(
            -weight * torch.where(mask, log_prob, 0.0), mask, self.aggregation,
            global_tokens=global_tokens, global_rows=global_rows,
        )  # fmt: skip
        return loss, {"imitated": float(aggregate((weight > 0).float(), mask))}
