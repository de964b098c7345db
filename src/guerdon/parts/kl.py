"""How far a policy is from its reference, token by token, estimated from the policy's own samples (Schulman, 2020).

With d = log_prob - ref_log_prob on tokens x ~ policy, E[value] = KL(policy || reference) for k1 and k3:

| kind | value | unbiased value | gradient as a loss on the policy's samples |
|---|---|---|---|
| k1 | d | yes, may be negative | 0 on average: of use in a reward only |
| k2 | d^2 / 2 | no, small bias | that of KL(policy || reference) |
| k3 | exp(-d) + d - 1 >= 0 | yes | that of KL(reference || policy) |
| k1+, k3+ | k1's, k3's | yes | k2's (straight-through, as in verl) |

http://joschu.net/blog/kl-approx.html. Multiplied by the importance ratio all keep their mean for samples of an older
policy; with the ratio's own gradient k1 and k3, too, have the gradient of KL(policy || reference). That is what
`PolicyLoss(kl_correct=True)` does, as TRL does for k3 (use_bias_correction_kl).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["k1", "k2", "k3", "k1+", "k3+"]


def kl_estimate(log_prob: Tensor, ref_log_prob: Tensor, kind: Kind = "k3", *, clamp: float | None = None) -> Tensor:
    """The estimate of each token, in nats; the shape of `log_prob`.

    k3 holds d within +-20, so that it stays finite. With `clamp` the k3 result is held within +-clamp: 10 in verl and
    OpenRLHF, off in TRL. It is off here, since a clamped token has no gradient just where the policy is farthest away.

    Raises:
        ValueError: unknown kind, or shapes that differ.
    """
    if log_prob.shape != ref_log_prob.shape:
        raise ValueError(f"log-probabilities of shapes {list(log_prob.shape)} and {list(ref_log_prob.shape)}")
    d = log_prob - ref_log_prob
    if kind == "k1":
        return d
    if kind == "k2":
        return 0.5 * d**2
    if kind == "k3":
        held = d.clamp(-20.0, 20.0)
        value = (-held).expm1() + held  # not exp - 1: near 0 its rounding is larger than the result
        return value if clamp is None else value.clamp(-clamp, clamp)
    if kind in ("k1+", "k3+"):
        value = kl_estimate(log_prob, ref_log_prob, "k1" if kind == "k1+" else "k3", clamp=clamp).detach()
        square = 0.5 * d**2
        return value + square - square.detach()
    raise ValueError(f"no KL estimate is called {kind!r}: use k1, k2, k3, k1+ or k3+")


def kl_in_reward(reward: Tensor, log_prob: Tensor, ref_log_prob: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """r_t - beta * k1_t on the tokens of `mask`, [N, L], without gradient (PPO, REINFORCE++, classic RLOO).

    A reward of whole answers [N] stands on each row's last token of the mask. Raises ValueError for other shapes.
    """
    keep = mask.bool()
    if reward.ndim == 1 and reward.shape[0] == mask.shape[0]:
        last = keep & (keep.flip(1).cumsum(1).flip(1) == 1)
        reward = torch.where(last, reward[:, None], 0.0)
    if reward.shape != mask.shape:
        raise ValueError(f"a reward is [N] or [N, L] = {list(mask.shape)}, got {list(reward.shape)}")
    k1 = kl_estimate(log_prob.detach(), ref_log_prob.detach(), "k1")
    return torch.where(keep, reward - beta * k1, 0.0)


@dataclass(kw_only=True)
class AdaptiveKL:
    """A coefficient that follows the measured KL (Ziegler et al., 2019, https://arxiv.org/abs/1909.08593).

    beta <- beta * (1 + clip(kl / target - 1, -0.2, 0.2) * samples / horizon).
    """

    beta: float = 0.05
    target: float
    horizon: float = 10_000.0

    def update(self, kl: float, samples: int) -> float:
        """The new coefficient, after `samples` more answers at a mean KL of `kl`."""
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.beta *= 1.0 + error * samples / self.horizon
        return self.beta

    def state_dict(self) -> dict[str, float]:
        return {"beta": self.beta}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.beta = state["beta"]
