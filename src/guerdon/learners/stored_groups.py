"""Offline groups: answers that were stored with the states they answer, sampled once and learnt from for as long."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from guerdon.learners.samplers import Row
from guerdon.types import Completions, LanguageModel


class StoredGroups:
    """A sampler that gives out stored groups instead of asking the policy: offline learning with `TextLearner`.

    A group holds several answers to one state (a prompt, or a dialogue so far), as completions with `group` and, under
    the policy that wrote them, `log_prob`; what the reward reads stands in their columns. Train on ``stored.rows``:

    - offline GRPO (Nous, 2025): ``loss=PolicyLoss(clip_high=0.2, beta=0.04)``, ``reference=`` a frozen copy of the
      policy that wrote them, which the policy starts from. The stored `log_prob` is what ratios are taken against.
    - where nobody kept `log_prob`: ``loss=AdvantageWeightedLoss()``. `PolicyLoss` would take the answers for its own.
    - pairs for DPO: ``pairs_of(completions, mine_pairs(score, completions.group))``, best against worst of a state.

    Args:
        completions: of all groups, in any order.
        temperature: at which `log_prob` is meant.

    Raises:
        ValueError: completions in no groups.
    """

    def __init__(self, completions: Completions, *, temperature: float = 1.0) -> None:
        if completions.group is None:
            raise ValueError("StoredGroups gives out groups: set Completions.group to the state that each row answers")
        self.completions, self.temperature = completions, temperature
        group = completions.group.tolist()
        self._members: dict[int, list[int]] = {}
        for row, number in enumerate(group):
            self._members.setdefault(number, []).append(row)

    @property
    def rows(self) -> list[Row]:
        """A row for each state, to be handed to the learner as its questions."""
        prompts = list(self.completions.prompt)
        return [{"prompt": prompts[rows[0]], "stored": number} for number, rows in self._members.items()]

    def __call__(self, rows: Sequence[Row], policy: LanguageModel, generator: torch.Generator) -> Completions:
        """The groups that these rows stand for, in order."""
        members = [self._members[row["stored"]] for row in rows]
        made = self.completions.rows([i for group in members for i in group])
        sizes = torch.tensor([len(group) for group in members])
        made.group = torch.arange(len(members)).repeat_interleave(sizes).to(made.ids.device)
        return made
