"""Secrets II's contrastive term: fitting a reward model whose features of better and worse answers come apart."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from guerdon.parts.contrastive import pair_features, simcse, swav
from guerdon.parts.pair_loss import pair_loss
from guerdon.types import SECOND, TIE, Completions, Pairs


def contrastive_fit(
    reward: Any, pairs: Pairs, *, method: Literal["simcse", "swav"] = "swav",
    choice: Literal["pairs", "diff"] = "diff", beta: float = 0.5, prototypes: int = 20, dropout: float = 0.05,
    temperature: float | None = None,
) -> dict[str, float]:  # fmt: skip
    """`reward.epochs` passes over pairs by L = L_rm + beta L_cl.

    L_cl is `simcse` or `swav` over two views of the features of a batch, L_rm the mean of `pair_loss` on the features
    as they are and on both views. The paper's views are two passes with other dropout in all layers; here, where
    encoders have dropout off, they are two masks on the last hidden state, the one that the head reads, so that a
    batch costs one pass. Ties have no part in differences. Wang et al., "Secrets of RLHF in Large Language Models Part
    II: Reward Modeling", 2024 (https://arxiv.org/abs/2401.06080).

    Args:
        reward: a built reward with an `encoder` that learns, a `head` and a `trainer`, such as `BradleyTerry`.
        pairs: of Completions; their columns "margin" and "alpha" are read.
        method: which term.
        choice: what is contrasted, see `pair_features`.
        beta: the paper: 1 for SimCSE, 0.5 for SwAV on differences (with 20 prototypes), 0.1 for SwAV on all answers
            (with 50).
        prototypes: K of SwAV; they are learned by this call, and not kept.
        dropout: share of the features that a view lacks (0.05: the paper).
        temperature: 0.05 of SimCSE, 0.1 of SwAV where it is None (our choice: the paper gives none).

    Returns:
        "loss" and "contrast", means over steps.

    Raises:
        ValueError: an encoder that does not learn, an unknown method, or no pairs.
        TypeError: pairs of something else than Completions.
    """
    if method not in ("simcse", "swav") or not 0 <= dropout < 1:
        raise ValueError(f"method is 'simcse' or 'swav' and dropout lies in 0..1, got {method!r} and {dropout}")
    if not isinstance(pairs.first, Completions):
        raise TypeError(f"contrastive_fit reads pairs of Completions, not of {type(pairs.first).__name__}")
    if not any(p.requires_grad for p in reward.encoder.parameters()) or not len(pairs.label):
        raise ValueError("a contrastive term teaches the encoder: it needs pairs, and an encoder that learns")
    tau = temperature or (0.05 if method == "simcse" else 0.1)
    rng = reward.trainer.rng
    place = next(reward.head.parameters())
    centres = nn.Parameter(torch.randn(prototypes, reward.encoder.size, generator=rng).to(place))
    optimiser = torch.optim.Adam([centres], lr=reward.trainer.optimiser.param_groups[0]["lr"])

    def masked(h: Tensor) -> Tensor:
        keep = torch.rand(h.shape, generator=rng) >= dropout
        return h * keep.to(h.device) / (1 - dropout)

    def contrast(views: list[list[Tensor]], label: Tensor) -> Tensor:
        features = []
        for first, second in views:
            swap = (label == SECOND)[:, None]
            chosen, rejected = torch.where(swap, second, first), torch.where(swap, first, second)
            sided = label != TIE if choice == "diff" else torch.ones_like(label, dtype=torch.bool)
            features.append(pair_features(chosen[sided], rejected[sided], choice=choice))
        if not len(features[0]):
            return centres.sum() * 0
        one, other = features
        if method == "simcse":
            return simcse(one, other, temperature=tau).mean()
        return swav(one, other, centres, temperature=tau).mean()

    seen = []
    for batch in pairs.picks(reward.trainer.batches(len(pairs.label), reward.batch_size, epochs=reward.epochs)):
        columns = batch.columns or {}
        margin, alpha = (torch.tensor(columns.get(name, [0.0])).to(place) for name in ("margin", "alpha"))
        label = batch.label.to(place.device)
        weight = torch.ones_like(label, dtype=place.dtype) if batch.weight is None else batch.weight.to(place)
        plain = [reward.encoder(side).float() for side in (batch.first, batch.second)]
        views = [[masked(h) for h in plain] for _ in range(2)]
        told = [
            pair_loss(reward.head(first), reward.head(second), label, margin=margin, alpha=alpha)
            for first, second in (plain, *views)
        ]
        rm = (torch.stack(told).mean(0) * weight).sum() / weight.sum().clamp(min=1e-12)
        term = contrast(views, label)
        optimiser.zero_grad(set_to_none=True)
        reward.trainer.step(rm + beta * term)
        optimiser.step()
        seen.append((float(rm.detach()), float(term.detach())))
    loss, term = torch.tensor(seen).mean(0).tolist()
    return {"loss": loss, "contrast": term}
