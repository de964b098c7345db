"""How far short of optimal a piece of behaviour falls, and the smooth optimal values that a reward is learned through.

Segments lie side by side: V(s) [T+1, B], Q(s, a) [T, B] and `valid` [T, B] belong to T steps of B segments; regrets are
[B], and 0 is best (Knox et al., "Models of human preference for learning reward functions",
2022, https://arxiv.org/abs/2206.02231).
"""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.parts.tabular_mdp import TabularMDP, action_value, optimal_value, successor_features


def deterministic_regret(paid: Tensor, value: Tensor, valid: Tensor, gamma: float) -> Tensor:
    """Sum over valid t of V(s_t) - gamma V(s_t+1), minus the partial return `paid` [B]: luck counted as the doer's own.

    At gamma = 1 that is V(s_0) - (sum r + V(s_k)), as the paper writes it; below 1 it is this sum that vanishes on
    optimal segments. `value` must be 0 where an episode has terminated.
    """
    return ((value[:-1] - gamma * value[1:]) * valid).sum(0) - paid


def general_regret(value: Tensor, q: Tensor, valid: Tensor) -> Tensor:
    """Sum over valid t of V(s_t) - Q(s_t, a_t), with `value` [T+1, B]: luck left out, so at least 0 for optimal values.

    The same as `deterministic_regret` where transitions are deterministic.
    """
    return ((value[:-1] - q) * valid).sum(0)


def soft_maximum(values: Tensor, temperature: float) -> Tensor:
    """sum_k p_k v_k with p = softmax(v / temperature), over the last dimension: below the maximum, and nearly it."""
    return ((values / temperature).softmax(-1) * values).sum(-1)


def successor_set(mdp: TabularMDP, features: Tensor, weights: Tensor, *, actions: bool = False) -> Tensor:
    """Successor features psi of the policies that are optimal for rewards w . f, equal policies once.

    For any w, max_k w . psi_k(s) <= V*_w(s), with equality if the policy that is optimal for w is among them.

    Args:
        mdp: where they act.
        features: f(s, a), [S, A, m].
        weights: the rewards' weights w, [K, m].
        actions: after a free first action, too.

    Returns:
        [K', S, m], or with `actions` [K', S, A, m]; K' <= K.
    """
    reward = torch.einsum("sam,km->ksa", features.double(), weights.double())
    policies = optimal_value(mdp, reward).policy.unique(dim=0)
    psi = successor_features(mdp, policies, features)
    if not actions:
        return psi
    return action_value(mdp, features.double().movedim(-1, 0), psi.mT).movedim(-3, -1)
