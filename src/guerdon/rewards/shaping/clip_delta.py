"""Clip and Delta: scores of steps turned into rewards whose sum is bounded, however many steps there are."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.parts.step_placement import gather_steps, next_step, place_steps, turn_ends
from guerdon.types import About, Completions, Experience, Reward, Scored, as_reward, check_score


def clip_steps(score: Tensor, mask: Tensor, *, eta: float = 0.9) -> Tensor:
    """[B, K]: c_k = min(q_k - eta, 0), in [-eta, 0] for scores in [0, 1]: no step earns, bad steps cost.

    Args:
        score: [B, K] scores of steps.
        mask: [B, K] bool; 0 outside it.
        eta: what a step must reach to cost nothing.

    Raises:
        ValueError: shapes disagree, or a score within the mask is not finite.
    """
    return torch.where(mask.bool(), (_checked(score, mask, "clip_steps") - eta).clamp(max=0.0), 0.0)


def delta_steps(score: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """[B, K]: d_k = q_k - gamma q_{k+1}, but d_{K-1} = q_{K-1} and d_K = 0 for a row's last step K.

    The sum from k on, discounted by the same gamma, telescopes to q_k for k < K: a step is credited with its own score,
    however many follow. It is potential shaping with potential -q, that of the last step being 0. A row of one step
    earns 0: the last step carries nothing but the outcome.

    Args:
        score: [B, K] scores of steps.
        mask: [B, K] bool; a step outside it is passed over and earns 0.
        gamma: the learner's discount a step.

    Raises:
        ValueError: shapes disagree, or a score within the mask is not finite.
    """
    score = _checked(score, mask, "delta_steps")
    _, has_next = next_step(score, mask)
    kept = torch.where(has_next & mask.bool(), score, 0.0)
    return torch.where(mask.bool(), kept - gamma * next_step(kept, mask)[0], 0.0)


def _checked(score: Tensor, mask: Tensor, name: str) -> Tensor:
    if score.ndim != 2 or score.shape != mask.shape:
        raise ValueError(f"{name} needs scores and mask [B, K], got {list(score.shape)} and {list(mask.shape)}")
    score = torch.where(mask.bool(), score, 0.0)
    if bad := int((~score.isfinite()).sum()):
        raise ValueError(f"{name} met {bad} scores of steps that are NaN or infinite: mask those steps or rows out")
    return score


class ClipDelta(Reward):
    """Bends the scores of steps so that no number of steps can earn more than a bound: alpha * Delta(Clip(q)).

        Clip    c_k = min(q_k - eta, 0)
        Delta   d_k = c_k - gamma c_{k+1},   d_{K-1} = c_{K-1},   d_K = 0

    q_k is what the inner reward says of step k, such as a process reward model's probability that the solution is right
    so far. Summed plainly, q pays for every further step, useful or not. After Clip nothing pays and bad steps cost;
    after Delta the return from step k is alpha * c_k plus the outcome: a step answers for its own score, once. Without
    `clip`, Delta alone: the return is alpha * q_k, bounded by alpha. Add the outcome: ``X() + ClipDelta(Y())``.

    Takes Completions with steps and an inner reward [N, L] whose values stand on the last token of each step, which is
    where its own stand; float32. With both, a value is in [-alpha eta, alpha eta], and the sum from any step on in
    [-alpha eta, 0]. A row of one step earns 0 under Delta. The last step that a cut-off solution has counts as its
    last. A row with an unscored (NaN) step is unscored. The identities are exact in a learner that discounts steps by
    `gamma` with lambda 1, and does not normalise after this (subtracting a mean pays for every step again).

    Gao et al., "On Designing Effective RL Reward at Training Time for LLM Reasoning", 2024. The indices of Delta, the
    order (Clip, then Delta) and the defaults are reconstructed or our choice: no official code was found. A discount is
    our addition.

    Args:
        reward: scores steps.
        eta: what a step must reach to cost nothing; high enough that most steps do.
        alpha: weight beside an outcome of 0 or 1; too large a one teaches to answer early.
        clip: whether to clip.
        delta: whether to take differences.
        gamma: the learner's discount a step, for Delta.
        bounds: where scores must lie, since eta means nothing for logits; None takes any.

    Raises:
        ValueError: neither clip nor delta, a bad number; when scoring, scores out of bounds or off the ends of steps.
    """

    about: ClassVar[About] = About(
        rewards="another reward's scores of steps, so that more steps earn no more",
        paper="On Designing Effective RL Reward at Training Time for LLM Reasoning (Gao et al., 2024)",
        link="https://arxiv.org/abs/2410.15115",
        scores="Completions",
        claim="clip_delta",
        example="ClipDelta(InformationGain(), bounds=(-1.0, 1.0))",
    )

    def __init__(
        self,
        reward: Any,
        *,
        eta: float = 0.9,
        alpha: float = 0.1,
        clip: bool = True,
        delta: bool = True,
        gamma: float = 1.0,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        super().__init__()
        if not (clip or delta):
            raise ValueError("ClipDelta with neither clip nor delta is a weight: write 0.1 * X()")
        if not (math.isfinite(eta) and math.isfinite(alpha) and 0.0 <= gamma <= 1.0):
            raise ValueError(f"ClipDelta needs finite eta and alpha and a gamma in [0, 1], got {eta}, {alpha}, {gamma}")
        self.reward = as_reward(reward)
        self.eta, self.alpha, self.clip, self.delta = eta, alpha, clip, delta
        self.gamma, self.bounds = gamma, bounds

    @property
    def name(self) -> str:
        return f"ClipDelta({self.reward.name})"

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        if not isinstance(experience, Completions):
            raise TypeError(f"{self.name} scores Completions, not a {type(experience).__name__}")
        inner = self.reward.evaluate(experience, **needed)
        if inner.value.ndim != 2:
            raise ValueError(f"{self.name} bends scores of steps, and {self.reward.name} scores whole answers: add it")
        ends = turn_ends(experience, self.name)
        if bool((inner.value[~ends] != 0).any()):
            raise ValueError(f"{self.name}: {self.reward.name} has scores on tokens that end no step")
        score, mask = gather_steps(inner.value, ends)
        unscored = (score.isnan() & mask).any(1)
        score = score.masked_fill(unscored[:, None], 0.0)
        mask = mask & ~unscored[:, None]
        self._check_bounds(score, mask)
        if self.clip:
            score = clip_steps(score, mask, eta=self.eta)
        if self.delta:
            score = delta_steps(score, mask, gamma=self.gamma)
        value = place_steps(self.alpha * score, ends).masked_fill(ends & unscored[:, None], torch.nan)
        return inner.then(self.name, check_score(value, experience, self.name))

    def _check_bounds(self, score: Tensor, mask: Tensor) -> None:
        if self.bounds is None or not bool(mask.any()):
            return
        low, high = self.bounds
        seen = score[mask]
        if bool((seen < low).any() | (seen > high).any()):
            found = f"[{float(seen.min()):.3g}, {float(seen.max()):.3g}]"
            raise ValueError(
                f"{self.name}: {self.reward.name} scores steps in {found}, outside [{low:g}, {high:g}]: turn logits "
                "into probabilities, or pass bounds=(low, high)"
            )
