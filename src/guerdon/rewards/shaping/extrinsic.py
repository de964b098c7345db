"""The task's own reward, as a term."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from guerdon.types import About, Reward, Rollout


class Extrinsic(Reward):
    """The task's own reward, raw: ``r_t = rollout.extrinsic[t]``, before any scaling or clipping.

    Shapes: float32 [T, B]. Range: the task's. Padding and invalid steps are 0; a terminal step is paid like any other.
    """

    about: ClassVar[About] = About(rewards="what the task itself pays", paper="the task")

    def score(self, experience: Rollout) -> Tensor:
        return experience.extrinsic.float().masked_fill(~experience.valid.bool(), 0.0)
