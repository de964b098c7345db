"""A reward model that was fitted before, from its folder."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models import reward_folder
from guerdon.types import About, Experience, Reward, Spec


class RewardModel(Reward):
    """A folder that `guerdon fit` wrote, or any sequence classifier of transformers with one label.

    The score is the logit, float32, unbounded: [N] for Completions, [T, B] for a Rollout where the folder holds a
    reward of control. Prompt and answer are put together as `Transformer` says; for a foreign model no end-of-text
    token is added: end the texts as its maker did, or give messages. Nothing is learned.

    Args:
        path: of the folder; or an installed package or cached name that transformers can load.
        truncate: a text longer than the model is an error that names the row; True cuts it.
    """

    about: ClassVar[About] = About(
        rewards="what a reward model fitted beforehand prefers",
        paper="Learning to summarize from human feedback (Stiennon et al., 2020)",
        link="https://arxiv.org/abs/2009.01325",
        scores="any",
    )

    def __init__(self, *, path: str, truncate: bool = False) -> None:
        super().__init__()
        self.path, self.truncate = path, truncate

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        self.encoder, self.head = reward_folder.load(
            self.path, spec, truncate=self.truncate, device=device, reader=self.name
        )
        self.requires_grad_(False)

    @torch.no_grad()
    def score(self, experience: Experience, **needed: Any) -> Tensor:
        return self.head(self.encoder(experience))
