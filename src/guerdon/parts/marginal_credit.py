"""Who earned the gains of an episode? The steps before them: SubPO's credit."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.parts.advantages import gae


def marginal_credit(
    gain: Tensor, terminated: Tensor, truncated: Tensor, valid: Tensor, *, baseline: bool = True, gamma: float = 1.0
) -> Tensor:
    """What is still to be gained from each step on, less what the batch's mean at that step is.

        A_i = sum_{j >= i} gamma^(j - i) m_{j+1} - b_i,     m_{j+1} = F(s_{j+1} | s_0 .. s_j),     b_i = mean over games

    Gains of the past do not depend on the action and are left out. With it, sum_i grad log pi(a_i) A_i estimates the
    gradient of E F(episode) (Prajapat et al., 2023, https://arxiv.org/abs/2307.13372). The mean contains the step's own
    game, which shrinks the estimate by 1 - 1/B and does not turn it.

    Args:
        gain: m [T, B], the marginal gain of what each step led to.
        terminated: [T, B] bool.
        truncated: [T, B] bool. Either kind of end ends the sum; what lies beyond is worth 0.
        valid: [T, B] bool.
        baseline: subtract b.
        gamma: discount (1: the paper's objective).

    Returns:
        [T, B]; 0 at invalid steps.

    Raises:
        ValueError: shapes disagree.
    """
    nothing = gain.new_zeros(len(gain) + 1, *gain.shape[1:])
    to_go = gae(gain, nothing, terminated, truncated, valid, gamma=gamma, lam=1.0).advantage
    if not baseline:
        return to_go
    mean = to_go.sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
    return torch.where(valid, to_go - mean, 0.0)
