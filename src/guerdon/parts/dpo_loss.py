"""Direct preference optimisation: a pair of answers, and a policy that is its own reward model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def implicit_reward(log_prob: Tensor, ref_log_prob: Tensor, mask: Tensor, *, beta: float = 0.1) -> Tensor:
    """[N] from [N, L]: beta * sum_t (log_prob_t - ref_log_prob_t) over the tokens of `mask`.

    The reward whose optimal policy, at a KL weight of `beta`, is this one (Rafailov et al., 2023). Raises ValueError
    where the shapes differ or a log-probability in the mask is not finite.
    """
    if not log_prob.shape == ref_log_prob.shape == mask.shape or mask.ndim != 2:
        shapes = [list(x.shape) for x in (log_prob, ref_log_prob, mask)]
        raise ValueError(f"the implicit reward needs log_prob, ref_log_prob and mask of one shape [N, L], got {shapes}")
    difference = torch.where(mask.bool(), log_prob - ref_log_prob, 0.0)
    if not bool(difference.isfinite().all()):
        raise ValueError("a log-probability is NaN or infinite on a token of the mask")
    return beta * difference.sum(1)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The DPO loss of each pair (Rafailov et al., 2023, https://arxiv.org/abs/2305.18290); [N], not reduced.

        m = beta ((chosen - ref_chosen) - (rejected - ref_rejected))
        loss = -(1 - e) log sigmoid(m) - e log sigmoid(-m)

    log 2 where the policy is the reference. e is `label_smoothing`, the chance that a label is wrong (conservative
    DPO, Mitchell, 2023).

    Args:
        chosen: [N] log-probability of the preferred answer, summed over its tokens, under the policy.
        rejected: [N] the same of the other answer.
        ref_chosen: [N] under the reference.
        ref_rejected: [N] under the reference.
        beta: 0.1 as in TRL.
        label_smoothing: 0 to 0.5.

    Raises:
        ValueError: shapes differ, a log-probability is not finite, beta is not positive, or smoothing out of range.
    """
    given = {"chosen": chosen, "rejected": rejected, "ref_chosen": ref_chosen, "ref_rejected": ref_rejected}
    for name, value in given.items():
        if value.ndim != 1 or value.shape != chosen.shape:
            raise ValueError(f"{name} must have shape [N] as chosen, got {list(value.shape)}; sum over tokens first")
        if not bool(value.detach().isfinite().all()):
            raise ValueError(f"{name} has a log-probability that is NaN or infinite")
    if beta <= 0 or not 0 <= label_smoothing <= 0.5:
        raise ValueError(f"beta must be positive and label_smoothing in 0..0.5, got {beta} and {label_smoothing}")
    margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return (1 - label_smoothing) * F.softplus(-margin) + label_smoothing * F.softplus(margin)
