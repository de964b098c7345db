"""The Bradley-Terry loss of a comparison, and what keeps its scores around zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.types import FIRST, SECOND, TIE

PREFERENCE: dict[float | None, float] = {FIRST: 0.0, SECOND: 1.0, TIE: 0.5}
"""The probability, by a comparison's outcome, that the second is better."""


def pair_loss(
    first: Tensor, second: Tensor, label: Tensor, *, margin: float | Tensor = 0.0, alpha: float | Tensor = 0.0
) -> Tensor:
    """The negative log-likelihood, pair by pair, that the comparison came out as `label`.

        loss = -q log p - (1 - q) log(1 - p),    p = sigmoid(second - first -+ margin)

    q is the probability that the second is better, after `alpha` of it was moved to the other outcome. The margin is by
    how much the likelier one should lead: it is taken from the difference where that is the second, added where it is
    the first, and a tie has none. Without a margin only the difference of the scores matters, and two equal scores
    cost ln 2 whatever the label (Bradley & Terry, 1952; margin: Touvron et al., 2023; margin within the smoothed loss:
    Wang et al., "Secrets of RLHF in Large Language Models Part II", 2024, https://arxiv.org/abs/2401.06080, where the
    printed bracket closes before the margin [reconstructed]).

    A smoothed loss without margin is least where the right one leads by ln((1 - alpha) / alpha).

    Args:
        first: [N] scores of the first things.
        second: [N] scores of the second things.
        label: [N] FIRST, SECOND or TIE (integers; a tie is q = 0.5), or q itself (floating point, 0..1).
        margin: a number or [N]; below 0 the better one may trail by so much.
        alpha: the chance that the label is wrong, 0..0.5, a number or [N]: q becomes (1 - alpha) q + alpha (1 - q).

    Returns:
        [N], not reduced.

    Raises:
        ValueError: the shapes differ, or a label, margin or alpha is none of the above.
    """
    if not first.shape == second.shape == label.shape:
        raise ValueError(f"pair_loss needs equal shapes, got {[list(x.shape) for x in (first, second, label)]}")
    soft = label.is_floating_point()
    if not bool(((label >= FIRST) & (label <= (1 if soft else TIE))).all()):
        raise ValueError("a pair's label is FIRST, SECOND or TIE as an integer, or a probability as a float")
    m, a = (torch.as_tensor(x, dtype=first.dtype, device=first.device) for x in (margin, alpha))
    if not bool(m.isfinite().all() & (a >= 0).all() & (a <= 0.5).all()):
        raise ValueError("a pair's margin is a finite number, and alpha, the chance that its label is wrong, 0 to 0.5")
    q = label.to(first.dtype) if soft else torch.where(label == TIE, 0.5, label.to(first.dtype))
    lead = second - first - m * (q - 0.5).sign()
    q = q + a * (1 - 2 * q)
    return q * F.softplus(-lead) + (1 - q) * F.softplus(lead)


def centring(first: Tensor, second: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean of (first + second)^2 over pairs, to be added times a coefficient (0.01: Eisenstein et al., 2023).

    Differences of scores say nothing of their level; this term puts it at zero (TRL's `center_rewards_coefficient`,
    https://arxiv.org/abs/2312.09244).
    """
    squares = (first + second).square()
    return squares.mean() if weight is None else (weight * squares).sum() / weight.sum()
