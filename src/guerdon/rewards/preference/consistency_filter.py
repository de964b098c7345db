"""Skywork-Reward-V2, stage 2: comparisons that two reward models agree on are kept, without humans."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from guerdon.parts.curation import NO_ANSWER, Agreement, agreement_filter, doubtful, flipped
from guerdon.parts.preference_strength import chosen_lead, pair_scores
from guerdon.types import FIRST, SECOND, TIE, About, Pairs, Reward


class Filtered(NamedTuple):
    """What became of N comparisons."""

    pairs: Pairs  # those kept, and with `recycle` those swapped, in their order
    agreement: Agreement  # masks [N] over the comparisons that came in
    asked: Tensor  # [N] bool, which ones judges were asked about


class ConsistencyFilter:
    """Keeps comparisons whose label a model of human-verified pairs and a second voice agree with.

        doubtful (p of the best model <= 1/2, or near)  ->  judges are asked
        keep     if gold and (judges or best)       swap  if not gold and not (judges and best)      else leave out

    "best" is the best model so far, "gold" one trained on human-verified pairs alone. Most comparisons pass without a
    judge. Swapping is only right if most of what is swapped was wrong: compare `Filtered.agreement` with verified
    labels first. Ties are left out. Liu et al., "Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI
    Synergy", 2025.

    Args:
        delta: how near to 1/2 is doubtful [reconstructed: 0.05].
        recycle: whether what is judged wrong comes back with its label swapped (the paper's 40M model).
    """

    about: ClassVar[About] = About(
        rewards="comparisons whose labels two reward models confirm",
        paper="Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy (2025)",
        link="https://arxiv.org/abs/2507.01352",
        claim="skywork_v2",
    )

    def __init__(self, *, delta: float = 0.05, recycle: bool = True) -> None:
        self.delta, self.recycle = delta, recycle

    def __call__(
        self, pairs: Pairs, *, best: Reward, gold: Reward, judge: Callable[[Pairs], Tensor] | None = None
    ) -> Filtered:
        """Filters comparisons by two built rewards and judges, who give labels FIRST, SECOND, TIE or NO_ANSWER [n].

        Raises ValueError for no pairs, a score that is no finite number, or labels that are none.
        """
        n, label = len(pairs.label), pairs.label.cpu()
        if not n:
            raise ValueError("there are no pairs to filter")
        sided = label != TIE
        lead = chosen_lead(pair_scores([best, gold], pairs).cpu(), label).nan_to_num(0.0)
        asked = doubtful(lead[0].double().sigmoid(), delta=self.delta) & sided
        if judge is None:
            asked = torch.zeros_like(asked)
        judged = torch.full((n,), NO_ANSWER)
        if judge is not None and bool(asked.any()):
            said = judge(pairs.rows(asked)).cpu()
            if said.shape != label[asked].shape or not bool(((said >= NO_ANSWER) & (said <= TIE)).all()):
                raise ValueError(f"{int(asked.sum())} pairs need as many labels FIRST, SECOND, TIE or NO_ANSWER")
            decided = (said == FIRST) | (said == SECOND)
            judged[asked] = torch.where(decided, (said == label[asked]).long(), NO_ANSWER)
        found = agreement_filter(lead[1] > 0, lead[0] > 0, judged)
        found = Agreement(found.keep & sided, found.recycle & sided, found.undecided | ~sided)
        wanted = found.keep | found.recycle if self.recycle else found.keep
        return Filtered(flipped(pairs, found.recycle).rows(wanted), found, asked)
