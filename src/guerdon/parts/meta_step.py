"""MetaRM: a step on labelled pairs, with the gradient of where the model would be if it told new answers apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn


def difference(scores: Tensor) -> Tensor:
    """J, how far a reward model tells k answers to the same prompt apart, averaged over prompts; a number.

        J(x) = 2 / k^2  sum_{i<j} sigmoid(|r_i - r_j|)

    From (k - 1) / (2 k), where all scores are equal, up to less than (k - 1) / k. Equal scores give no gradient.

    Args:
        scores: [m, k], of k answers of the newest policy to each of m prompts; no labels are needed.

    Raises:
        ValueError: fewer than two answers, or scores that are no finite numbers.
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        raise ValueError(f"MetaRM needs scores [m, k] of m > 0 prompts with k >= 2 answers, got {list(scores.shape)}")
    if not bool(scores.isfinite().all()):
        raise ValueError("a score of the answers of the newest policy is no finite number")
    k = scores.shape[1]
    i, j = torch.triu_indices(k, k, 1, device=scores.device)
    return (2 / k**2 * (scores[:, i] - scores[:, j]).abs().sigmoid().sum(1)).mean()


@contextmanager
def ascended(model: nn.Module, objective: Callable[[], Tensor], eta: float) -> Iterator[None]:
    """Inside, the weights of `model` are theta' = theta + eta grad objective(theta); then theta again, to the bit.

    Gradients that are left inside stay. Weights that `objective` does not depend on stay where they are.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    kept = [p.detach().clone() for p in weights]
    climb = torch.autograd.grad(objective(), weights, allow_unused=True) if eta else [None] * len(weights)
    try:
        with torch.no_grad():
            for p, g in zip(weights, climb, strict=True):
                if g is not None:
                    p.add_(g, alpha=eta)
        yield
    finally:
        with torch.no_grad():
            for p, before in zip(weights, kept, strict=True):
                p.copy_(before)


def meta_step(
    model: nn.Module, loss: Callable[[], Tensor], objective: Callable[[], Tensor], optimiser: torch.optim.Optimizer, *,
    eta: float, mode: Literal["meta", "joint"] = "meta",
) -> float:  # fmt: skip
    """One step of MetaRM for any scorer; gives the loss that was stepped on.

        theta' = theta + eta grad J(theta)          theta <- theta - lr grad L(theta')

    To first order the gradient is that of L + eta grad L . grad J: pairs that also make J grow weigh more. The second
    line is not differentiated through the first. Stored is theta, which is offset against its look-ahead: at small
    scale J of theta does not grow, that of theta' does; to score with theta' wrap the call in `ascended`. Wang et al.,
    "Secrets of RLHF in Large Language Models Part II", 2024 (https://arxiv.org/abs/2401.06080).

    Args:
        model: the reward model; all its weights that learn are moved.
        loss: computes L with the model as it then is, on labelled pairs (`pair_loss`).
        objective: computes J likewise, on answers of the newest policy (`difference`).
        optimiser: of the model's weights (SGD: the paper's plain step).
        eta: of the look-ahead, not given by the paper; lr of the optimiser is our choice. 0 is a step on L alone.
        mode: "joint" steps on L - eta J at theta instead, which is a control and not the paper's.

    Raises:
        FloatingPointError: the loss is no finite number.
    """
    if mode not in ("meta", "joint"):
        raise ValueError(f"mode is 'meta' or 'joint', not {mode!r}")
    optimiser.zero_grad(set_to_none=True)
    if mode == "joint":
        value = loss() - eta * objective()
        value.backward()
    else:
        with ascended(model, objective, eta):
            value = loss()
            value.backward()
    if not bool(value.isfinite()):
        raise FloatingPointError(f"the loss is {float(value.detach())}: lower lr or eta")
    optimiser.step()
    return float(value.detach())
