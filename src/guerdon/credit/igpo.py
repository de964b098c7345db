"""IGPO's credit: gains of turns and the outcome, normalised within a prompt's group, then summed back over turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from guerdon.parts.group_advantages import group_advantages
from guerdon.parts.step_placement import gather_steps, next_step, spread_steps, steps_to_go, turn_ends
from guerdon.parts.token_returns import token_returns
from guerdon.types import About, Completions, Scored

Mode = Literal["joint", "separate", "positionwise"]


def turn_returns(
    reward: Tensor,
    boundary: Tensor,
    mask: Tensor,
    group: Tensor,
    *,
    mode: Mode = "separate",
    gamma: float = 1.0,
    gain_weight: float = 1.0,
    outcome_weight: float = 1.0,
    eps: float = 1e-6,
) -> Tensor:
    """[N, L] advantages of the tokens in `mask`, from rewards g_1 .. g_{T-1}, o of turns.

        R' = (R - mean) / (std + eps),    A_T = R'_T,    A_t = R'_t + gamma A_{t+1},    A_t on all tokens of turn t

    - "joint": mean and standard deviation (divisor n - 1) over all g and o of the group's rows.
    - "separate": those of the g for the g, those of the o for the o.
    - "positionwise": no R'; token returns from each token on, less their mean in the group at the same token position,
      over the rows that have a token there [reconstructed from the first public snapshot].

    A pool without spread gives 0; the rows of a group of one are not divided. Weights multiply the rewards before they
    are normalised; in "separate", where that would cancel, they multiply R' instead (our choice).

    Args:
        reward: [N, L], 0 off the boundaries. A row with a NaN on one is not scored: it gets 0 and counts nowhere.
        boundary: [N, L] bool, the last token of every turn: a reward of exactly 0 there is a reward.
        mask: [N, L] bool, the policy's own tokens.
        group: [N] integers.
        mode: see above.
        gamma: discount a turn.
        gain_weight: of the g.
        outcome_weight: of the o.
        eps: added to the standard deviation.

    Raises:
        ValueError: shapes disagree, a boundary off the mask, a reward off the boundaries, or another mode.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"TurnReturns' mode is one of {', '.join(get_args(Mode))}, not {mode!r}")
    boundary, mask = boundary.bool(), mask.bool()
    shapes = [tuple(x.shape) for x in (reward, boundary, mask)]
    if len(set(shapes)) > 1 or reward.ndim != 2 or group.shape != reward.shape[:1]:
        raise ValueError(f"reward, boundary and mask must be [N, L] and group [N], got {shapes}, {list(group.shape)}")
    if bool((boundary & ~mask).any()) or bool((reward.nan_to_num() != 0)[~boundary].any()):
        raise ValueError("rewards stand on boundaries, and boundaries on the policy's own tokens: these do not")
    value, turns = gather_steps(reward.float(), boundary)
    scored = ~(value.isnan() & turns).any(1)
    value, turns = value.masked_fill(~scored[:, None], 0.0), turns & scored[:, None]
    mask = mask & scored[:, None]
    last = turns & ~next_step(value, turns)[1]
    weight = torch.where(last, outcome_weight, gain_weight)
    if mode == "positionwise":
        weighted = torch.where(boundary, spread_steps(weight * value, boundary, mask), 0.0)
        return _less_positions(token_returns(weighted, mask, gamma=gamma), mask, group)
    at = torch.unique(group, return_inverse=True)[1]
    alone = torch.bincount(at[scored], minlength=len(at))[at] == 1
    at, alone = (x[:, None].expand_as(value)[turns] for x in (at, alone))
    pool, pooled = (2 * at + last[turns], value[turns]) if mode == "separate" else (at, (weight * value)[turns])
    divided = group_advantages(pooled, pool, eps=eps, singleton="zero")
    plain = group_advantages(pooled, pool, spread="none", singleton="zero")
    normal = value.masked_scatter(turns, torch.where(alone, plain, divided))
    normal = normal * weight if mode == "separate" else normal
    return spread_steps(steps_to_go(normal, turns, gamma=gamma), boundary, mask)


def _less_positions(returns: Tensor, mask: Tensor, group: Tensor) -> Tensor:
    """[N, L]: returns minus their mean over the group's rows that have a token at this position."""
    at = torch.unique(group, return_inverse=True)[1]
    total, count = (
        torch.zeros(len(at), returns.shape[1], device=returns.device).index_add(0, at, x)
        for x in (returns.masked_fill(~mask, 0.0), mask.float())
    )
    return torch.where(mask, returns - (total / count.clamp(min=1))[at], 0.0)


@dataclass(kw_only=True)
class TurnReturns:
    """Credit for turns: what `turn_returns` makes of a reward with gains on turns and an outcome at the end.

    The reward is a sum such as ``InformationGain() + TokenF1()``: [N, L], of which what stands on a row's last token is
    the outcome, and what stands on the ends of the turns before it are gains. A reward [N] is an outcome alone; then
    this is GRPO, every token of a row alike. A row any of whose terms is unscored (NaN) is left out.

    "Information Gain-based Policy Optimization" (IGPO), 2025, https://arxiv.org/abs/2510.14967. "separate" is the
    default here as the gains are much smaller than the outcome; the code's default is "joint". In the paper's
    curriculum the weight of the gains falls and that of the outcome rises: set them between updates.
    """

    about: ClassVar[About] = About(
        rewards="normalised rewards of turns, summed backwards over the dialogue",
        paper="Information Gain-based Policy Optimization (2025)",
        scores="Completions",
        claim="igpo",
    )

    mode: Mode = "separate"
    gamma: float = 1.0  # discount a turn
    gain_weight: float = 1.0
    outcome_weight: float = 1.0
    eps: float = 1e-6  # added to the standard deviation

    def __call__(self, completions: Completions, scored: Scored) -> Tensor:
        """[N, L] float32; raises ValueError without groups or (for a reward of turns) steps, or for falling steps."""
        if completions.group is None:
            raise ValueError("TurnReturns normalises within a prompt's group: set Completions.group")
        reward, last = scored.value, completions.ends()
        boundary = last if reward.ndim == 1 else turn_ends(completions, "TurnReturns")
        if reward.ndim == 1:
            reward = torch.where(last, reward[:, None], 0.0)
        for term in scored.terms.values():  # a sum passes over terms that are not scored; a baseline must not
            missing = term.isnan() if term.ndim == 1 else term.isnan().any(1)
            reward = torch.where(boundary & missing[:, None], torch.nan, reward)
        return turn_returns(
            reward, boundary, completions.mask, completions.group, mode=self.mode, gamma=self.gamma, eps=self.eps,
            gain_weight=self.gain_weight, outcome_weight=self.outcome_weight,
        )  # fmt: skip
