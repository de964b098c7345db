"""The Bradley-Terry loss of a comparison."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.types import FIRST, SECOND, TIE

PREFERENCE: dict[float | None, float] = {FIRST: 0.0, SECOND: 1.0, TIE: 0.5}
"""The probability, by a comparison's outcome, that the second is better."""


def pair_loss(first: Tensor, second: Tensor, label: Tensor, *, margin: float | Tensor = 0.0) -> Tensor:
    """The negative log-likelihood, pair by pair, that the comparison came out as `label`.

        loss = -q log sigmoid(second - first - m) - (1 - q) log sigmoid(first - second - m)

    q is the probability that the second is better. Without a margin only the difference of the scores matters, and two
    equal scores cost ln 2 whatever the label (Bradley & Terry, 1952; margin: Touvron et al., 2023).

    Args:
        first: [N] scores of the first things.
        second: [N] scores of the second things.
        label: [N] FIRST, SECOND or TIE (integers; a tie is q = 0.5), or q itself (floating point, 0..1).
        margin: by how much the better one should lead, a number or [N]; a tie has none.

    Returns:
        [N], not reduced.

    Raises:
        ValueError: the shapes differ, or a label is none of the above.
    """
    if not first.shape == second.shape == label.shape:
        raise ValueError(f"pair_loss needs equal shapes, got {[list(x.shape) for x in (first, second, label)]}")
    soft = label.is_floating_point()
    if bool(((label < FIRST) | (label > (1 if soft else TIE))).any()):
        raise ValueError("a pair's label is FIRST, SECOND or TIE as an integer, or a probability as a float")
    q = label.to(first.dtype) if soft else torch.where(label == TIE, 0.5, label.to(first.dtype))
    lead = second - first
    m = torch.where(q == 0.5, 0.0, torch.as_tensor(margin, dtype=first.dtype, device=first.device))
    return q * F.softplus(m - lead) + (1 - q) * F.softplus(m + lead)
