"""GiGPO: episodes compared with episodes, and steps with the steps that began at the same observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.group_advantages import gigpo_advantages, row_rewards
from guerdon.parts.token_returns import token_returns
from guerdon.types import About, Completions, Scored


@dataclass(frozen=True, kw_only=True)
class GiGPO:
    """[N, L]: A_episode + weight * A_step on the tokens of each step (Feng et al., 2025, arXiv 2505.10978).

    A row is an episode whose tokens know their step (`Completions.step`); a step's reward is the sum of its tokens'.
    The column `anchor` holds, per episode, one observation a step (anything hashable), before which the step was
    taken. See `guerdon.parts.group_advantages.gigpo_advantages` for the formula. Unscored episodes get 0.
    """

    about: ClassVar[About] = About(
        rewards="episodes against each other, and steps that began at the same observation",
        paper="Group-in-Group Policy Optimization for LLM Agent Training (Feng et al., 2025)",
        link="https://arxiv.org/abs/2505.10978",
        scores="Completions",
    )

    weight: float = 1.0
    gamma: float = 0.95  # of the steps' rewards-to-go, as in the authors' scripts [reconstructed]
    divide: bool = False  # by standard deviations: the authors' "mean_std_norm" instead of "mean_norm"
    eps: float = 1e-6
    anchor: str = "anchor"

    def __call__(self, completions: Completions, scored: Scored) -> Tensor:
        """Raises ValueError without groups, steps or anchors, or where an episode has not one anchor a step."""
        mask, ends = completions.mask.bool(), completions.step_ends()
        anchors = (completions.columns or {}).get(self.anchor)
        if completions.group is None or anchors is None:
            raise ValueError(f"GiGPO needs Completions.group and a column {self.anchor!r} of one observation a step")
        steps = ends.sum(1)
        counts = [len(a) for a in anchors]
        if counts != steps.tolist():
            row = next(i for i, (a, b) in enumerate(zip(counts, steps.tolist(), strict=True)) if a != b)
            raise ValueError(f"episode {row} has {counts[row]} anchors for {int(steps[row])} steps")

        value = scored.value
        if value.ndim == 1:
            value = torch.where(completions.ends(), value[:, None], 0.0)
        episode = row_rewards(value, mask)
        of_step = torch.where(mask, ends.cumsum(1) - ends.long(), 0)  # the step that each token belongs to, from 0
        reward = value.new_zeros(len(value), max(counts, default=0))
        reward.scatter_add_(1, of_step, torch.where(mask, value, 0.0))
        real = torch.arange(reward.shape[1], device=mask.device) < steps[:, None]
        row = real.nonzero()[:, 0]
        known: dict = {}
        ids = [known.setdefault(a, len(known)) for each in anchors for a in each]
        found = gigpo_advantages(
            episode[row], token_returns(reward, real, gamma=self.gamma)[real], completions.group[row], row,
            torch.tensor(ids, dtype=torch.long, device=mask.device),
            weight=self.weight, divide=self.divide, eps=self.eps,
        )  # fmt: skip
        advantage = torch.zeros_like(reward)
        advantage[real] = found
        return torch.where(mask, advantage.gather(1, of_step), 0.0).float()
