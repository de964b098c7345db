"""Secrets II: an ensemble says how sure each label is; the wrong ones are swapped, softened or left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.curation import treated
from guerdon.parts.preference_strength import (
    Strength,
    Treatment,
    pair_scores,
    preference_strength,
    strongest,
    treat,
    weakest,
)
from guerdon.types import About, Pairs, Reward

Fit = Callable[[Pairs, int], Reward]
"""Gives a new reward, fitted to these pairs with this seed: of its first weights and of the order of data."""


class StrengthCuration:
    """Trains an ensemble on comparisons and corrects those comparisons that it contradicts.

        ensemble  ->  mu, s by pair (`preference_strength`)  ->  treatment  ->  pairs to train the model on

    A pair is weak if the mean lead mu of its chosen one over the ensemble is among the lowest (of HH-RLHF's training
    pairs a quarter had mu < 0). Strength is read on the very pairs that the ensemble was trained on, so train it
    briefly: once it has them by heart, none is weak. The paper's treatments::

        StrengthCuration()                                  # flip the lowest fifth
        StrengthCuration(share=None)                        # flip where mu < 0
        StrengthCuration(weak="soften", share=None)         # doubt the label there
        StrengthCuration(weak=None, margin=True)            # ask for a lead of mu
        StrengthCuration(margin=True)                       # flip, and a margin
        StrengthCuration(weak="soften", share=None, margin=True)

    Ties are left as they are. Wang et al., "Secrets of RLHF in Large Language Models Part II: Reward Modeling", 2024.

    Args:
        weak: what is done with weak pairs: "flip", "soften", "drop" (a control) or None.
        share: of the pairs, how many are weak (0.2: the paper's lowest group); None for all with mu < 0.
        alpha: chance that a softened label is wrong (our choice).
        strong: share of the pairs with the highest mu whose labels are softened as well (the paper: 0.1 or none).
        margin: whether each pair's margin is its mu, in units of this ensemble's scores.
        at_least: lower bound of margins (0 is a choice of ours); None leaves negative ones.
        members: models of the ensemble (10: the paper).
    """

    about: ClassVar[About] = About(
        rewards="comparisons that an ensemble of reward models does not contradict",
        paper="Secrets of RLHF in Large Language Models Part II: Reward Modeling (Wang et al., 2024)",
        link="https://arxiv.org/abs/2401.06080",
        claim="secrets_rm",
    )

    def __init__(
        self, *, weak: Literal["flip", "soften", "drop"] | None = "flip", share: float | None = 0.2,
        alpha: float = 0.1, strong: float = 0.0, margin: bool = False, at_least: float | None = None, members: int = 10,
    ) -> None:  # fmt: skip
        if weak not in ("flip", "soften", "drop", None):
            raise ValueError(f"weak is 'flip', 'soften', 'drop' or None, not {weak!r}")
        if members < 1:
            raise ValueError(f"an ensemble has at least one member, got {members}")
        self.weak, self.share, self.alpha, self.strong = weak, share, alpha, strong
        self.margin, self.at_least, self.members = margin, at_least, members

    def __call__(self, pairs: Pairs, fit: Fit, *, seed: int = 0) -> tuple[Pairs, dict[str, float]]:
        """The treated pairs, with the columns "margin", "alpha", "strength" and "spread", and what was done.

        Raises ValueError for no pairs, or where a member's score is no finite number.
        """
        strength = self.strength(pairs, fit, seed=seed)
        treatment = self.treatment(strength.mean)
        sided = ~strength.mean.isnan()
        columns = dict(pairs.columns or {}) | {"strength": strength.mean.tolist(), "spread": strength.spread.tolist()}
        noted = Pairs(
            first=pairs.first, second=pairs.second, label=pairs.label, weight=pairs.weight, columns=columns
        )  # fmt: skip
        logs = {
            "pairs": float(sided.sum()),
            "contradicted": float((strength.mean[sided] < 0).float().mean()),
            "spread": float(strength.spread[sided].mean()),
            "flipped": float((treatment.sign < 0).sum()),
            "softened": float((treatment.alpha > 0).sum()),
            "dropped": float((~treatment.keep).sum()),
        }
        return treated(noted, treatment), logs

    def strength(self, pairs: Pairs, fit: Fit, *, seed: int = 0) -> Strength:
        """Mean and spread of each pair's lead over members with the seeds `seed`, `seed` + 1, ..."""
        if not len(pairs.label):
            raise ValueError("there are no pairs to curate")
        scores = [pair_scores([fit(pairs, seed + m)], pairs) for m in range(self.members)]
        return preference_strength(torch.cat(scores).cpu(), pairs.label.cpu())

    def treatment(self, mean: Tensor) -> Treatment:
        """What is done with pairs of mean leads `mean` [N]."""
        weak = weakest(mean, self.share)
        masks: dict[str, Any] = {self.weak: weak} if self.weak else {}
        if self.strong:
            masks["soften"] = masks.get("soften", torch.zeros_like(weak)) | strongest(mean, self.strong)
        return treat(mean, **masks, margin=self.margin, alpha=self.alpha, at_least=self.at_least)
