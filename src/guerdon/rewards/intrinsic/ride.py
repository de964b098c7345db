"""RIDE: a step is interesting as far as it changed what actions show in, less for each return within the episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.dynamics import ActionFeatures
from guerdon.parts.counts import VisitCounts, digests
from guerdon.parts.episodes import RunningEpisodes, Visits
from guerdon.types import About, Reward, Rollout, Spec


class RIDE(Reward):
    """Impact-driven exploration: how far a step moved the features phi of ICM, over the root of an episodic count.

        r_t = |phi(obs[t+1]) - phi(obs[t])| / sqrt(N(obs[t+1]))

    N is how often this observation, all of its `count_keys` to the last bit, came in this episode, this time and the
    first observation included. [T, B] float32, at least 0, on no fixed scale; a terminal step is paid as any other, an
    invalid step 0, neither counted nor learnt from. Counts start anew with each episode and run on from rollout to
    rollout: `observe` takes them along. `update` trains phi with an inverse and a forward model (see `ActionFeatures`).

    Raileanu & Rocktaeschel, "RIDE: Rewarding Impact-Driven Exploration for Procedurally-Generated Environments", 2020.
    The forward loss is half the squared error, as in ICM; the paper's is the square and the authors' code's the norm.
    The authors train within the policy's own updates (RMSprop, gradients scaled down to 40). RLLTE takes the mean
    square of the change (no norm) over the root of a kernel count like NGU's, in features, and pays 0 where that root
    is above 0.1, which with its defaults is everywhere. Numbers that never come twice need other `count_keys`.

    Args:
        count_keys: of the observation, what is counted; None takes `keys`.
        inverse_weight, forward_weight: of the losses (0.1 and 10: paper). With these phi shrinks, and on small tasks
            hardly tells actions apart: ICM's 0.8 and 0.2 teach it more (NoisyTV, 60 rollouts of 512 steps: inverse
            loss 1.52 against 0.98, of ln 5 = 1.61).
        features: size of phi (128: paper and release).
        hidden: dense layers of phi's network, after the convolutions if there are any (RLLTE's for vectors).
        lr: of Adam (1e-3: RLLTE; paper 1e-4 of RMSprop).
        batch_size: steps of a training step (RLLTE).
        epochs: passes over a rollout (RLLTE).
        max_grad_norm: gradients are scaled down to it (40: release).
        keys: of the observation, what phi sees; None means all.
        standardise: observations by their running moments (our choice); False leaves numbers as they are.

    Raises:
        ValueError: a rollout of another number of environments than the spec's (replayed steps); NaN or infinite
            observations, or ones of another shape than the space says.
    """

    about: ClassVar[About] = About(
        rewards="steps that change what actions show in, less for each return within the episode",
        paper="RIDE: Rewarding Impact-Driven Exploration (Raileanu & Rocktaeschel, 2020)",
        link="https://arxiv.org/abs/2002.12292",
    )
    episodic: ClassVar[bool] = True

    def __init__(
        self,
        *,
        count_keys: Sequence[str] | None = None,
        inverse_weight: float = 0.1,
        forward_weight: float = 10.0,
        features: int = 128,
        hidden: Sequence[int] = (256,),
        lr: float = 1e-3,
        batch_size: int = 256,
        epochs: int = 1,
        max_grad_norm: float | None = 40.0,
        keys: Sequence[str] | None = None,
        standardise: bool = True,
    ) -> None:
        super().__init__()
        self.count_keys, self.inverse_weight, self.forward_weight = count_keys, inverse_weight, forward_weight
        self.features, self.hidden, self.lr, self.batch_size, self.epochs = features, hidden, lr, batch_size, epochs
        self.max_grad_norm, self.keys, self.standardise = max_grad_norm, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = {key: value for key, value in self.config().items() if key != "count_keys"}
        self.net = ActionFeatures(spec, **options, device=device, generator=generator, reader=self.name)
        self.counted = tuple(self.count_keys or self.net.given.keys)
        if unknown := [key for key in self.counted if key not in self.net.given.space.spaces]:
            raise ValueError(f"{self.name}: observations have no {', '.join(unknown)} to count")
        self.episodes, self.counts = RunningEpisodes(spec.num_envs, self.name).to(device), VisitCounts(spec.num_envs)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        features = self.net.encode(experience.obs)
        impact = (features[1:] - features[:-1]).norm(dim=-1)
        numbers, visits = self._visits(experience)
        return impact * (self.counts.before(numbers, visits)[1:] + 1.0).rsqrt()

    def _visits(self, rollout: Rollout) -> tuple[Tensor, Visits]:
        """What stands for each observation, and which of them are visits, [T+1, B] each."""
        visits = self.episodes.visits(rollout)
        return digests(rollout.obs, self.counted), visits

    def observe(self, rollout: Rollout) -> None:
        self.counts.add(*self._visits(rollout))
        self.episodes.advance(rollout)
        self.net.observe(rollout)

    def update(self, experience: Any) -> dict[str, float]:
        """Trains all networks on a Rollout, and passes over anything else."""
        losses = self.net.learn(experience) if isinstance(experience, Rollout) else {}
        return {f"{self.name}/{name}_loss": loss for name, loss in losses.items()}
