"""BYOL-Explore: a step is interesting as far as the features it led to were not foreseen, by all who foresaw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.seeded import Trainer
from guerdon.models.self_prediction import SelfPrediction, angle
from guerdon.parts.open_loop import mean_over_starts, paid_to_the_last
from guerdon.types import About, Reward, Rollout, Spec


class BYOLExplore(Reward):
    """The error of latent self-prediction, open-loop over up to K steps, summed over all predictions of obs[s + 1].

        b_t = GRU(b_t-1, [a_t-1, f(obs[t])])                  b_t,0 = b_t,  b_t,i = GRU'(b_t,i-1, a_t+i-1)
        l(t, i) = | g(b_t,i)/|g| - F(obs[t+i])/|F| |^2 = 2 - 2 cos                              in [0, 4]
        r_s = sum of l(t, i) over t + i = s + 1, 1 <= i <= K                 min(K, s + 1) terms: [T, B], in [0, 4K]

    f is an encoder and F a slow copy of it. `update` descends, for each start t, the mean of l(t, i) over i, and then
    moves F. No prediction crosses an end of an episode or an invalid step; the first steps of a rollout or an episode
    have fewer terms, a terminal step is paid as any other, an invalid one 0. A start or a rollout without any gives 0.
    Beliefs start at 0 with each episode and run on from rollout to rollout: `observe` takes them along, `update` starts
    from where the rollout that was observed last began. The paper divides by a running deviation and pays what is above
    the running mean: ``Prioritise(BYOLExplore())``. Noise pays for ever: see `BYOLHindsight`.

    Guo et al., "BYOL-Explore: Exploration by Bootstrapped Prediction", 2022; there is no public code of the authors.
    Sizes are ours, for small tasks [the paper's are those of a large residual network and 512 units].

    Args:
        features: size of f (our choice).
        hidden: dense layers of f, after the convolutions if there are any (our choice).
        belief: units of both GRUs (our choice).
        horizon: K (paper 8).
        decay: of the slow copy (paper 0.99).
        lr: of Adam (paper 1e-4; ours for few steps).
        sequences: environments in a training step (our choice).
        epochs: passes over a rollout (paper 1).
        keys: of the observation; None means all.
        standardise: observations by their running moments (our choice); False leaves numbers as they are.

    Raises:
        ValueError: a horizon below 1; a rollout of another number of environments than the spec's (replayed steps);
            NaN or infinite observations, or ones of another shape than the space says.
    """

    about: ClassVar[About] = About(
        rewards="steps whose consequence a recurrent world model did not foresee in its own features",
        paper="BYOL-Explore: Exploration by Bootstrapped Prediction (Guo et al., 2022)",
        link="https://arxiv.org/abs/2206.08332",
        claim="byol_hindsight",
    )
    episodic: ClassVar[bool] = True

    def __init__(
        self,
        *,
        features: int = 64,
        hidden: Sequence[int] = (128,),
        belief: int = 128,
        horizon: int = 8,
        decay: float = 0.99,
        lr: float = 1e-3,
        sequences: int = 8,
        epochs: int = 1,
        keys: Sequence[str] | None = None,
        standardise: bool = True,
    ) -> None:
        super().__init__()
        if horizon < 1:
            raise ValueError(f"BYOLExplore's horizon must be at least 1, got {horizon}")
        self.features, self.hidden, self.belief, self.horizon, self.decay = features, hidden, belief, horizon, decay
        self.lr, self.sequences, self.epochs, self.keys, self.standardise = lr, sequences, epochs, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = {k: v for k, v in self.config().items() if k not in ("lr", "sequences", "epochs")}
        self.world = SelfPrediction(spec, **options, device=device, generator=generator, reader=self.name)
        self.trainer = Trainer(self.world.learners(), lr=self.lr, generator=generator)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        if not experience.valid.numel():
            return torch.zeros(experience.shape, device=experience.valid.device)
        losses, masks = self._losses(experience, self.world.starts(experience), self.world.carried)
        return paid_to_the_last(losses, masks)

    def _losses(self, rollout: Rollout, starts: Tensor, before: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """l(t, i) and whether they count, [T - i + 1, B] for each i."""
        foreseen = self.world.foresee(rollout, starts, before)
        return [angle(self.world.open(f.after), f.target) for f in foreseen], [f.mask for f in foreseen]

    def observe(self, rollout: Rollout) -> None:
        self.world.carry(rollout)

    def update(self, experience: Any) -> dict[str, float]:
        """Trains all networks on a Rollout, and passes over anything else."""
        if not isinstance(experience, Rollout) or not bool(experience.valid.any()):
            return {}
        starts, losses = self.world.starts(experience), []
        for columns in self.trainer.batches(experience.shape[1], self.sequences, epochs=self.epochs):
            part = experience.columns(columns)
            loss = mean_over_starts(*self._losses(part, starts[:, columns], self.world.origin[columns]))
            self.trainer.step(loss)
            self.world.target.update(self.world.net)
            losses.append(loss.detach())
        return {f"{self.name}/loss": float(torch.stack(losses).mean())}
