"""How sure an ensemble is of a pair's label, and what to do with pairs of which it is not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from guerdon.types import FIRST, SECOND, TIE, Completions, Pairs, Reward, Rollout


class Strength(NamedTuple):
    """What M reward models make of each of N pairs, in units of their scores; NaN where the pair is a tie."""

    mean: Tensor  # [N] mu, by how much the chosen one leads: below 0 they would have chosen the other
    spread: Tensor  # [N] s, the deviation of the lead from model to model (population: divided by M)


class Treatment(NamedTuple):
    """What is done with each of N pairs when it is trained on."""

    sign: Tensor  # [N] 1, or -1 where the outcome is swapped
    alpha: Tensor  # [N] chance that the (swapped) label is wrong, 0 to 0.5
    margin: Tensor  # [N] by how much the chosen one should lead
    keep: Tensor  # [N] bool


@torch.no_grad()
def pair_scores(models: Sequence[Reward], pairs: Pairs, *, batch: int = 256) -> Tensor:
    """[M, N, 2] what each of M built rewards makes of the first and of the second of each pair.

    A segment of a Rollout is worth the sum over its valid steps, a completion scored by token the sum over its tokens.
    So many pairs are scored at a time as `batch` says.
    """

    def worth(model: Reward, side: Completions | Rollout) -> Tensor:
        value = model.score(side)
        if isinstance(side, Rollout):
            return value.where(side.valid.bool(), 0.0).sum(0)
        return value.sum(1) if value.ndim > 1 else value

    found = [
        torch.stack([torch.stack([worth(m, side) for side in (part.first, part.second)], -1) for m in models])
        for part in pairs.picks(torch.arange(len(pairs.label)).split(batch))
    ]
    return torch.cat(found, 1)


def preference_strength(scores: Tensor, label: Tensor | None = None) -> Strength:
    """Mean and spread of the lead of the chosen one over an ensemble.

        d_im = r_m(chosen_i) - r_m(rejected_i)      mu_i = mean_m d_im      s_i = sqrt(mean_m (d_im - mu_i)^2)

    The models are to differ in seed and order of data, or s is 0; they may have been trained on these very pairs, for
    one pass. Wang et al., "Secrets of RLHF in Large Language Models Part II: Reward Modeling", 2024
    (https://arxiv.org/abs/2401.06080).

    Args:
        scores: [M, N, 2] of the first and the second of each pair, or leads [M, N] of the chosen one.
        label: [N] FIRST, SECOND or TIE; None means that the first was chosen.

    Raises:
        ValueError: no model or other shapes, a score that is no finite number, or a label that is none.
    """
    if scores.ndim not in (2, 3) or (scores.ndim == 3 and scores.shape[2] != 2) or not scores.shape[0]:
        raise ValueError(f"strength needs scores [M, N, 2] or leads [M, N] of M > 0 models, got {list(scores.shape)}")
    lead = chosen_lead(scores if scores.ndim == 3 else torch.stack([scores, torch.zeros_like(scores)], -1), label)
    if len(scores) == 1:
        warnings.warn("one model has no spread: train several, on other seeds", stacklevel=2)
    mean = lead.mean(0)
    return Strength(mean, (lead - mean).square().mean(0).sqrt())


def chosen_lead(scores: Tensor, label: Tensor | None = None) -> Tensor:
    """[..., N] by how much the chosen one of each pair leads; NaN where it is a tie.

    Args:
        scores: [..., N, 2] of the first and the second.
        label: [N] FIRST, SECOND or TIE; None means that the first was chosen.

    Raises:
        ValueError: a score that is no finite number, or a label that is none of these.
    """
    lead = scores[..., 0] - scores[..., 1]
    bad = ~lead.isfinite()
    if bool(bad.any()):
        count = int(bad.flatten(0, -2).any(0).sum()) if bad.ndim > 1 else int(bad.sum())
        raise ValueError(f"{count} of {lead.shape[-1]} pairs have a score that is no finite number")
    if label is None:
        return lead
    told = (label == FIRST) | (label == SECOND) | (label == TIE)
    if label.shape != lead.shape[-1:] or not bool(told.all()):
        raise ValueError(f"{lead.shape[-1]} pairs need as many labels FIRST, SECOND or TIE")
    return torch.where(label == SECOND, -lead, lead).masked_fill(label == TIE, torch.nan)


def weakest(mean: Tensor, share: float | None = None) -> Tensor:
    """[N] bool: pairs that are probably told wrong: the lowest `share` of all by mu, or without it those below 0.

    Of equal ones the earlier come first; ties (NaN) are never among them.
    """
    return mean < 0 if share is None else _lowest(mean, share)


def strongest(mean: Tensor, share: float = 0.1) -> Tensor:
    """[N] bool: the highest `share` of all by mu (0.1: the paper), which are the first to be learned by heart."""
    return _lowest(-mean, share)


def treat(
    mean: Tensor, *, flip: Tensor | None = None, soften: Tensor | None = None, drop: Tensor | None = None,
    margin: bool = False, alpha: float = 0.1, at_least: float | None = None,
) -> Treatment:  # fmt: skip
    """Turns mu into what is done with each pair.

    The paper's five treatments::

        treat(mu, flip=weakest(mu, 0.2))                                 # flip
        treat(mu, soften=weakest(mu))                                    # label smoothing, also of strongest(mu)
        treat(mu, margin=True)                                           # adaptive margin m = mu
        treat(mu, flip=weakest(mu, 0.2), margin=True)                    # flip and margin
        treat(mu, soften=weakest(mu), margin=True)                       # soft labels and margin

    A flip changes the sign of mu as well, so that flipping twice changes nothing. Margins are in units of the
    ensemble's scores, which grow from pass to pass: use them with models that are trained for as long.

    Args:
        mean: [N] mu.
        flip: [N] bool, pairs whose outcome is swapped.
        soften: [N] bool, pairs whose label is `alpha` likely to be wrong.
        drop: [N] bool, pairs that are left out (the claim's control).
        margin: whether the margin is mu, after the flip; else it is 0.
        alpha: the paper does not say how much; 0.1 is our choice.
        at_least: lower bound of the margins, such as 0; None keeps negative ones, as the paper does.

    Raises:
        ValueError: a mask that is not [N] bool, or alpha outside 0..0.5.
    """
    if not 0 <= alpha <= 0.5:
        raise ValueError(f"alpha is the chance that a label is wrong, 0 to 0.5, got {alpha}")
    for name, mask in (("flip", flip), ("soften", soften), ("drop", drop)):
        if mask is not None and (mask.shape != mean.shape or mask.dtype != torch.bool):
            raise ValueError(f"{name} must be bool of shape {list(mean.shape)}, got {mask.dtype} {list(mask.shape)}")
    none = torch.zeros_like(mean, dtype=torch.bool)
    sign = torch.where(none if flip is None else flip, -1.0, 1.0).to(mean)
    lead = (sign * mean).nan_to_num(0.0) if margin else torch.zeros_like(mean)
    return Treatment(
        sign=sign,
        alpha=torch.where(none if soften is None else soften, alpha, 0.0).to(mean),
        margin=lead if at_least is None or not margin else lead.clamp(min=at_least),
        keep=~(none if drop is None else drop),
    )


def _lowest(value: Tensor, share: float) -> Tensor:
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies in 0..1, got {share}")
    known = int(value.isfinite().sum())
    mask = torch.zeros_like(value, dtype=torch.bool)
    order = value.nan_to_num(torch.inf).argsort(stable=True)  # not known (a tie): last
    mask[order[: round(share * known)]] = True
    return mask
