"""VPL: one reward model for users who want different things."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from guerdon.models.latent_reward import Kind, LatentReward, Scale, Seen, second_better, see
from guerdon.models.query_gain import Answered, Score, query_gains
from guerdon.models.reward_encoder import Observations, RewardEncoder
from guerdon.models.seeded import Trainer, seeded
from guerdon.parts.diagonal_gaussian import gaussian_kl
from guerdon.parts.pair_loss import pair_loss
from guerdon.parts.user_pools import Split, UserPools
from guerdon.types import SECOND, TIE, About, Completions, Experience, Labels, Pairs, Reward, Rollout, Spec


def cosine_cycles(progress: float, cycles: int) -> float:
    """From 0 to 1 along half a cosine, `cycles` times over a progress of 0..1; with 0 cycles always 1."""
    return 0.5 * (1 - math.cos(math.pi * (progress * cycles % 1))) if cycles else 1.0


class Users(NamedTuple):
    """What is believed of U users: N(mu, e^log_var) over z, [U, Z] each; `names` in order of their first pair."""

    mu: Tensor
    log_var: Tensor
    names: list


class VPL(Reward):
    """A reward r(x, z) and, from a few compared pairs of a user, a belief q(z | pairs) = N(mu, diag sigma^2) of z.

    Fitted as a variational autoencoder: of each user in a batch some pairs are encoded, others predicted,

        loss = mean over users of [ mean over predicted pairs of -log P(label | z) + kl_weight a KL(q || prior) ],

    z = mu + sigma eps, P by `pair_loss` from values (a segment's is the sum over its valid steps), KL the true one in
    nats, a the annealing factor; `Pairs.weight` weighs predicted pairs. `adapt` encodes the pairs of a user, new or
    known, without gradient steps; scores are for that user from then on, and before for the prior's mean. They are
    float32, [N] for Completions, [T, B] for a Rollout, unbounded unless `scale` bounds them. Pairs say in a column
    whose they are.

    Comparisons leave the scale of r(., z) open, user by user, and a policy for many users then serves those with the
    large one. `scale` settles it over a set of steps or answers kept from the pairs: "max" divides by the largest
    absolute value, "std" by the standard deviation, each for its z; "spo" learns which of two is better,
    p(x > x' | z) = sigmoid(h(x, x', z) - h(x', x, z)), and scores the mean of p over the set, in 0..1, whose mean over
    the set is 1/2 for every user. Segments are compared by their mean step there.

    Poddar et al., "Personalizing Reinforcement Learning from Human Feedback with Variational Preference Learning",
    2024. Their weight 1 counts twice the KL against sums (control), or is 0 (released script for language); ours is per
    predicted pair, where 1 makes z useless. Target pairs differ from the encoded ones, as in their language version.
    Raises ValueError for users without a name or, all of them, without two pairs.

    Args:
        encoder: `Features`, `Embeddings`, `Observations`, ...; None for `Observations()` of rollouts.
        kind: of the encoder of pairs: "set", or "concatenated" for exactly `context` of them in order.
        latent: Z (code: 32 control, 512 language).
        hidden: widths of the layers of encoder and reward (code: 256).
        context, targets: most pairs of a user that are encoded at once in training (language code: 8), and predicted.
        labelled: False hides the labels from the encoder: a control that learns what plain Bradley-Terry does.
        kl_weight: see above.
        cycles: times that a rises from 0 to 1 along half a cosine, over one `update` (control code: 4); 0: a = 1.
        prior: "standard" N(0, 1), or "learned" mean and variances.
        sphere: z rescaled to length sqrt Z (language code, in training only: here always).
        scale: "none", "max", "std" or "spo".
        comparisons: size of the set for `scale` (code: 1000).
        user: column of `Pairs` with the users' names; None takes all pairs for one user's.
        lr: of Adam (control code: 1e-3).
        batch_size, iterations: users a step, drawn with replacement, and steps of one `update`.
    """

    about: ClassVar[About] = About(
        rewards="what the user wants whose few comparisons it was shown",
        paper="Personalizing Reinforcement Learning from Human Feedback with Variational Preference Learning "
        "(Poddar et al., 2024)",
        link="https://arxiv.org/abs/2408.10075",
        scores="any",
        claim="vpl",
        example="VPL(user=None, latent=2, hidden=(16,), iterations=10, comparisons=20)",
    )

    mu: Tensor  # [Z] of the user that is scored for
    log_var: Tensor

    def __init__(
        self, *, encoder: RewardEncoder | None = None, kind: Kind = "set", latent: int = 32,
        hidden: Sequence[int] = (256, 256), context: int = 8, targets: int = 8, labelled: bool = True,
        kl_weight: float = 0.01, cycles: int = 4, prior: Literal["standard", "learned"] = "standard",
        sphere: bool = False, scale: Scale = "none", comparisons: int = 1000,
        user: str | None = "user", lr: float = 1e-3, batch_size: int = 64, iterations: int = 1500,
    ) -> None:  # fmt: skip
        super().__init__()
        known = {"kind": ("set", "concatenated"), "prior": ("standard", "learned"),
                 "scale": ("none", "max", "std", "spo")}  # fmt: skip
        for name, value in (("kind", kind), ("prior", prior), ("scale", scale)):
            if value not in known[name]:
                raise ValueError(f"VPL's {name} is one of {', '.join(known[name])}, not {value!r}")
        if min(latent, context, targets, comparisons, batch_size, iterations) < 1 or min(kl_weight, cycles) < 0:
            raise ValueError("VPL needs sizes and counts of at least 1, and kl_weight and cycles of at least 0")
        self.encoder = Observations() if encoder is None else encoder
        self.kind: Kind = kind
        self.scale: Scale = scale
        self.latent, self.hidden = latent, hidden
        self.context, self.targets, self.labelled, self.kl_weight = context, targets, labelled, kl_weight
        self.cycles, self.prior, self.sphere = cycles, prior, sphere
        self.comparisons, self.user, self.lr, self.batch_size = comparisons, user, lr, batch_size
        self.iterations = iterations

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        self.encoder.build(spec, device=device, generator=generator, reader=self.name)
        with seeded(generator):
            self.net = LatentReward(
                self.encoder.size, self.latent, hidden=tuple(self.hidden), kind=self.kind, pairs=self.context,
                learned_prior=self.prior == "learned", sphere=self.sphere, scale=self.scale,
                comparisons=self.comparisons,
            )  # fmt: skip
        self.register_buffer("mu", torch.zeros(self.latent))
        self.register_buffer("log_var", torch.zeros(self.latent))
        self.to(device)
        learning = [p for p in self.parameters() if p.requires_grad]
        self.trainer = Trainer(learning, lr=self.lr, generator=generator)

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        return self.score_as(experience, self.mu[None])[0]

    def score_as(self, experience: Experience, z: Tensor) -> Tensor:
        """Scores for M users at once: z [M, Z] (means, or draws of a belief) to [M, N] or [M, T, B]."""
        x = self.encoder(experience)
        return self.net.scores(x.flatten(0, -2), z).view(len(z), *x.shape[:-1])

    @torch.no_grad()
    def posterior(self, pairs: Pairs) -> Users:
        """What these pairs say of each user in them."""
        pools, (first, second) = self._pools(pairs), self._sides(pairs)
        q = second_better(pairs.label).to(self.mu)
        return Users(*self._belief(first, second, q, pools.rows, pools.mask), pools.names)

    def adapt(self, pairs: Pairs | None) -> Users:
        """Scores for the one user whose pairs these are, from now on; None: for somebody of whom nothing is known.

        Raises ValueError for pairs of several users.
        """
        prior = self.net.prior_mu.detach()[None], self.net.prior_log_var.detach()[None]
        found = self.posterior(pairs) if pairs is not None and len(pairs.label) else Users(*prior, [None])
        if len(found.names) > 1:
            raise ValueError(f"{self.name} adapts to one user at a time, got {len(found.names)}; see posterior")
        self.mu.copy_(found.mu[0])
        self.log_var.copy_(found.log_var[0])
        return found

    def gains(
        self, pairs: Pairs, sets: Tensor, *, known: Pairs | None = None, by: Score = "answers",
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """[Q]: how much a user's answers to each set of pairs, rows [Q, n], would tell of z; see `query_gains`.

        The labels of `pairs` do not matter; `known` are pairs that the user has answered.
        """
        generator = generator or torch.Generator().manual_seed(0)
        known = pairs.rows(slice(0)) if known is None else known
        answered = Answered(*self._sides(known), second_better(known.label).to(self.mu))
        first, second = self._sides(pairs)
        return query_gains(self.net, answered, first, second, sets, by=by, labelled=self.labelled, generator=generator)

    def choose(
        self, pairs: Pairs, size: int = 1, *, known: Pairs | None = None, by: Score = "answers", sets: int = 5000,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """The `size` rows of `pairs` to ask this user next: the best of `sets` random ones (code: 5000), or of all."""
        generator = generator or torch.Generator().manual_seed(0)
        n = len(pairs.label)
        if not 1 <= size <= n:
            raise ValueError(f"{self.name} cannot choose {size} of {n} pairs")
        drawn = torch.arange(n)[:, None] if size == 1 else torch.rand(sets, n, generator=generator).topk(size).indices
        return drawn[self.gains(pairs, drawn, known=known, by=by, generator=generator).argmax()]

    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Pairs of several users are fitted, see the class; nothing else teaches it anything."""
        if not isinstance(experience, Pairs) or not isinstance(experience.first, Completions | Rollout):
            return {}
        pools = self._pools(experience)
        for side in (experience.first, experience.second):
            self.encoder.observe(side)
        rng, exact, sizes = self.trainer.rng, self.kind == "concatenated", (self.batch_size, self.context, self.targets)
        splits = [pools.draw(*sizes, rng, exact=exact) for _ in range(self.iterations)]
        logs, label, weight = [], experience.label.to(self.mu.device), experience.weight
        weight = torch.ones_like(label, dtype=self.mu.dtype) if weight is None else weight.to(self.mu)
        for step, (split, (first, second)) in enumerate(zip(splits, self._seen(experience, splits), strict=True)):
            rows, place = split.rows
            ramp = cosine_cycles(step / self.iterations, self.cycles)
            loss, log = self._loss(first, second, label[rows], weight[rows], split, place, self.kl_weight * ramp)
            self.trainer.step(loss)
            logs.append(log)
        with torch.no_grad():
            self.net.keep(torch.cat([side.x[side.valid] for side in self._sides(experience)]), rng)
        last = torch.tensor(logs[-max(1, self.iterations // 10) :]).nanmean(0)
        return {f"{self.name}/{k}": float(v) for k, v in zip(("loss", "kl", "accuracy"), last, strict=True)}

    def _seen(self, pairs: Pairs, splits: list[Split]) -> Iterator[tuple[Seen, Seen]]:
        """Both sides of the pairs of each split; through the encoder once and for all if it does not learn."""
        if self.encoder.learns:
            yield from map(self._sides, pairs.picks(split.rows[0] for split in splits))
            return
        first, second = self._sides(pairs)
        for split in splits:
            yield first.at(split.rows[0]), second.at(split.rows[0])

    def _loss(
        self, first: Seen, second: Seen, label: Tensor, weight: Tensor, split: Split, place: Tensor, kl_weight: float
    ) -> tuple[Tensor, tuple[float, float, float]]:
        """The loss of these users, and what to log: loss without KL, KL, accuracy (ties left out)."""
        n = split.context.shape[1]
        mu, log_var = self._belief(first, second, second_better(label), place[:, :n], split.seen)
        noise = torch.randn(mu.shape, generator=self.trainer.rng).to(mu)
        z = (mu + (0.5 * log_var).exp() * noise).repeat_interleave(split.target.shape[1], 0)
        target, asked = place[:, n:].flatten(), split.asked.to(self.mu) * weight[place[:, n:]]
        a, b = self.net.values(first.at(target), second.at(target), z)
        label = label[target]
        each = pair_loss(a, b, label).view_as(asked) * asked
        missed = (each.sum(1) / asked.sum(1).clamp(min=1e-12)).mean()
        kl = gaussian_kl(mu, log_var, self.net.prior_mu, self.net.prior_log_var).mean()
        right = ((b > a) == (label == SECOND))[(asked.flatten() > 0) & (label != TIE)].float().mean()
        return missed + kl_weight * kl, (float(missed.detach()), float(kl.detach()), float(right))

    def _belief(self, first: Seen, second: Seen, q: Tensor, rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        q = q[rows] if self.labelled else torch.full(rows.shape, 0.5, device=q.device)
        return self.net.belief(first.mean[rows], second.mean[rows], q, mask.to(q.device))

    def _sides(self, pairs: Pairs) -> tuple[Seen, Seen]:
        first, second = (see(self.encoder, side, self.name) for side in (pairs.first, pairs.second))
        if not first.x.shape[1] == second.x.shape[1] == len(pairs.label):
            counts = f"{len(pairs.label)} labels compare {first.x.shape[1]} and {second.x.shape[1]} things"
            raise ValueError(f"{self.name}: {counts}")
        return first, second

    def _pools(self, pairs: Pairs) -> UserPools:
        columns = pairs.columns or {}
        if self.user is not None and self.user not in columns:
            known = ", ".join(map(repr, columns)) or "none"
            raise ValueError(f"{self.name} reads users in the column {self.user!r} of pairs, which have {known}; "
                             "VPL(user=None) takes all pairs for one user's")  # fmt: skip
        return UserPools.of([0] * len(pairs.label) if self.user is None else columns[self.user])
