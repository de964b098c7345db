"""A reward model fitted to comparisons: texts, named features or segments of control."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from guerdon.models import reward_folder
from guerdon.models.reward_encoder import Observations, RewardEncoder
from guerdon.models.reward_head import RewardHead
from guerdon.models.seeded import Trainer, seeded
from guerdon.parts.joined import join
from guerdon.parts.length_batches import length_batches
from guerdon.parts.pair_accuracy import accuracy, told_right
from guerdon.parts.pair_loss import centring, pair_loss
from guerdon.types import About, Completions, Experience, Labels, Pairs, Reward, Rollout, Spec

_Scores = tuple[Tensor, Tensor, Tensor]  # of the first, of the second, and the labels: [N] each


class _Side(NamedTuple):
    """One side of pairs as the head sees it."""

    h: Tensor  # [N, D], or [T, N, D] of segments
    valid: Tensor | None  # [T, N] of segments
    norm: Tensor  # what a value is divided by: [N], or one number for all

    def rows(self, at: Tensor) -> _Side:
        valid = None if self.valid is None else self.valid[:, at]
        return _Side(self.h[..., at, :], valid, self.norm[at] if self.norm.ndim else self.norm)


class _Told(NamedTuple):
    """What is known of pairs, [N] each."""

    label: Tensor
    weight: Tensor
    margin: Tensor
    alpha: Tensor

    def rows(self, at: Tensor) -> _Told:
        return _Told(*(x[at] for x in self))


class BradleyTerry(Reward):
    """r = head(encoder(x)), fitted to comparisons by P(first is better) = sigmoid(r(first) - r(second)).

    The loss of a pair is `pair_loss`: labels, ties, margins ("margin" of `Pairs.columns`) and doubt ("alpha") are its.
    A batch's loss is the mean weighted by `Pairs.weight`, plus

        centre * mean (r_1 + r_2)^2  +  zero * mean (r_1^2 + r_2^2)

    A segment is worth the sum of r over its valid steps (Christiano et al., 2017). Scores are float32, unbounded,
    [N] for Completions and [T, B] for a Rollout; a common offset means nothing, so do not compare them across prompts
    without centring.

    With ``hidden=(D,)`` this is BaseReward's head (2025), whose study found neither `zero` nor `length_norm` of use;
    both are here to repeat it. With ``encoder=Features(names, low=0, high=5)`` it is domain-rm (Nath et al., 2024), and
    `monotone` keeps it from ever paying less for more of a property.

    A transformer that learns meets a batch in micro-batches of like length, whose accumulated loss is that of the
    batch. A head that died (an output ReLU at 0 for a whole batch) is drawn anew, and counted.

    Args:
        encoder: `Features`, `Embeddings`, `Transformer`, or None for `Observations()` of rollouts.
        hidden: widths of the head's hidden layers; none is the usual linear head.
        activation: of the hidden layers (silu: BaseReward).
        output_activation, inner, monotone: see `RewardHead`.
        margin: added to each pair's own.
        alpha: chance that a label is wrong, where a pair has none of its own.
        centre: coefficient of the first term above (TRL's center_rewards_coefficient; 0.01: Eisenstein et al., 2023).
        zero: of the second [its mean form is reconstructed].
        length_norm: divides an answer's reward by log(1 + its words) [reconstructed].
        lr: of AdamW; None is 1e-3, or 1e-5 where a transformer learns (BaseReward: 3e-6).
        weight_decay: of AdamW (0: our choice; domain-rm's code has 0.05).
        batch_size: pairs a step.
        epochs: passes of an `update` over its pairs.
        tokens: of a micro-batch, padding included: bounds memory, does not change the result.
        max_grad_norm: larger gradients are scaled down to it (1: transformers).
    """

    about: ClassVar[About] = About(
        rewards="what was preferred in comparisons of texts, features or segments",
        paper="BaseReward: A Strong Baseline for Multimodal Reward Model (2025); Bradley & Terry (1952)",
        link="https://arxiv.org/abs/2509.16127",
        scores="any",
        claim="basereward",
    )

    restarts: Tensor

    def __init__(
        self, *, encoder: RewardEncoder | None = None, hidden: Sequence[int] = (), activation: str = "silu",
        output_activation: str | None = None, inner: bool = True, monotone: bool = False, margin: float = 0.0,
        alpha: float = 0.0, centre: float = 0.0, zero: float = 0.0, length_norm: bool = False,
        lr: float | None = None, weight_decay: float = 0.0, batch_size: int = 64, epochs: int = 1,
        tokens: int = 16384, max_grad_norm: float | None = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if min(batch_size, epochs, tokens) < 1 or min(centre, zero) < 0 or (lr is not None and not lr > 0):
            raise ValueError(
                "BradleyTerry needs batch_size, epochs and tokens of at least 1, lr above 0 and centre and zero not "
                f"below 0; got {batch_size}, {epochs}, {tokens}, {lr}, {centre} and {zero}"
            )
        self.encoder = Observations() if encoder is None else encoder
        self.hidden, self.activation, self.output_activation = hidden, activation, output_activation
        self.inner, self.monotone, self.margin, self.alpha = inner, monotone, margin, alpha
        self.centre, self.zero, self.length_norm = centre, zero, length_norm
        self.lr, self.weight_decay, self.batch_size, self.epochs = lr, weight_decay, batch_size, epochs
        self.tokens, self.max_grad_norm = tokens, max_grad_norm

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        self.encoder.build(spec, device=device, generator=generator, reader=self.name)
        with seeded(generator):
            self.head = RewardHead(self.encoder.size, **self.head_options()).to(device)
        self.register_buffer("restarts", torch.zeros((), dtype=torch.long, device=device))
        own = [p for p in self.encoder.parameters() if p.requires_grad]
        lr = self.lr or self.encoder.lr
        self.trainer = Trainer(
            [*own, *self.head.parameters()], lr=lr, generator=generator, max_grad_norm=self.max_grad_norm,
            weight_decay=self.weight_decay,
        )  # fmt: skip

    def head_options(self) -> dict[str, Any]:
        """What its `RewardHead` is made with, apart from the size."""
        return {
            "hidden": tuple(self.hidden), "activation": self.activation, "output_activation": self.output_activation,
            "inner": self.inner, "monotone": self.monotone,
            "bias": self.encoder.head_bias or bool(self.hidden) or self.output_activation is not None,
        }  # fmt: skip

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        side = self._seen(experience)
        return self.head(side.h) / side.norm

    def values(self, experience: Experience) -> Tensor:
        """[N] of Completions, or the sum over the valid steps of each segment of a Rollout, [B]."""
        return self._value(self._seen(experience))

    def _seen(self, experience: Experience) -> _Side:
        norm = torch.ones((), device=self.restarts.device)
        if self.length_norm and isinstance(experience, Completions):
            words = torch.tensor([len(text.split()) for text in experience.text], device=norm.device)
            norm = (1 + words.clamp(min=1)).log()
        valid = experience.valid.bool() if isinstance(experience, Rollout) else None
        return _Side(self.encoder(experience), valid, norm)

    def _value(self, side: _Side) -> Tensor:
        value = self.head(side.h) / side.norm
        return value if side.valid is None else value.where(side.valid, 0.0).sum(0)

    def attribution(self, experience: Experience) -> Tensor:
        """The derivative of the score by each feature, of the shape of the encoder's output."""
        with torch.enable_grad():
            h = self.encoder(experience).detach().requires_grad_()
            return torch.autograd.grad(self.head(h).sum(), h)[0]

    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Fits comparisons of Completions or Rollouts, `epochs` times over; nothing else teaches it anything.

        Raises ValueError for a set of no pairs, FloatingPointError where the loss is no finite number.
        """
        if not isinstance(experience, Pairs) or not isinstance(experience.first, Completions | Rollout):
            return {}
        if not len(experience.label):
            raise ValueError(f"{self.name} cannot learn from no pairs")
        for side in (experience.first, experience.second):
            self.encoder.observe(side)
        before, told, logs = int(self.restarts), self._told(experience), []
        known = None if self.encoder.learns else [self._seen(side) for side in (experience.first, experience.second)]
        for at in self.trainer.batches(len(told.label), self.batch_size, epochs=self.epochs):
            if known is None:
                logs.append(self.step(experience.rows(at)))
            else:
                first, second = (self._value(side.rows(at)) for side in known)
                scores: list[_Scores] = []
                logs.append(self._descend(self._loss(first, second, told.rows(at), scores), scores))
        found = {f"{self.name}/{key}": float(torch.tensor([log[key] for log in logs]).nanmean()) for key in logs[0]}
        return found | {f"{self.name}/restarts": float(int(self.restarts) - before)}

    def save(self, folder: str | Path) -> None:
        """Writes a folder for `RewardModel`; transformers loads it, too, if it is a linear head on a `Transformer`.

        Raises TypeError for an encoder of your own, ValueError with `length_norm`, which a folder cannot say.
        """
        if self.length_norm:
            raise ValueError(f"{self.name}: rewards divided by the answer's length cannot be saved as a model")
        reward_folder.save(folder, self.encoder, self.head, self.head_options())

    def step(self, pairs: Pairs) -> dict[str, float]:
        """One step of the optimiser on all of these pairs."""
        scores: list[_Scores] = []
        return self._descend(self.losses(pairs, scores), scores)

    def _descend(self, losses: Tensor | Iterator[Tensor], scores: list[_Scores]) -> dict[str, float]:
        loss = self.trainer.step(losses)
        first, second, label = (torch.cat(each) for each in zip(*scores, strict=True))
        if self.output_activation == "relu" and not bool(first.any()) and not bool(second.any()):
            with seeded(self.trainer.rng):
                self.head.restart()
            self.restarts += 1
        return {"loss": loss, "accuracy": accuracy(told_right(first, second, label))}

    def losses(self, pairs: Pairs, scores: list[_Scores] | None = None) -> Iterator[Tensor]:
        """The loss of these pairs in parts that sum to it, a micro-batch each; `scores` gets what they were told."""
        told = self._told(pairs)
        for rows in self._micro_batches(pairs):
            if rows is None:
                yield self._loss(*self._both(pairs), told, scores)
            else:
                share = told.weight[rows].sum() / told.weight.sum()
                yield self._loss(*self._both(pairs.rows(rows)), told.rows(rows), scores) * share

    def _told(self, pairs: Pairs) -> _Told:
        """What is known of each pair. Raises ValueError if their weights are nothing."""
        n, device, columns = len(pairs.label), self.restarts.device, pairs.columns or {}
        weight = torch.ones(n) if pairs.weight is None else pairs.weight.float()
        if not float(weight.sum()) > 0:
            raise ValueError(f"{self.name}: the weights of {n} pairs sum to {float(weight.sum()):g}")
        margin = self.margin + torch.tensor(columns.get("margin", [0.0] * n), dtype=torch.float32)
        alpha = torch.tensor(columns.get("alpha", [self.alpha] * n), dtype=torch.float32)
        return _Told(*(x.to(device) for x in (pairs.label, weight, margin, alpha)))

    def _loss(self, first: Tensor, second: Tensor, told: _Told, scores: list[_Scores] | None = None) -> Tensor:
        """The weighted mean loss of pairs with these values, [N] each."""
        if scores is not None:
            scores.append((first.detach(), second.detach(), told.label))
        loss = pair_loss(first, second, told.label, margin=told.margin, alpha=told.alpha)
        loss = loss + self.zero * (first.square() + second.square())
        mean = (told.weight * loss).sum() / told.weight.sum().clamp(min=1e-12)
        if not self.centre or not bool(told.weight.any()):
            return mean
        return mean + self.centre * centring(first, second, told.weight)

    def _micro_batches(self, pairs: Pairs) -> list[Tensor | None]:
        """Rows of each micro-batch; None for all at once."""
        first, second = (self.encoder.lengths(side) for side in (pairs.first, pairs.second))
        if first is None or second is None:
            return [None]
        most = [max(a, b) for a, b in zip(first, second, strict=True)]
        return [torch.tensor(rows) for rows in length_batches(most, self.tokens // 2, waste=1.0)]

    def _both(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Values of both sides; completions of like length go through the encoder together, whichever side."""
        if isinstance(pairs.first, Rollout):
            return self.values(pairs.first), self.values(pairs.second)
        first, second = self.values(join([pairs.first, pairs.second])).chunk(2)
        return first, second
