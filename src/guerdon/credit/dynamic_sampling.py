"""The filter of DAPO: groups whose answers all earned the same are left out of the update."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from guerdon.parts.group_advantages import row_rewards
from guerdon.parts.group_filter import varied_groups
from guerdon.types import About, Completions, Scored


@dataclass(kw_only=True)
class DynamicSampling:
    """[N] weights: 1 for scored answers of groups with any spread of the reward, 0 for the others (Yu et al., 2025).

    A filter only drops; to fill the batch up again see `guerdon.parts.group_filter.collect_varied`. After `max_empty`
    batches in a row without a single varied group it raises, as DAPO does after as many rounds of sampling.
    """

    about: ClassVar[About] = About(
        rewards="drops the groups whose rewards are all equal",
        paper="DAPO: An Open-Source LLM Reinforcement Learning System at Scale (Yu et al., 2025)",
        link="https://arxiv.org/abs/2503.14476",
        scores="Completions",
        claim="grpo_family",
    )

    term: str | None = None  # whose spread counts, e.g. the plain correctness below a shaped reward; None is the value
    minimum: float = 0.0
    max_empty: int = 10
    empty: int = field(default=0, init=False)  # batches in a row, so far

    def __call__(self, completions: Completions, scored: Scored) -> Tensor:
        """Raises ValueError without groups or such a term, RuntimeError after `max_empty` batches for nothing."""
        if completions.group is None:
            raise ValueError("DynamicSampling compares answers within groups, and these completions have none")
        if self.term is not None and self.term not in scored.terms:
            raise ValueError(f"the reward has no term {self.term!r}, but {sorted(scored.terms)}")
        metric = scored.value if self.term is None else scored.terms[self.term]
        kept = varied_groups(row_rewards(metric, completions.mask.bool()), completions.group, minimum=self.minimum)
        self.empty = 0 if bool(kept.any()) else self.empty + 1
        if self.empty >= self.max_empty:
            raise RuntimeError(
                f"in {self.empty} batches in a row no prompt had answers of different reward: the prompts are too easy "
                "or too hard, or sampling varies too little"
            )
        return kept.float()

    def state_dict(self) -> dict[str, Any]:
        return {"empty": self.empty}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.empty = state["empty"]
