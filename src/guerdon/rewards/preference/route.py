"""Each kind of answer to the reward that was made for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from guerdon.types import About, Completions, Experience, Labels, Pairs, Reward


class Route(Reward):
    """Every row is scored by the reward of its kind, and every pair teaches the reward of its kind: [N], float32.

    BaseReward (2025) finds that text-only preferences help a multimodal reward model and not the reverse, and so sends
    text to a reward model of its own. The scales of the rewards are their own: compare rows of one kind only.

    Args:
        rewards: by kind.
        column: of the completions, that holds the kind; both sides of a pair have the same.
    """

    about: ClassVar[About] = About(
        rewards="answers of each kind by a reward of their own",
        paper="BaseReward: A Strong Baseline for Multimodal Reward Model (2025)",
        link="https://arxiv.org/abs/2509.16127",
        claim="basereward",
        scores="Completions",
        example="Route(rewards={'0': BradleyTerry(encoder=Features(['unanswerable'])), '1': MathVerify()}, "
        "column='unanswerable')",
    )

    def __init__(self, *, rewards: Mapping[str, Reward], column: str) -> None:
        super().__init__()
        if not rewards:
            raise ValueError("Route needs a reward for at least one kind")
        self.rewards, self.column = nn.ModuleDict(dict(rewards)), column

    def config(self) -> dict[str, Any]:
        return {"rewards": dict(self.rewards.items()), "column": self.column}

    @property
    def parts(self) -> list[Reward]:
        return list(self.rewards.values())  # type: ignore[arg-type]

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        assert isinstance(experience, Completions)
        kinds = self._kinds(experience)
        made, device = [], None
        for kind, rows in kinds.items():
            value = self.rewards[kind].evaluate(experience.rows(rows)).value  # type: ignore[operator]
            if value.ndim == 2:
                value = value.sum(1)
            made.append(value)
            device = value.device
        if not made:
            return torch.zeros(0, device=experience.ids.device)
        back = torch.tensor([i for rows in kinds.values() for i in rows], device=device).argsort()
        return torch.cat(made)[back]

    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Pairs of completions go to the reward of their kind; all else to every reward."""
        if not isinstance(experience, Pairs) or not isinstance(experience.first, Completions):
            return super().update(experience)
        kinds = self._kinds(experience.first)
        if kinds != self._kinds(experience.second):
            raise ValueError(f"{self.name}: the two sides of a pair differ in {self.column!r}")
        logs = {kind: self.rewards[kind].update(experience.rows(rows)) for kind, rows in kinds.items()}  # type: ignore
        return {f"{name}/{kind}": value for kind, log in logs.items() for name, value in log.items()}

    def _kinds(self, completions: Completions) -> dict[str, list[int]]:
        """The rows of each kind. Raises ValueError for a kind that has no reward."""
        found: dict[str, list[int]] = {}
        for i, kind in enumerate(completions.column(self.column, self.name)):
            if str(kind) not in self.rewards:
                raise ValueError(
                    f"{self.name} has no reward for the kind {str(kind)!r} of row {i}, but for "
                    f"{', '.join(self.rewards)}"
                )
            found.setdefault(str(kind), []).append(i)
        return found
