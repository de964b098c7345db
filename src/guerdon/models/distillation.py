"""Random networks that nobody trains, and one that learns to predict them: how well it does tells what was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from guerdon.models.observation_net import ObservationInput, ObservationNet, Prepared, next_obs
from guerdon.models.seeded import Trainer, seeded
from guerdon.types import Rollout, Spec


class Compared(NamedTuple):
    """What the predictor says of n observations, and what each of N targets does."""

    predicted: Tensor  # [n, k]
    targets: Tensor  # [N, n, k]


class Distiller(nn.Module):
    """N frozen random networks f_j: S -> R^k and a predictor p of the same shape, trained on what steps led to.

    Args:
        spec: of the task.
        features: k.
        hidden: dense layers of the predictor.
        target_hidden: of the targets; None for the predictor's.
        targets: N.
        keys, clip: as in `ObservationInput`.
        lr, batch_size, epochs, fraction: of the predictor's training, see `learn`.
        device, generator: as in `Reward.build`.
        reader: whose networks these are, for errors.

    Raises:
        ValueError: a size, fraction or step that makes no sense; otherwise as `ObservationInput`.
    """

    def __init__(
        self, spec: Spec, *, features: int, hidden: Sequence[int], target_hidden: Sequence[int] | None = None,
        targets: int = 1, keys: Sequence[str] | None = None, standardise: bool = True, clip: float = 5.0,
        lr: float = 1e-4, batch_size: int = 256, epochs: int = 1, fraction: float = 1.0,
        device: torch.device | str = "cpu", generator: torch.Generator | None = None, reader: str = "Distiller",
    ) -> None:  # fmt: skip
        super().__init__()
        if min(features, batch_size, epochs, targets) < 1 or not 0 < fraction <= 1 or not lr > 0:
            raise ValueError(
                f"{reader} needs features, batch_size and epochs of at least 1, 0 < fraction <= 1 and lr > 0; got "
                f"{features}, {batch_size}, {epochs}, {fraction} and {lr}"
            )
        self.given = ObservationInput(
            spec.observation_space, keys=keys, standardise=standardise, clip=clip, reader=reader
        )
        plan = hidden if target_hidden is None else target_hidden
        with seeded(generator):
            self.targets = nn.ModuleList(ObservationNet(self.given, features, hidden=plan) for _ in range(targets))
            self.predictor = ObservationNet(self.given, features, hidden=hidden)
        self.targets.requires_grad_(False)
        self.to(device)
        self.trainer = Trainer(self.predictor.parameters(), lr=lr, generator=generator)
        self.batch_size, self.epochs, self.fraction = batch_size, epochs, fraction

    @property
    def features(self) -> int:
        return self.predictor.size

    def compare(self, rollout: Rollout) -> Compared:
        """What each of T * B steps led to, [T * B, k], in the order of [T, B]."""
        obs, size = next_obs(rollout.obs, self.given.keys), self.given.chunk
        starts = range(0, max(1, rollout.valid.numel()), size)
        parts = [self._compare(self.given({k: v[i : i + size] for k, v in obs.items()})) for i in starts]
        if len(parts) == 1:
            return parts[0]
        return Compared(torch.cat([p.predicted for p in parts]), torch.cat([p.targets for p in parts], 1))

    def _compare(self, x: Prepared) -> Compared:
        with torch.no_grad():
            targets = [net(x) for net in self.targets]
        return Compared(self.predictor(x), torch.stack(targets) if len(targets) > 1 else targets[0][None])

    def observe(self, rollout: Rollout) -> None:
        """Takes what the valid steps led to into the moments."""
        self.given.observe(next_obs(rollout.obs, self.given.keys), rollout.valid.bool().flatten())

    def learn(self, rollout: Rollout, aim: Callable[[Tensor], Tensor] | None = None) -> float:
        """Trains the predictor on `aim` of the targets [N, n, k] -> [n, k], by default the first; its mean loss.

        The loss of a batch is the mean over k and the observations of (p - aim)^2. An epoch keeps each valid step with
        chance `fraction`, and 0 is returned where nothing was kept.
        """
        obs, usable = next_obs(rollout.obs, self.given.keys), rollout.valid.bool().flatten().nonzero().flatten()
        # all at once, but for images: prepared, they take four times the room
        prepared = None if self.given.images else self.given({k: v[usable] for k, v in obs.items()})
        total, seen = 0.0, 0
        for batch in self.trainer.batches(len(usable), self.batch_size, fraction=self.fraction, epochs=self.epochs):
            rows = batch.to(usable.device)
            if prepared is None:
                x = self.given({k: v[usable[rows]] for k, v in obs.items()})
            else:
                x = {k: v[rows] for k, v in prepared.items()}
            predicted, targets = self._compare(x)
            loss = (predicted - (targets[0] if aim is None else aim(targets))).square().mean()
            self.trainer.step(loss)
            total, seen = total + float(loss.detach()) * len(rows), seen + len(rows)
        return total / seen if seen else 0.0
