"""Contrastive losses on the features of a reward model: two views of the same input should be alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_features(chosen: Tensor, rejected: Tensor, *, choice: str = "diff") -> Tensor:
    """[2N, D], what is contrasted in pairs.

    The features of all answers ("pairs"), or chosen - rejected and its negative ("diff"), so that the direction from
    worse to better is told from its opposite.

    Args:
        chosen: [N, D] features that the head of the reward model reads.
        rejected: [N, D].
        choice: see above.
    """
    if choice not in ("pairs", "diff"):
        raise ValueError(f"choice is 'pairs' or 'diff', not {choice!r}")
    lead = chosen - rejected
    return torch.cat([chosen, rejected] if choice == "pairs" else [lead, -lead])


def simcse(first: Tensor, second: Tensor, *, temperature: float = 0.05) -> Tensor:
    """[B] each row of `first` should be more alike to the same row of `second` than to any other.

        l_i = -log( exp(cos(h_i, h'_i) / tau) / sum_j exp(cos(h_i, h'_j) / tau) ),   j over all rows, i included

    One row costs 0; rows that are all alike cost log B. This is the InfoNCE loss of cosines. Two views are two passes
    with other dropout (0.05: Wang et al., "Secrets of RLHF in Large Language Models Part II", 2024,
    https://arxiv.org/abs/2401.06080, who add it with weight 1). Gao et al., "SimCSE: Simple Contrastive Learning of
    Sentence Embeddings", 2021 (https://arxiv.org/abs/2104.08821).

    Args:
        first: [B, D] features of one view.
        second: [B, D] of the other.
        temperature: tau; the reward modelling paper gives none, 0.05 is SimCSE's.
    """
    _check(first, second, temperature)
    cosines = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T
    return F.cross_entropy(cosines / temperature, torch.arange(len(first), device=first.device), reduction="none")


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """[B, K] codes q >= 0: exp(scores / epsilon), scaled until prototypes share the batch evenly.

    Columns and rows are scaled in turn: a row sums to 1 exactly, a column to B / K the better the more iterations. No
    gradient goes through. Values of SwAV's release [reconstructed: the reward modelling paper gives none].
    """
    log = scores.double() / epsilon
    for _ in range(iterations):
        log = log - log.logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp().to(scores.dtype)


def swav(
    first: Tensor, second: Tensor, prototypes: Tensor, *, temperature: float = 0.1, epsilon: float = 0.05,
    iterations: int = 3,
) -> Tensor:  # fmt: skip
    """[B] each view should predict the other's prototypes: cross entropies of p with the codes q of `sinkhorn`.

        l = - sum_k q_k(first) log p_k(second) - sum_k q_k(second) log p_k(first),  p_k(h) = softmax_k(h . c_k / tau)

    Features and prototypes are scaled to length 1 [reconstructed]. Caron et al., "Unsupervised Learning of Visual
    Features by Contrasting Cluster Assignments", 2020 (https://arxiv.org/abs/2006.09882). The reward modelling paper
    adds it with weight 0.5 (K = 20, on differences) or 0.1 (K = 50, on all answers).

    Args:
        first: [B, D] features of one view.
        second: [B, D] of the other.
        prototypes: [K, D], learned with the model.
        temperature: tau; the paper gives none, 0.1 is SwAV's.
        epsilon: of `sinkhorn`.
        iterations: of `sinkhorn`.
    """
    _check(first, second, temperature)
    if prototypes.ndim != 2 or prototypes.shape[1] != first.shape[1]:
        raise ValueError(f"prototypes must be [K, {first.shape[1]}], got {list(prototypes.shape)}")
    c = F.normalize(prototypes, dim=-1).T
    scores = [F.normalize(h, dim=-1) @ c for h in (first, second)]
    q = [sinkhorn(s, epsilon=epsilon, iterations=iterations) for s in scores]
    log_p = [(s / temperature).log_softmax(-1) for s in scores]
    return -(q[0] * log_p[1]).sum(-1) - (q[1] * log_p[0]).sum(-1)


def _check(first: Tensor, second: Tensor, temperature: float) -> None:
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise ValueError(f"two views must both be [B, D], B > 0, got {list(first.shape)} and {list(second.shape)}")
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0, got {temperature}")
