"""Normalise: a reward on a common scale, learned on the way."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.recall import Recall
from guerdon.parts.running_moments import RunningMoments
from guerdon.types import About, Experience, Reward, Rollout, Scored, Spec, as_reward, check_score


class Normalise(Reward):
    """Divides a reward by a running standard deviation s (population variance of all so far, plus `epsilon`).

    - ``by="returns"``: ``r / s`` with s of the discounted return so far, ``G_t = gamma * G_{t-1} + r_t``. The sign and
      the zero of the reward stay. What RND, VecNormalize and Gymnasium do.
    - ``by="moments"``: ``(r - m) / s`` with the mean m and s of the rewards themselves. What ONI's and Motif's ranking
      rewards do; it moves the zero, and so the worth of staying alive.

    Statistics start at mean 0 and variance 1 and advance in `observe` only, after the rollout was scored with the ones
    before it. Invalid and unscored steps are passed over: they neither count nor change G. Works on any experience and
    keeps its shape; it is advanced by rollouts. NaN stays NaN, padding 0.

    Args:
        reward: what to normalise.
        by: see above.
        gamma: discount of G (0.99: RND and Gymnasium).
        episodic: G starts again after an end of an episode, terminated or truncated (as VecNormalize; Gymnasium starts
            again after terminations only). False lets it run on, as RND does.
        epsilon: added to the variance (1e-8: VecNormalize and Gymnasium).
    """

    about: ClassVar[About] = About(
        rewards="another reward, on the scale of its running spread",
        paper="Exploration by Random Network Distillation (Burda et al., 2018), section 2.4",
        link="https://arxiv.org/abs/1810.12894",
        scores="any",
        example="Normalise(Extrinsic())",
    )
    carried: Tensor

    def __init__(
        self,
        reward: Any,
        *,
        by: Literal["returns", "moments"] = "returns",
        gamma: float = 0.99,
        episodic: bool = True,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__()
        if by not in ("returns", "moments"):
            raise ValueError(f"Normalise's by is 'returns' or 'moments', got {by!r}")
        self.reward = as_reward(reward)
        self.by, self.gamma, self.episodic, self.epsilon = by, gamma, episodic, epsilon  # type: ignore[misc]

    @property
    def name(self) -> str:
        return f"Normalise({self.reward.name})"

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        super().build(spec, device=device, generator=generator)
        self.moments = RunningMoments().to(device)
        self.recall: Recall[Tensor] = Recall()
        if self.by == "returns":
            self.register_buffer("carried", torch.zeros(spec.num_envs, device=device))  # G of each running episode

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        if not hasattr(self, "moments"):
            raise RuntimeError(f"{self.name} is not built: call build(spec) first")
        inner = self.reward.evaluate(experience, **needed)
        if isinstance(experience, Rollout):
            self.recall.forget()
            self.recall.of(experience, self.reward, lambda: inner.value)
        if self.by == "moments":
            value = self.moments.normalise(inner.value, epsilon=self.epsilon)
        else:
            value = inner.value / (self.moments.var + self.epsilon).sqrt().to(inner.value.dtype)
        return inner.then(self.name, check_score(value, experience, self.name))

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> None:
        values = self.recall.of(  # before the inner reward's own state moves on
            rollout, self.reward, lambda: self.reward.evaluate(rollout).value
        )
        super().observe(rollout)
        self.recall.forget()
        counted = rollout.valid.bool() & ~values.isnan()
        self.moments.update(self._returns(values, counted, rollout) if self.by == "returns" else values, counted)

    def update(self, experience: Any) -> dict[str, float]:
        self.recall.forget()
        return super().update(experience)

    def _returns(self, values: Tensor, counted: Tensor, rollout: Rollout) -> Tensor:
        """G at every step [T, B]; the last one is carried into the next rollout."""
        if rollout.shape[1] != len(self.carried):
            raise ValueError(f"{self.name} was built for {len(self.carried)} environments, got {rollout.shape[1]}")
        running, returns = self.carried.clone(), torch.empty_like(values)
        ended = (rollout.terminated | rollout.truncated).bool()
        for t in range(len(values)):
            running = torch.where(counted[t], self.gamma * running + values[t], running)
            returns[t] = running
            if self.episodic:
                running = running.masked_fill(ended[t], 0.0)
        self.carried.copy_(running)
        return returns
