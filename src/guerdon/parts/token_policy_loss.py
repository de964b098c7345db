"""Policy-gradient losses of token policies: ratio level, clipping, aggregation, and where KL enters, each on its own.

Advantages come from elsewhere (`group_advantages`, `token_returns`, the credits). Known recipes of `PolicyLoss`:

| recipe | keywords |
|---|---|
| PPO, GRPO in verl | clip_high=0.2, dual_clip=3.0 |
| GRPO as published | clip_high=0.2, dual_clip=None, aggregation="seq-mean-token-mean", beta=0.04, kl_correct=False |
| Dr.GRPO | clip_high=0.2, dual_clip=None, aggregation="seq-mean-token-sum-norm" |
| DAPO, the default | |
| GSPO (clips reconstructed) | level="sequence", clip_low=3e-4, clip_high=4e-4, aggregation="seq-mean-token-mean" |
| CISPO | surrogate="cispo" |
| Clip-Cov | clip_high=0.2, dual_clip=None, cov_share=2e-4 |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from guerdon.parts.kl import Kind, kl_estimate

Aggregation = Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]


def log_ratios(
    log_prob: Tensor, old_log_prob: Tensor, mask: Tensor, *, level: Literal["token", "sequence"] = "token"
) -> Tensor:
    """Log rho of every token, [N, L], held within +-20; 0 where `mask` is False.

    "token": log_prob - old_log_prob. "sequence" (GSPO, Zheng et al., 2025): the mean of these over the row's T tokens,
    in the form sg[mean] + log_prob - sg[log_prob], whose gradient reaches each token once: aggregated by
    "seq-mean-token-mean" it is the gradient of the sequence objective.
    """
    ratio = torch.where(mask, log_prob - old_log_prob, 0.0)
    if level == "sequence":
        mean = ratio.detach().sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
        ratio = torch.where(mask, mean + log_prob - log_prob.detach(), 0.0)
    elif level != "token":
        raise ValueError(f"a ratio's level is 'token' or 'sequence', not {level!r}")
    return ratio.clamp(-20.0, 20.0)


def aggregate(
    loss: Tensor,
    mask: Tensor,
    how: Aggregation = "token-mean",
    *,
    global_tokens: float | None = None,
    global_rows: float | None = None,
    horizon: int | None = None,
) -> Tensor:
    """One number from the losses of tokens, [N, L] -> []; 0 with a graph where nothing is in the mask.

    | how | formula, l_i a row's T_i tokens |
    |---|---|
    | token-mean | sum l / tokens (DAPO; TRL "dapo" and "bnpo") |
    | seq-mean-token-mean | sum_i (sum l_i / T_i) / rows (GRPO as published; GSPO) |
    | seq-mean-token-sum | sum_i (sum l_i) / rows (REINFORCE, RLOO) |
    | seq-mean-token-sum-norm | that / horizon (Dr.GRPO) |

    Rows without a token are no rows. A batch in pieces: give every piece the whole batch's `global_tokens` and
    `global_rows`, and add the pieces' losses up; the sum is the loss of the batch in one piece. `horizon` is the
    longest answer allowed, by default L: set it where L varies.
    """
    kept = torch.where(mask, loss, 0.0)
    lengths = mask.sum(1)
    tokens = lengths.sum() if global_tokens is None else torch.as_tensor(global_tokens, device=loss.device)
    rows = (lengths > 0).sum() if global_rows is None else torch.as_tensor(global_rows, device=loss.device)
    if how == "token-mean":
        return kept.sum() / tokens.clamp(min=1)
    if how == "seq-mean-token-mean":
        return (kept.sum(1) / lengths.clamp(min=1)).sum() / rows.clamp(min=1)
    if how == "seq-mean-token-sum":
        return kept.sum() / rows.clamp(min=1)
    if how == "seq-mean-token-sum-norm":
        return kept.sum() / rows.clamp(min=1) / max(1, mask.shape[1] if horizon is None else horizon)
    raise ValueError(f"no aggregation is called {how!r}")


def covariance_drop(
    log_prob: Tensor, advantage: Tensor, mask: Tensor, clipped: Tensor, *, share: float, low: float, high: float,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """[N, L] bool: tokens whose loss Clip-Cov drops (Cui et al., 2025, https://arxiv.org/abs/2505.22617).

    cov_t = (A_t - mean A) (log_prob_t - mean log_prob) over the mask. Of the tokens with low < cov_t < high that are
    not `clipped` already, max(1, floor(share * tokens)) are drawn with `generator`, or all if there are fewer.
    """
    tokens = mask.sum().clamp(min=1)
    log_prob = log_prob.detach()
    centred = [x - torch.where(mask, x, 0.0).sum() / tokens for x in (advantage, log_prob)]
    cov = centred[0] * centred[1]
    found = ((cov > low) & (cov < high) & mask & ~clipped).nonzero()
    device = found.device if generator is None else generator.device
    order = torch.randperm(len(found), generator=generator, device=device).to(found.device)
    rows, places = found[order[: max(1, int(share * int(mask.sum())))]].unbind(1)
    dropped = torch.zeros_like(mask)
    dropped[rows, places] = True
    return dropped


@dataclass(frozen=True, kw_only=True)
class PolicyLoss:
    """The loss of a token policy; to be minimised. The defaults are the library's: DAPO's clips, token-mean, no KL.

    With rho = exp(log ratio):
        "clip":  l = -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A); where A < 0, at most -dual_clip A
                 (dual clip, Ye et al., 2020); rho in the first term at most `max_ratio` (TRL's "delta")
        "cispo": l = -sg[min(rho, 1 + clip_high)] A log_prob (MiniMax, 2025)
        "none":  l = -rho A
    then l + beta * KL, then `aggregate`. Masked entries may hold anything.
    """

    level: Literal["token", "sequence"] = "token"
    surrogate: Literal["clip", "cispo", "none"] = "clip"
    clip_low: float = 0.2
    clip_high: float = 0.28
    dual_clip: float | None = 10.0
    max_ratio: float | None = None
    cov_share: float = 0.0  # Clip-Cov: of the tokens, so many lose their loss; 0 is off. 2e-4 in verl, 0.02 in SPEAR
    cov_low: float = 1.0
    cov_high: float = 5.0
    aggregation: Aggregation = "token-mean"
    horizon: int | None = None  # of "seq-mean-token-sum-norm"
    beta: float = 0.0  # of the KL to the reference
    kl: Kind = "k3"
    kl_clamp: float | None = None
    kl_correct: bool = True  # weigh the KL by rho: then every kind has the gradient of KL(policy || reference)

    def __post_init__(self) -> None:
        if self.dual_clip is not None and self.dual_clip <= 1.0:
            raise ValueError(f"dual_clip must be greater than 1, got {self.dual_clip}; None turns it off")
        if not (0 <= self.clip_low <= 1 and self.clip_high >= 0 and 0 <= self.cov_share <= 1):
            raise ValueError(f"clip_low and cov_share lie in 0..1 and clip_high is not negative, got {self}")
        if self.surrogate not in ("clip", "cispo", "none"):
            raise ValueError(f"no surrogate is called {self.surrogate!r}")

    def __call__(
        self,
        log_prob: Tensor,
        old_log_prob: Tensor | None,
        advantage: Tensor,
        mask: Tensor,
        *,
        ref_log_prob: Tensor | None = None,
        global_tokens: float | None = None,
        global_rows: float | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss [] and metrics of one batch, or of one piece of it (see `aggregate`).

        Args:
            log_prob: [N, L] of the policy that learns; it carries the gradient.
            old_log_prob: [N, L] of the policy that sampled; None where that is the same one.
            advantage: [N, L].
            mask: [N, L], True on the policy's tokens.
            ref_log_prob: [N, L] of the reference; needed where beta is not 0.
            global_tokens: tokens of the whole batch, where this is a piece of it.
            global_rows: rows with a token of the whole batch, likewise.
            generator: draws the tokens of Clip-Cov.

        Returns:
            The loss, and means over the tokens of the mask: "ratio"; "clip_fraction" (tokens whose gradient the clip
            takes away or, in CISPO, whose ratio is cut), "clip_low", "clip_high"; "dual_clip_fraction";
            "cov_fraction"; "old_kl" (of -log ratio, per token) and "ref_kl" where a reference is given.

        Raises:
            ValueError: wrong shapes, a log-probability or advantage that is not finite, or no reference.
        """
        mask = mask.bool()
        old_log_prob = log_prob.detach() if old_log_prob is None else old_log_prob
        given = {"log_prob": log_prob, "old_log_prob": old_log_prob, "advantage": advantage}
        if ref_log_prob is not None:
            given["ref_log_prob"] = ref_log_prob
        elif self.beta != 0:
            raise ValueError(f"beta={self.beta} weighs the KL to a reference: pass ref_log_prob, or set beta=0")
        log_prob, old_log_prob, advantage, *reference = _inside(given, mask)

        log_ratio = log_ratios(log_prob, old_log_prob, mask, level=self.level)
        ratio = log_ratio.exp()
        held = ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high)
        too_low, too_high = (ratio < held) & (advantage < 0), (ratio > held) & (advantage > 0)
        dual = torch.zeros_like(mask)
        if self.surrogate == "cispo":
            held = ratio.clamp(max=1.0 + self.clip_high)
            loss, too_low, too_high = -held.detach() * advantage * log_prob, dual, ratio > held
        elif self.surrogate == "clip":
            free = ratio if self.max_ratio is None else ratio.clamp(max=self.max_ratio)
            loss = -torch.min(free * advantage, held * advantage)
            if self.dual_clip is not None:
                bound = -self.dual_clip * advantage
                dual = (advantage < 0) & (loss > bound)
                loss = torch.where(dual, bound, loss)
        else:
            loss, too_low, too_high = -ratio * advantage, dual, dual

        clipped, dropped = too_low | too_high, torch.zeros_like(mask)
        if self.cov_share:
            dropped = covariance_drop(
                log_prob, advantage, mask, clipped,
                share=self.cov_share, low=self.cov_low, high=self.cov_high, generator=generator,
            )  # fmt: skip
            loss = torch.where(dropped, 0.0, loss)

        seen = {
            "ratio": ratio, "clip_fraction": clipped, "clip_low": too_low, "clip_high": too_high,
            "dual_clip_fraction": dual, "cov_fraction": dropped, "old_kl": old_log_prob - log_prob,
        }  # fmt: skip
        if reference:
            kl = kl_estimate(log_prob, reference[0], self.kl, clamp=self.kl_clamp)
            if self.kl_correct:  # k2 and the straight-through kinds have the right gradient without that of rho
                kl = kl * (ratio if self.kl in ("k1", "k3") else ratio.detach())
            seen["ref_kl"] = kl
            if self.beta != 0:
                loss = loss + self.beta * kl
        total = aggregate(
            loss, mask, self.aggregation, global_tokens=global_tokens, global_rows=global_rows, horizon=self.horizon
        )
        means = torch.stack([aggregate(value.detach().to(loss.dtype), mask) for value in seen.values()])
        return total, dict(zip(seen, means.tolist(), strict=True))


def _inside(given: dict[str, Tensor], mask: Tensor) -> list[Tensor]:
    """The tensors with 0 outside the mask; raises ValueError for one of another shape, or not finite inside it."""
    if mask.ndim != 2:
        raise ValueError(f"the policy loss needs a mask [N, L], got {list(mask.shape)}")
    for name, value in given.items():
        if value.shape != mask.shape:
            raise ValueError(f"{name} must have shape {list(mask.shape)} as the mask, got {list(value.shape)}")
        if not bool((value.detach().isfinite() | ~mask).all()):
            raise ValueError(f"{name} is NaN or infinite on a token of the mask")
    return [torch.where(mask, value, 0.0) for value in given.values()]
