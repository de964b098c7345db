"""Which pairs to have labelled, whom to believe, and which to keep, to swap or to leave out."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.parts.preference_strength import Treatment
from guerdon.types import FIRST, SECOND, TIE, Pairs

NO_ANSWER = -1
"""A judge that was asked and gave none."""


def retrieval_budget(probability: Tensor, *, k_max: int = 8, tolerance: float = 1e-6) -> Tensor:
    """[N] how many neighbours to fetch for each verified pair, more the worse the model does on it.

        k = k_max if p <= 1/2, else ceil(k_max (1 - p))

    Liu et al., "Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy", 2025
    (https://arxiv.org/abs/2507.01352).

    Args:
        probability: [N] p = sigmoid(score of the one that a human chose - score of the other).
        k_max: 8 (the paper).
        tolerance: what k_max (1 - p) may be above a whole number by rounding, so that p = 0.75 gives 2.

    Raises:
        ValueError: a probability outside 0..1 (or NaN), no probabilities, or k_max below 1.
    """
    _check_probability(probability)
    if k_max < 1 or not len(probability):
        raise ValueError(
            f"a budget needs at least one verified pair and k_max >= 1, got {len(probability)} and {k_max}"
        )
    few = (k_max * (1 - probability.double()) - tolerance).ceil().clamp(min=0).long()
    return torch.where(probability <= 0.5, k_max, few)


def retrieve(query: Tensor, pool: Tensor, budget: Tensor) -> Tensor:
    """[n] rows of `pool`: the budget[i] most similar to query i by cosine, for all i, each row once.

    In the order in which the queries find them, the most similar first. Few rows give few neighbours.

    Args:
        query: [G, E].
        pool: [P, E].
        budget: [G] integers, at least 0.

    Raises:
        ValueError: no queries, shapes that do not fit, or an embedding that is no finite number.
    """
    if query.ndim != 2 or pool.ndim != 2 or query.shape[1] != pool.shape[1] or budget.shape != query.shape[:1]:
        shapes = [list(x.shape) for x in (query, pool, budget)]
        raise ValueError(f"retrieval needs embeddings [G, E] and [P, E] and a budget [G], got {shapes}")
    if not len(query):
        raise ValueError("there are no verified pairs to look for neighbours of")
    if not bool(query.isfinite().all()) or not bool(pool.isfinite().all()):
        raise ValueError("an embedding holds NaN or infinity")
    found, pool = [], F.normalize(pool, dim=1)
    at_once = max(1, 2**24 // max(len(pool), 1))  # queries, so that a table of similarities stays small
    for rows, k in zip(F.normalize(query, dim=1).split(at_once), budget.split(at_once), strict=True):
        order = _nearest(rows, pool, max(int(k.max()), 0))
        found.append(order[torch.arange(order.shape[1], device=k.device) < k[:, None]])
    return torch.tensor(list(dict.fromkeys(torch.cat(found).tolist())), dtype=torch.long)


def nearest(query: Tensor, examples: Tensor, count: int) -> Tensor:
    """[n, up to `count`] rows of `examples` [G, E], the most similar to each query [n, E] by cosine first."""
    return _nearest(F.normalize(query, dim=1), F.normalize(examples, dim=1), count)


def _nearest(query: Tensor, pool: Tensor, count: int) -> Tensor:
    """Those with the largest inner product, the largest first; equal ones by row."""
    similarity = query @ pool.T
    rows = similarity.topk(min(count, len(pool)), dim=1).indices.sort(dim=1).values
    return rows.gather(1, similarity.gather(1, rows).argsort(dim=1, descending=True, stable=True))


def majority(votes: Tensor) -> Tensor:
    """[...] what most of the last dimension of `votes` say: FIRST or SECOND, or TIE where as many say either.

    TIE and NO_ANSWER count for neither side. Judges that vote several times are asked one by one first, as the paper
    does: ``majority(majority(votes))`` of votes [N, judges, votes]; all votes in one pool can say otherwise.

    Raises:
        ValueError: a vote that is none of these.
    """
    known = (votes == FIRST) | (votes == SECOND) | (votes == TIE) | (votes == NO_ANSWER)
    if not bool(known.all()):
        raise ValueError("a vote is FIRST (0), SECOND (1), TIE (2), or NO_ANSWER (-1)")
    lead = (votes == SECOND).sum(-1) - (votes == FIRST).sum(-1)
    return torch.where(lead > 0, SECOND, torch.where(lead < 0, FIRST, TIE))


def doubtful(probability: Tensor, *, delta: float = 0.05) -> Tensor:
    """[N] bool, the paper's first filter: where p <= 1/2, or nearer to it than `delta`, a judge is to be asked.

    p = sigmoid(score of the one that the original label chose - score of the other). The paper does not give `delta`
    [reconstructed: 0.05].
    """
    _check_probability(probability)
    return probability <= 0.5 + delta


class Agreement(NamedTuple):
    """What becomes of each of N pairs: exactly one of the three is True."""

    keep: Tensor  # [N] bool, as it was labelled
    recycle: Tensor  # [N] bool, with the outcome swapped
    undecided: Tensor  # [N] bool, left out


def agreement_filter(gold: Tensor, best: Tensor, judged: Tensor | None = None) -> Agreement:
    """The paper's second filter, on whether each agrees with the original label of a pair.

        keep     if gold and (judged or best)
        recycle  if not gold and not (judged and best): it would have been kept with its label swapped
        else undecided

    The paper recycles what was "judged inconsistent"; that this is the mirror image of what is kept is our reading, as
    swapping every label then swaps the two sets [reconstructed]. Look at some of them before: it only helps if most are
    wrong.

    Args:
        gold: [N] bool, of a model trained on human-verified pairs alone.
        best: [N] bool, of the best model.
        judged: [N] whether judges agree: 1, 0, or NO_ANSWER where they were not asked or undecided; None: nowhere.

    Raises:
        ValueError: the shapes differ, or `judged` is none of these.
    """
    judged = torch.full_like(gold, NO_ANSWER, dtype=torch.long) if judged is None else judged.long()
    if not gold.shape == best.shape == judged.shape or not bool(((judged >= NO_ANSWER) & (judged <= 1)).all()):
        raise ValueError("the filter needs gold, best and judged of equal shape, judged 1, 0 or NO_ANSWER (-1)")
    gold, best = gold.bool(), best.bool()
    keep = gold & (best | (judged == 1))
    recycle = ~gold & (~best | (judged == 0))
    return Agreement(keep, recycle, ~keep & ~recycle)


def flipped(pairs: Pairs, mask: Tensor) -> Pairs:
    """The pairs, with the outcome swapped where `mask` [N] is True; a tie stays one. Flipping twice changes nothing.

    Raises:
        ValueError: a mask that is not [N] bool.
    """
    if mask.shape != pairs.label.shape or mask.dtype != torch.bool:
        raise ValueError(f"flipping {len(pairs.label)} pairs needs a mask [N] of bool, got {list(mask.shape)}")
    swap = mask.to(pairs.label.device) & (pairs.label != TIE)
    label = torch.where(swap, FIRST + SECOND - pairs.label, pairs.label)
    return Pairs(first=pairs.first, second=pairs.second, label=label, weight=pairs.weight, columns=pairs.columns)


def treated(pairs: Pairs, treatment: Treatment) -> Pairs:
    """The pairs that are kept, swapped where it says so, with the columns "alpha" and "margin" for `pair_loss`."""
    columns = dict(pairs.columns or {}) | {"alpha": treatment.alpha.tolist(), "margin": treatment.margin.tolist()}
    made = flipped(pairs, treatment.sign < 0)
    whole = Pairs(first=made.first, second=made.second, label=made.label, weight=made.weight, columns=columns)
    return whole.rows(treatment.keep)


def _check_probability(probability: Tensor) -> None:
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        raise ValueError("a probability is not in 0..1: is there a NaN score?")
