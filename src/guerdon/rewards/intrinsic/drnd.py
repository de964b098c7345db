"""DRND: a predictor of many random networks, whose average it learns and whose spread tells how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.caption_cnn import seed_from
from guerdon.models.distillation import Distiller
from guerdon.types import About, Reward, Rollout, Spec

FLOOR = 1e-8  # of the targets' variance: below it a component says nothing


def inverse_counts(predicted: Tensor, targets: Tensor) -> Tensor:
    """(p^2 - mu^2) / (B2 - mu^2) by component, [n, k] from p [n, k] and N targets [N, n, k]; NaN where all agree.

    Its mean is 1/n where p is the mean of n targets drawn one by one; a single component may be negative.
    """
    mean = targets.mean(0)
    variance = targets.var(0, correction=0)
    return torch.where(variance > FLOOR, (predicted.square() - mean.square()) / variance, torch.nan)


def drnd_bonus(predicted: Tensor, targets: Tensor, *, alpha: float = 0.95) -> Tensor:
    """[n]: alpha * ||p - mu||^2 + (1 - alpha) * sum_k sqrt(clip(|p^2 - mu^2| / (B2 - mu^2), 1e-6, 1)).

    mu and B2 are the mean and the mean square of the N targets [N, n, k]. Components on which all targets agree are
    left out of the second sum.
    """
    distance = (predicted - targets.mean(0)).square().sum(-1)
    counted = inverse_counts(predicted, targets).abs().clamp(1e-6, 1.0).sqrt().nan_to_num(nan=0.0).sum(-1)
    return alpha * distance + (1 - alpha) * counted


class DRND(Reward):
    """Distributional random network distillation: the distance to the mean of N random networks, and a pseudo-count.

        r_t = alpha ||p - mu||^2 + (1 - alpha) sum_k sqrt(clip(|p^2 - mu^2| / (B2 - mu^2), 1e-6, 1))      at obs[t+1]

    mu = mean_j f_j and B2 = mean_j f_j^2 over the frozen networks. The predictor learns, for each observation and pass,
    one of them drawn by chance, so that p tends to mu as a mean of n draws does. [T, B] float32, at least 0; terminal
    observations are paid, invalid steps are 0. Normalise it as RND. `pseudo_count` is 1 / mean_k of the term without
    root and sign; the rooted term decays slower than a count's, by about n^(-1/4) for N = 5 and n^(-1/3) for 20.

    Yang et al., "Exploration and Anti-Exploration with Distributional Random Network Distillation", 2024. Components on
    which all targets agree are left out; the release divides by about 0 there.

    Args:
        targets: N (release: 5).
        alpha: share of the first term (release: 0.95).
        features, hidden, target_hidden, lr, batch_size, epochs, fraction, keys, clip: as in `RND`.
    """

    about: ClassVar[About] = About(
        rewards="states where a predictor is far from the mean of several random networks",
        paper="Exploration and Anti-Exploration with Distributional Random Network Distillation (Yang et al., 2024)",
        link="https://arxiv.org/abs/2401.09750",
        claim="rdd",
    )

    def __init__(
        self,
        *,
        targets: int = 5,
        alpha: float = 0.95,
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
        if targets < 2 or not 0.0 <= alpha <= 1.0:
            raise ValueError(f"DRND needs targets >= 2 and alpha in [0, 1], got {targets} and {alpha}")
        self.targets, self.alpha, self.features = targets, alpha, features
        self.hidden, self.target_hidden, self.lr = hidden, target_hidden, lr
        self.batch_size, self.epochs, self.fraction, self.keys, self.clip = batch_size, epochs, fraction, keys, clip

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = self.config()
        options.pop("alpha")
        self.net = Distiller(spec, **options, device=device, generator=generator, reader=self.name)
        self.rng = torch.Generator().manual_seed(seed_from(generator))

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        return drnd_bonus(*self.net.compare(experience), alpha=self.alpha).view(experience.shape)

    @torch.no_grad()
    def pseudo_count(self, rollout: Rollout) -> Tensor:
        """[T, B]: how often, in effect, what each step led to was learned from; infinity where p is at the mean."""
        share = inverse_counts(*self.net.compare(rollout)).nanmean(-1).clamp(min=0.0)
        return (1 / share).view(rollout.shape)

    def observe(self, rollout: Rollout) -> None:
        self.net.observe(rollout)

    def update(self, experience: Any) -> dict[str, float]:
        """Trains the predictor on a Rollout, and passes over anything else."""
        return {f"{self.name}/loss": self.net.learn(experience, self.draw)} if isinstance(experience, Rollout) else {}

    def draw(self, targets: Tensor) -> Tensor:
        """What the predictor is to learn now: for each observation one of the targets [N, n, k], drawn by chance."""
        chosen = torch.randint(len(targets), (targets.shape[1],), generator=self.rng).to(targets.device)
        return targets[chosen, torch.arange(len(chosen), device=targets.device)]

    def get_extra_state(self) -> Tensor:
        return self.rng.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self.rng.set_state(state.cpu())
