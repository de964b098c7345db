"""Advantages by comparison with the other answers to the same prompt: GRPO and its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.group_advantages import (
    Baseline,
    Singleton,
    Spread,
    group_advantages,
    normalise_then_sum,
    on_tokens,
    row_rewards,
)
from guerdon.parts.token_returns import token_returns, whiten
from guerdon.types import About, Completions, Scored


@dataclass(frozen=True, kw_only=True)
class GroupAdvantage:
    """[N, L]: what each answer got more than its baseline, over its spread, on all of its tokens.

    `baseline` and `spread` choose the estimator (see `guerdon.parts.group_advantages` for the table of GRPO, Dr.GRPO,
    RLOO, ...); with spread "tokens" the advantages are whitened over the batch's tokens (REINFORCE++-baseline). The
    defaults are the library's: group mean, divided by the group's deviation unless rewards are two-valued and groups
    have at most 8 members.

    Rewards of tokens or steps [N, L] are summed per answer; an answer with an unscored (NaN) token is unscored. With
    `token_returns` every token gets its own discounted reward-to-go instead, and baseline and spread are those of all
    tokens of the group, or of the batch: baseline "none" and spread "tokens" are REINFORCE++.

    With `per_term` every term of the reward is normalised in its groups by itself; their weighted sum is normalised
    over the batch (GDPO; TRL's "normalize_then_sum"), or over its tokens with spread "tokens" (as verl does).

    Unscored answers are left out of every statistic and get 0.
    """

    about: ClassVar[About] = About(
        rewards="an answer against the others to its prompt: GRPO, Dr.GRPO, RLOO, REINFORCE++",
        paper="DeepSeekMath: Pushing the Limits of Mathematical Reasoning (Shao et al., 2024)",
        link="https://arxiv.org/abs/2402.03300",
        scores="Completions",
        claim="grpo_family",
    )

    baseline: Baseline = "group"
    spread: Spread | Literal["tokens"] = "auto"
    eps: float = 1e-6
    singleton: Singleton = "raise"
    per_term: bool = False
    weights: Mapping[str, float] | None = None  # of terms, by name; 1 where a name is missing
    token_returns: bool = False
    gamma: float = 1.0  # of token_returns

    def __post_init__(self) -> None:
        if self.weights is not None and not self.per_term:
            raise ValueError("weights belong to per_term=True; else write them in the reward: 0.5 * A() + B()")
        if self.token_returns and (self.per_term or self.baseline == "leave-one-out"):
            raise ValueError("token_returns goes neither with per_term nor with a leave-one-out baseline")
        if self.token_returns and self.singleton != "raise":
            raise ValueError("token_returns needs singleton='raise', or baseline='none' with spread='tokens'")
        if self.per_term and self.baseline != "group":
            raise ValueError("per_term normalises each term by its group's mean: leave baseline='group'")

    def __call__(self, completions: Completions, scored: Scored) -> Tensor:
        """Raises ValueError for groups that are missing or of one answer, and for wrong shapes."""
        mask = completions.mask.bool()
        if self.token_returns:
            return self._of_tokens(completions, scored.value, mask)
        if self.per_term:
            advantage = self._of_terms(completions, scored)
        else:
            total = row_rewards(scored.value, mask)
            spread = "none" if self.spread == "tokens" else self.spread
            advantage = group_advantages(
                total, completions.group, baseline=self.baseline, spread=spread, eps=self.eps, singleton=self.singleton
            )
            advantage = advantage.masked_fill(total.isnan(), torch.nan)
        return self._finish(on_tokens(advantage, mask), mask)

    def _of_terms(self, completions: Completions, scored: Scored) -> Tensor:
        weights = self.weights or {}
        if unknown := set(weights) - set(scored.terms):
            raise ValueError(f"weights name {sorted(unknown)}; the reward's terms are {sorted(scored.terms)}")
        if completions.group is None:
            raise ValueError("per_term compares answers within groups, and these completions have none")
        rewards = torch.stack([row_rewards(term, completions.mask.bool()) for term in scored.terms.values()], 1)
        spread = "group" if self.spread == "tokens" else self.spread
        advantage = normalise_then_sum(
            rewards, completions.group, [weights.get(name, 1.0) for name in scored.terms],
            spread=spread, eps=self.eps, singleton=self.singleton, over_batch=self.spread != "tokens",
        )  # fmt: skip
        return advantage.masked_fill(rewards.isnan().all(1), torch.nan)

    def _of_tokens(self, completions: Completions, value: Tensor, mask: Tensor) -> Tensor:
        if value.ndim == 1:
            value = torch.where(completions.ends(), value[:, None], 0.0)
        unscored = row_rewards(value, mask).isnan()
        returns = token_returns(value.masked_fill(unscored[:, None], 0.0), mask, gamma=self.gamma)
        inside = mask & ~unscored[:, None]
        spread = "none" if self.spread == "tokens" else self.spread
        how: dict[str, Any] = {"baseline": self.baseline, "spread": spread}
        group_advantages(value.new_zeros(len(value)), completions.group, **how)  # raises for a group of one answer
        group = None if completions.group is None else completions.group[:, None].expand_as(mask)[inside]
        advantage = torch.full_like(returns, torch.nan)
        advantage[inside] = group_advantages(returns[inside], group, **how, eps=self.eps, singleton="zero")
        return self._finish(advantage, mask)

    def _finish(self, advantage: Tensor, mask: Tensor) -> Tensor:
        """Whitened over scored tokens where asked for; unscored rows, NaN until here, become 0."""
        scored = mask & ~advantage.isnan()
        advantage = torch.where(scored, advantage, 0.0)
        return (whiten(advantage, scored) if self.spread == "tokens" else advantage).float()
