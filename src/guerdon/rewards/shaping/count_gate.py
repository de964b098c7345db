"""CountGate: a repeat within one episode pays less and less."""

from __future__ import annotations

from typing import Any, ClassVar

from guerdon.parts.count_gate import count_gate
from guerdon.types import About, Reward, Rollout, Scored, as_reward, check_score


class CountGate(Reward):
    """Pays a caption's N-th sight in an episode ``r_t * N_t ** -power``, N_t being ``rollout.caption_count[t + 1]``.

    With the default power 3 (ONI) and a reward of at most 1 a caption, one caption pays at most 1.2021 an episode,
    however often the agent repeats it. The reset message counts and is never paid. Power 0 turns the gate off.
    Shapes: [T, B]. Unscored (NaN) stays unscored; padding is 0. Counts come with the experience, so replayed single
    steps are paid as they were when collected.

    Raises:
        ValueError: a rollout without caption counts, or a negative power.
    """

    about: ClassVar[About] = About(
        rewards="another reward, less for each repeat of a caption in the episode",
        paper="Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback (2024)",
        link="https://arxiv.org/abs/2410.23022",
        example="CountGate(Extrinsic())",
    )
    reads_captions: ClassVar[bool] = True

    def __init__(self, reward: Any, *, power: float = 3.0) -> None:
        super().__init__()
        if power < 0:
            raise ValueError(f"CountGate's power must not be negative, got {power}")
        self.reward, self.power = as_reward(reward), power

    @property
    def name(self) -> str:
        return f"CountGate({self.reward.name})"

    def evaluate(self, experience: Rollout, **needed: Any) -> Scored:
        inner = self.reward.evaluate(experience, **needed)
        counts = getattr(experience, "caption_count", None)
        if counts is None:
            raise ValueError(f"{self.name} needs caption counts: play a task with captions, or leave the gate out")
        gate = count_gate(counts[1:].masked_fill(~experience.valid.bool(), 1), self.power)
        return inner.then(self.name, check_score(inner.value * gate, experience, self.name))
