"""BYOL-Hindsight: a step is interesting as far as what it led to is not even explained by noise seen in hindsight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.hindsight import Hindsight
from guerdon.models.seeded import Trainer
from guerdon.models.self_prediction import Foreseen, SelfPrediction, angle
from guerdon.parts.open_loop import mean_over_starts, paid_to_the_last
from guerdon.types import About, Reward, Rollout, Spec


class BYOLHindsight(Reward):
    """BYOL-Explore whose predictor is told the noise of each step, inferred from what came of it.

        z_t,i = p(b_t,i-1, a_t+i-1, F(obs[t+i]), eps)         eps ~ N(0, I): what made obs[t+i] of belief and action
        l(t, i) = | g(b_t,i, z_t,i)/|g| - F(obs[t+i])/|F| |^2                                               in [0, 4]
        r_s = sum of l(t, i) over t + i = s + 1, 1 <= i <= K                 min(K, s + 1) terms: [T, B], in [0, 4K]

    with beliefs b, encoder f and its slow copy F as in `BYOLExplore`. z may explain a coin that fell, and must not tell
    of belief and action, which is the game of `Hindsight`:  min over f, GRUs, g, p and max over a critic of
    ``weight * L_rec + L_inv``, with L_rec the mean of l as in BYOLExplore and L_inv an InfoNCE estimate of how much z
    tells of (b_t,i-1, a_t+i-1). So noise stops paying, and what could have been known pays until it is known.

    Masks, ends of episodes, beliefs from rollout to rollout, `observe` and `update` are as in BYOLExplore, and so is
    what the paper does to it: ``Prioritise(BYOLHindsight())``. Scores use one draw of eps for all steps, which
    `observe` renews.

    Jarrett et al., "Curiosity in Hindsight: Intrinsic Exploration in Stochastic Environments", 2022; there is no public
    code of the authors [reconstructed]. The paper pays weight * l + c with the InfoNCE term c of the step, which is
    about 0 once z is independent; we pay l alone, since c depends on what else is in the batch. The unofficial code we
    read (rwickman/BYOL-Explore) has no game (critic and generator descend together), a sigmoid before the exponential,
    and a deviation whose sign is wrong. Sizes are ours, for small tasks (noise of 256 numbers in that code).

    Args:
        noise: size of z and of eps (our choice; 16 to 32 at small scale).
        weight: of L_rec beside L_inv (1: unofficial code).
        negatives: rows of an InfoNCE estimate, which its logarithm bounds (our choice; at least 32).
        critic_steps: of the critic, for each of everything else (our choice).
        features, hidden, belief, horizon, decay, lr, sequences, epochs, keys, standardise: see `BYOLExplore`.

    Raises:
        ValueError: a horizon below 1 or fewer than 2 negatives; a rollout of another number of environments than the
            spec's (replayed steps); NaN or infinite observations, or ones of another shape than the space says.
    """

    about: ClassVar[About] = About(
        rewards="steps whose consequence is not foreseen even when told the noise of it in hindsight",
        paper="Curiosity in Hindsight: Intrinsic Exploration in Stochastic Environments (Jarrett et al., 2022)",
        link="https://arxiv.org/abs/2211.10515",
        claim="byol_hindsight",
    )
    episodic: ClassVar[bool] = True
    eps: Tensor

    def __init__(
        self,
        *,
        noise: int = 32,
        weight: float = 1.0,
        negatives: int = 256,
        critic_steps: int = 2,
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
        if horizon < 1 or negatives < 2:
            raise ValueError(f"BYOLHindsight needs horizon >= 1 and negatives >= 2, got {horizon} and {negatives}")
        self.noise, self.weight, self.negatives, self.critic_steps = noise, weight, negatives, critic_steps
        self.features, self.hidden, self.belief, self.horizon, self.decay = features, hidden, belief, horizon, decay
        self.lr, self.sequences, self.epochs, self.keys, self.standardise = lr, sequences, epochs, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        names = ("features", "hidden", "belief", "horizon", "decay", "keys", "standardise")
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        made: dict[str, Any] = {"device": device, "generator": generator}
        self.world = SelfPrediction(spec, **options, **made, extra=self.noise, reader=self.name)
        self.hindsight = Hindsight(
            self.belief + self.world.code.size,
            self.features,
            size=self.noise,
            hidden=self.hidden[-1] if self.hidden else self.belief,
            negatives=self.negatives,
            critic_steps=self.critic_steps,
            lr=self.lr,
            **made,
        )
        learners = [*self.world.learners(), *self.hindsight.generator.parameters()]
        self.trainer = Trainer(learners, lr=self.lr, generator=generator)
        self.register_buffer("eps", self._draw().to(device))

    def _draw(self) -> Tensor:
        return torch.randn(self.noise, generator=self.trainer.rng)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        if not experience.valid.numel():
            return torch.zeros(experience.shape, device=experience.valid.device)
        foreseen = self.world.foresee(experience, self.world.starts(experience), self.world.carried)
        losses = [self._loss(f, self.hindsight.infer(f.context, f.target, self.eps)) for f in foreseen]
        return paid_to_the_last(losses, [f.mask for f in foreseen])

    def _loss(self, foreseen: Foreseen, noise: Tensor) -> Tensor:
        return angle(self.world.open(foreseen.after, noise), foreseen.target)

    def observe(self, rollout: Rollout) -> None:
        self.world.carry(rollout)
        self.eps.copy_(self._draw())

    def update(self, experience: Any) -> dict[str, float]:
        """Trains all networks on a Rollout, the critic first, and passes over anything else."""
        if not isinstance(experience, Rollout) or not bool(experience.valid.any()):
            return {}
        starts, losses = self.world.starts(experience), []
        for columns in self.trainer.batches(experience.shape[1], self.sequences, epochs=self.epochs):
            part = experience.columns(columns)
            foreseen = self.world.foresee(part, starts[:, columns], self.world.origin[columns])
            noises = [self.hindsight.infer(f.context, f.target) for f in foreseen]
            context = torch.cat([f.context[f.mask] for f in foreseen])
            noise = torch.cat([z[f.mask] for f, z in zip(foreseen, noises, strict=True)])
            self.hindsight.learn(context, noise)
            wrong = [self._loss(f, z) for f, z in zip(foreseen, noises, strict=True)]
            rec, inv = mean_over_starts(wrong, [f.mask for f in foreseen]), self.hindsight.dependence(context, noise)
            self.trainer.step(self.weight * rec + inv)
            self.world.target.update(self.world.net)
            losses.append(torch.stack([rec.detach(), inv.detach()]))
        rec, inv = torch.stack(losses).mean(0).tolist()
        return {f"{self.name}/reconstruction": rec, f"{self.name}/dependence": inv}
