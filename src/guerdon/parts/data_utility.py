"""Which data sets are worth training on, from what one reward model of each is good for."""

from __future__ import annotations

import torch
from torch import Tensor


def helpful(utility: Tensor, *, clear: float = 0.2) -> Tensor:
    """[D] bool: sets whose model is clearly right on some dimension and clearly wrong on none.

    BaseReward (2025) trains one model a candidate set, looks at its accuracy by dimension of a benchmark, and drops
    what does not help; the rule in numbers is ours [reconstructed]. A model of random labels is no coin: along a few
    features it is right by luck, so `clear` must be more than such luck brings.

    Args:
        utility: [D, K] accuracy of the model of set d on dimension k, 0..1.
        clear: how far from 0.5 is clear.

    Raises:
        ValueError: not [D, K], an accuracy outside 0..1 or NaN, or `clear` outside 0..0.5.
    """
    if utility.ndim != 2 or not utility.shape[1] or not bool(((utility >= 0) & (utility <= 1)).all()):
        raise ValueError(f"a utility matrix holds accuracies 0..1 of D sets on K dimensions, got {list(utility.shape)}")
    if not 0 < clear <= 0.5:
        raise ValueError(f"clear is a distance from 0.5, above 0 and at most 0.5, got {clear}")
    return (utility.amax(1) >= 0.5 + clear) & (utility.amin(1) > 0.5 - clear)


def missing(utility: Tensor, *, clear: float = 0.2) -> list[int]:
    """Dimensions on which no helpful set is clearly right: what is still missing. As `helpful`."""
    kept = utility[helpful(utility, clear=clear)]
    best = kept.amax(0) if len(kept) else torch.zeros(utility.shape[1])
    return (best < 0.5 + clear).nonzero().flatten().tolist()
