"""ICM: a step is interesting as far as a model fails to foresee what it does to features an action shows in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.dynamics import ActionFeatures, half_square
from guerdon.types import About, Reward, Rollout, Spec


class ICM(Reward):
    """Intrinsic curiosity: the error of a forward model f in features phi that an inverse model g teaches.

        r_t = |f(phi(obs[t]), action[t]) - phi(obs[t+1])|^2 / 2          (eta is the reward's weight: 0.01 * ICM())

    [T, B] float32, at least 0, on no fixed scale; a terminal step is paid as any other, an invalid step 0 and never
    learnt from. `update` trains phi, g and f together by Adam on ``(1 - beta) * loss(g) + beta * loss(f)``: loss(g) is
    the cross-entropy of the action (of each part of a MultiDiscrete one), or the mean square error of a continuous one;
    loss(f) is r_t itself, and phi follows both. Noise that no action controls is ignored as far as g has no use for it;
    noise that the agent calls up itself is paid for ever: see `BYOLHindsight`.

    Pathak et al., "Curiosity-driven Exploration by Self-supervised Prediction", 2017. The sum over features and the
    half are the paper's and the authors' code's; RLLTE takes the mean over features (2/k of ours), weighs both losses
    alike, and trains when it is asked for rewards. It differs from the release in standardising observations by their
    running moments, in an optimiser of its own, and in its networks (see the arguments).

    Args:
        features: k, size of phi (128: RLLTE; release 288).
        hidden: dense layers of phi's network, after the convolutions if there are any (RLLTE's for vectors).
        beta: weight of the forward loss (paper and release 0.2).
        lr: of Adam (1e-3: paper and release).
        batch_size: steps of a training step (RLLTE).
        epochs: passes over a rollout (RLLTE).
        keys: of the observation; None means all.
        standardise: observations by their running moments (our choice); False leaves numbers as they are.

    Raises:
        ValueError: beta not between 0 and 1; NaN or infinite observations, or ones of another shape than the space
            says.
    """

    about: ClassVar[About] = About(
        rewards="steps whose consequence for the features of actions is not foreseen",
        paper="Curiosity-driven Exploration by Self-supervised Prediction (Pathak et al., 2017)",
        link="https://arxiv.org/abs/1705.05363",
    )

    def __init__(
        self,
        *,
        features: int = 128,
        hidden: Sequence[int] = (256,),
        beta: float = 0.2,
        lr: float = 1e-3,
        batch_size: int = 256,
        epochs: int = 1,
        keys: Sequence[str] | None = None,
        standardise: bool = True,
    ) -> None:
        super().__init__()
        if not 0 < beta < 1:
            raise ValueError(f"ICM's beta, the forward loss's weight, lies between 0 and 1, got {beta}")
        self.features, self.hidden, self.beta, self.lr = features, hidden, beta, lr
        self.batch_size, self.epochs, self.keys, self.standardise = batch_size, epochs, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = {key: value for key, value in self.config().items() if key != "beta"}
        options |= {"inverse_weight": 1 - self.beta, "forward_weight": self.beta}
        self.net = ActionFeatures(spec, **options, device=device, generator=generator, reader=self.name)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        features = self.net.encode(experience.obs)
        return half_square(self.net.predict(features[:-1], experience.action) - features[1:])

    def observe(self, rollout: Rollout) -> None:
        self.net.observe(rollout)

    def update(self, experience: Any) -> dict[str, float]:
        """Trains all networks on a Rollout, and passes over anything else."""
        losses = self.net.learn(experience) if isinstance(experience, Rollout) else {}
        return {f"{self.name}/{name}_loss": loss for name, loss in losses.items()}
