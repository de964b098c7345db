"""Token by token: discounted returns, generalised advantages, and whitening, where some tokens are not the policy's.

A row of [N, L] is one answer. Tokens outside `mask` (padding, and what tools or environments wrote between the
policy's own tokens) are skipped: what stands after them is carried across, and no discount is paid for them. A reward
on such a token is never paid, so put it on a generated one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.parts.advantages import Advantages


def token_gae(reward: Tensor, value: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 1.0) -> Advantages:
    """Generalised advantage estimation over tokens (Schulman et al., 2016), as verl and OpenRLHF use it.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}, where t+1 is the row's next token of
    `mask`, and both are 0 after the last one. target = A + V. Not whitened: see `whiten`.

    Args:
        reward: [N, L].
        value: [N, L], the value in front of each token.
        mask: [N, L], True on the policy's tokens.
        gamma: discount (1 in TRL, verl and OpenRLHF).
        lam: trace decay; 1 gives reward-to-go minus value, 0 the TD error.

    Returns:
        advantage and target, [N, L] each; 0 outside the mask.

    Raises:
        ValueError: shapes differ.
    """
    _check(reward, value, mask)
    keep, advantage = mask.bool(), torch.zeros_like(value)
    next_value, next_advantage = torch.zeros_like(value[:, 0:1]), torch.zeros_like(value[:, 0:1])
    for t in reversed(range(value.shape[1])):
        at = slice(t, t + 1)
        a = reward[:, at] + gamma * next_value - value[:, at] + gamma * lam * next_advantage
        next_value = torch.where(keep[:, at], value[:, at], next_value)
        next_advantage = torch.where(keep[:, at], a, next_advantage)
        advantage[:, at] = torch.where(keep[:, at], a, 0.0)
    return Advantages(advantage, torch.where(keep, advantage + value, 0.0))


def token_returns(reward: Tensor, mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Discounted reward-to-go G_t = r_t + gamma G_{t+1} over the tokens of `mask`, [N, L]; 0 outside it.

    With `whiten` over the batch's tokens it is the advantage of REINFORCE++ (Hu et al., 2025,
    https://arxiv.org/abs/2501.03262). Raises ValueError where the shapes differ.
    """
    return token_gae(reward, torch.zeros_like(reward), mask, gamma=gamma, lam=1.0).advantage


def whiten(value: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """(x - mean) / sqrt(var + eps) over the tokens of `mask`, with the sample variance; [N, L], 0 outside the mask.

    All 0 where the mask has fewer than two tokens. In TRL, verl and OpenRLHF eps is 1e-8.
    """
    _check(value, mask)
    inside = value[mask.bool()]
    if inside.numel() < 2:
        return torch.zeros_like(value)
    whitened = (value - inside.mean()) * (inside.var() + eps).rsqrt()
    return torch.where(mask.bool(), whitened, 0.0)


def _check(*tensors: Tensor) -> None:
    shapes = [list(x.shape) for x in tensors]
    if len(shapes[0]) != 2 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"rewards, values and mask must all have shape [N, L], got {shapes}")
