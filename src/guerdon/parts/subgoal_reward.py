"""What the low level of a hierarchy is paid for going to a sub-goal."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.parts.progress_difference import potential_shaping


def subgoal_reward(
    before: Tensor,
    after: Tensor,
    *,
    reached: Tensor,
    collided: Tensor,
    novelty: Tensor,
    terminal: Tensor | None = None,
    gamma: float = 0.99,
    r_reach: float = 1.0,
    eta: float = 0.1,
    b_nov: float = 0.1,
    c_step: float = 0.01,
    r_coll: float = 1.0,
) -> dict[str, Tensor]:
    """The terms, [B] each, of a step towards a sub-goal g; the reward is their sum.

        reach     r_reach * 1[g reached]             novelty   b_nov * nov(place entered for the first time)
        progress  gamma Phi' - Phi, Phi = -eta |g|    step     -c_step
        collision -r_coll * 1[collision]

    Progress is shaping by a potential that is 0 once nothing comes any more, so it changes no optimal policy, and
    going round in circles earns nothing. (Paying eta times the metres won, without the discount, would.)

    TopoNav (Hossain et al., 2024, https://arxiv.org/abs/2402.04061), reconstructed; all weights are our choice.

    Args:
        before: [B] distance to the sub-goal before the step, metres.
        after: [B] distance to the same sub-goal after it.
        reached: [B] bool.
        collided: [B] bool.
        novelty: [B], of the place that the step entered for the first time; 0 where there is none.
        terminal: [B] bool, nothing is learnt from what comes after; `reached` by default.
        gamma: the learner's discount.
        r_reach: paid once, on arrival.
        eta: per metre.
        b_nov: weight of novelty.
        c_step: cost of a step.
        r_coll: cost of a collision.

    Raises:
        ValueError: shapes that disagree, a distance that is negative or no number.
    """
    given = [before, after, reached, collided, novelty, *([] if terminal is None else [terminal])]
    if before.ndim != 1 or any(x.shape != before.shape for x in given):
        raise ValueError(f"subgoal_reward needs tensors of one shape [B], got {[list(x.shape) for x in given]}")
    if not bool((before >= 0).all() and (after >= 0).all()):
        raise ValueError("subgoal_reward met a distance that is negative or not a number")
    ends = reached if terminal is None else terminal
    phi = -eta * torch.stack([before, after], 1)
    last = torch.stack([torch.zeros_like(ends, dtype=torch.bool), ends.bool()], 1)
    return {
        "reach": r_reach * reached.to(before),
        "progress": potential_shaping(phi, gamma=gamma, terminal=last)[:, 0],
        "novelty": b_nov * novelty.to(before),
        "step": torch.full_like(before, -c_step),
        "collision": -r_coll * collided.to(before),
    }
