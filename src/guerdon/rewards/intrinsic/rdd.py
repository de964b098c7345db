"""RDD: a predictor of noisy draws around a random network; its distance to the mean counts the draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.caption_cnn import seed_from
from guerdon.models.distillation import Distiller
from guerdon.types import About, Reward, Rollout, Spec


class RDD(Reward):
    """Random distribution distillation: how far a predictor of random draws is from the mean of their distribution.

        r_t = ||p(s') - f(s')||_2      (squared: its square),      p learns draws c ~ N(f(s'), (sigma d)^2) at obs[t+1]

    f is a frozen random network; d the deviation of each feature of f over the first rollout (our choice). With the
    mean of n draws for p, E r^2 = k sigma^2 / n in units of d: r falls like 1 / sqrt(n), beside the error of a
    predictor that has not converged. A predictor trained with steps eta remembers about 2 / eta draws, so that r stays
    above sigma sqrt(k eta / 2). [T, B] float32, at least 0; terminal observations are paid, invalid steps are 0.
    Normalise it as RND. ``RDD(sigma=0, squared=True)`` is RND, bit for bit.

    "Exploration by Random Distribution Distillation", 2025; made from its abstract and from DRND, which it follows.
    [reconstructed]: the constant sigma, and the distance to the mean rather than to a draw.

    Args:
        sigma: of the draws, in deviations of each feature (our choice); 0 draws nothing.
        squared: pay the square.
        features, hidden, target_hidden, lr, batch_size, epochs, fraction, keys, clip: as in `RND`.

    Raises:
        ValueError: a negative sigma.
    """

    about: ClassVar[About] = About(
        rewards="states where a predictor of random draws is far from their mean: a pseudo-count",
        paper="Exploration by Random Distribution Distillation (2025)",
        link="https://arxiv.org/abs/2505.11044",
        claim="rdd",
    )
    spread: Tensor

    def __init__(
        self,
        *,
        sigma: float = 1.0,
        squared: bool = False,
        features: int = 64,
        hidden: Sequence[int] = (128, 128),
        target_hidden: Sequence[int] | None = None,
        lr: float = 1e-4,
        batch_size: int = 256,
        epochs: int = 4,
        fraction: float = 0.25,
        keys: Sequence[str] | None = None,
        clip: float = 5.0,
    ) -> None:
        super().__init__()
        if not sigma >= 0:
            raise ValueError(f"RDD's sigma is a standard deviation, at least 0, got {sigma}")
        self.sigma, self.squared, self.features = sigma, squared, features
        self.hidden, self.target_hidden, self.lr = hidden, target_hidden, lr
        self.batch_size, self.epochs, self.fraction, self.keys, self.clip = batch_size, epochs, fraction, keys, clip

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = {k: v for k, v in self.config().items() if k not in ("sigma", "squared")}
        self.net = Distiller(spec, **options, device=device, generator=generator, reader=self.name)
        self.rng = torch.Generator().manual_seed(seed_from(generator))
        self.register_buffer("spread", torch.zeros(self.features, device=device))  # d; all 0 before it is measured

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        square = self._square(experience)
        return (square if self.squared else square.sqrt()).view(experience.shape)

    def _square(self, experience: Rollout) -> Tensor:
        predicted, targets = self.net.compare(experience)
        return (predicted - targets[0]).square().sum(-1)

    @torch.no_grad()
    def pseudo_count(self, rollout: Rollout) -> Tensor:
        """[T, B]: n = sum_k (sigma d_k)^2 / ||p - f||^2, how often each obs[t+1] was learned from, where p converged.

        0 before the first `observe`; infinity where p is at the mean.
        """
        return ((self.sigma * self.spread).square().sum() / self._square(rollout)).view(rollout.shape)

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> None:
        """Advances the moments; the first time it also measures d."""
        self.net.observe(rollout)
        seen = rollout.valid.bool().flatten()
        if not bool(self.spread.any()) and int(seen.sum()) > 1:
            self.spread.copy_(self.net.compare(rollout).targets[0][seen].std(0, correction=0))

    def update(self, experience: Any) -> dict[str, float]:
        """Trains the predictor on a Rollout, with a new draw each time, and passes over anything else."""
        return {f"{self.name}/loss": self.net.learn(experience, self.draw)} if isinstance(experience, Rollout) else {}

    def draw(self, targets: Tensor) -> Tensor:
        """What the predictor is to learn now: a fresh c [n, k] around f, from ``Distiller.compare``'s targets."""
        noise = torch.randn(targets[0].shape, generator=self.rng).to(targets.device)
        return targets[0] + self.sigma * self.spread * noise

    def get_extra_state(self) -> Tensor:
        return self.rng.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self.rng.set_state(state.cpu())
