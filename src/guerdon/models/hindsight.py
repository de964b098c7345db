"""What could not be known before: noise inferred afterwards, and kept free of what was known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guerdon.models.encoders import orthogonal
from guerdon.models.seeded import Trainer, seeded
from guerdon.parts.info_nce import info_nce


class HindsightGenerator(nn.Module):
    """z = p(x, y, eps): a random guess at what made y of x. x [*, context], y [*, target] -> [*, size].

    Args:
        context: size of what was known before, such as a belief and a coded action.
        target: size of what came of it.
        size: of z, and of eps ~ N(0, I).
        hidden: units of its two hidden layers.
    """

    def __init__(self, context: int, target: int, *, size: int = 32, hidden: int = 128) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(
            orthogonal(nn.Linear(context + target + size, hidden)), nn.ReLU(),
            orthogonal(nn.Linear(hidden, hidden)), nn.ReLU(), orthogonal(nn.Linear(hidden, size), 1.0),
        )  # fmt: skip

    def forward(self, context: Tensor, target: Tensor, eps: Tensor) -> Tensor:
        return self.layers(torch.cat([context, target, eps.expand(*target.shape[:-1], self.size)], -1))


class InvarianceCritic(nn.Module):
    """Scores [n, m] of every pair of contexts [n, context] and noises [m, size], within +-20.

    The product of an embedding of each, of `hidden` numbers, so that n x m pairs cost n + m passes.
    """

    def __init__(self, context: int, size: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.left, self.right = (
            nn.Sequential(
                orthogonal(nn.Linear(given, hidden)), nn.ReLU(), orthogonal(nn.Linear(hidden, hidden)), nn.ReLU(),
                orthogonal(nn.Linear(hidden, hidden), hidden**-0.25),
            )
            for given in (context, size)
        )  # fmt: skip

    def forward(self, context: Tensor, noise: Tensor) -> Tensor:
        return (self.left(context) @ self.right(noise).T).clamp(-20, 20)


class Hindsight(nn.Module):
    """Generator p and critic g of the game  min_p max_g  lambda * L_rec + L_inv  around any forward model.

    Give z = `infer(context, target, eps)` to the model beside its context, and it has L_rec, what it still gets wrong.
    L_inv is the mean of `info_nce` of the critic's scores: an estimate of how much z tells of the context. The critic
    climbs it (`learn`), everything else descends it (`dependence`), so that z holds what could not be known, and no
    more: with z = 0 the noise stays in L_rec, and with z = target L_rec is 0 and L_inv is large.

    Jarrett et al., "Curiosity in Hindsight", 2022 (https://arxiv.org/abs/2211.10515).

    Args:
        context, target, size, hidden: see `HindsightGenerator`.
        negatives: n, at most so many rows are drawn for an estimate, which log n bounds (128: our choice).
        critic_steps: of the critic for each of everything else (2: our choice).
        lr: of the critic's Adam.
        device, generator: as in `Reward.build`.
    """

    def __init__(
        self, context: int, target: int, *, size: int = 32, hidden: int = 128, negatives: int = 128,
        critic_steps: int = 2, lr: float = 1e-3, device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if negatives < 2:
            raise ValueError(f"one of a kind tells nothing: negatives must be at least 2, got {negatives}")
        with seeded(generator):
            self.generator = HindsightGenerator(context, target, size=size, hidden=hidden)
            self.critic = InvarianceCritic(context, size, hidden=hidden)
        self.to(device)
        self.negatives, self.critic_steps = negatives, critic_steps
        self.trainer = Trainer(self.critic.parameters(), lr=lr, generator=generator)

    def infer(self, context: Tensor, target: Tensor, eps: Tensor | None = None) -> Tensor:
        """Z [*, size]; without `eps` a new draw for each row."""
        if eps is None:
            shape = (*target.shape[:-1], self.generator.size)
            eps = torch.randn(shape, generator=self.trainer.rng).to(target.device)
        return self.generator(context, target.detach(), eps)

    def learn(self, context: Tensor, noise: Tensor) -> None:
        """Trains the critic on rows [n, ...] of context and noise. Fewer than two rows: nothing."""
        context, noise = context.detach(), noise.detach()
        for _ in range(self.critic_steps if len(noise) > 1 else 0):
            self.trainer.step(-self.dependence(context, noise))

    def dependence(self, context: Tensor, noise: Tensor) -> Tensor:
        """L_inv, a number in nats: gradients reach context and noise. Fewer than two rows: 0."""
        if len(noise) < 2:
            return noise.sum() * 0.0
        rows = torch.randperm(len(noise), generator=self.trainer.rng)[: self.negatives].to(noise.device)
        return info_nce(self.critic(context[rows], noise[rows])).mean()
