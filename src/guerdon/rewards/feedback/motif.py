"""Motif: a reward learned beforehand from a language model's preferences between messages."""

from __future__ import annotations

import gzip
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from rich.progress import track
from torch import Tensor

from guerdon.judges.record import PREFERRED, read_record
from guerdon.models.caption_cnn import CaptionModel, seed_from
from guerdon.parts.caption_pay import pay_captions
from guerdon.parts.pair_loss import PREFERENCE, pair_loss
from guerdon.types import About, Experience, Labels, Pairs, Reward, Spec

AT_BUILD = 50_000
"""Pairs x epochs that `build` trains without being asked to: a minute or so on one core."""


class Motif(Reward):
    """Pays messages by a score R that was fitted to preferences before the agent plays: r(c) * N(c)^-power.

    R is a CaptionCNN fitted by Bradley-Terry to a fixed set of pairs (a tie is half of either). m and v are mean and
    variance of R over that set's captions, r~ = (R(c) - m) / sqrt(v), and r(c) = r~ if it is above the `quantile` of r~
    over the set, else 0. c is the caption a step led to, N(c) how often it has occurred in this episode, now included.

    Scores are float32 [T, B], unbounded; exactly 0 for the empty caption and at invalid steps. Nothing is learned while
    the agent plays. A reward that was never fitted refuses to score.

    Fitting takes `epochs` over 80 % of the pairs; the rest is for the logs. `build` does it if the set is small (up to
    50,000 pairs x epochs) and shows its progress. For a larger set, fit once and keep the weights::

        motif = Motif(pairs="preferences.jsonl")
        motif.build(Spec(captions=CaptionTable()))
        print(motif.fit())
        torch.save(motif.state_dict(), "motif.pt")  # then, as often as you like: Motif(weights="motif.pt")

    The defaults are made for Motif's 500,000 pairs. The 1,550 pairs that come with the package need larger steps:
    ``Motif(lr=1e-3, batch_size=128, epochs=20)``; fit warns where it learned nothing.

    Klissarov, D'Oro et al., "Motif: Intrinsic Motivation from Artificial Intelligence Feedback", 2023. The gate and the
    CNN are those of ONI's Motif baseline. The weights are those after the last epoch.

    Args:
        pairs: a file of JSON lines {"a": text, "b": text, "preferred": "a", "b" or "tie"}, possibly .gz; or the pairs
            themselves, (a, b, preferred) each; None for those recorded on NetHack that come with the package.
        weights: a saved `state_dict` to use instead of fitting.
        quantile: of the normalised rewards of the set, below which nothing is paid (card: 0.5).
        power: of the episodic count gate; 0 switches it off.
        lr: of Adam (card: 1e-5).
        batch_size: pairs a step (card: 1024).
        epochs: passes over the pairs (card: 10).
        holdout: share of the pairs kept for the logs (card: 0.2).
    """

    about: ClassVar[About] = About(
        rewards="messages that a language model preferred, in comparisons made beforehand",
        paper="Motif: Intrinsic Motivation from Artificial Intelligence Feedback (Klissarov et al., 2023)",
        link="https://arxiv.org/abs/2310.00166",
        example="Motif(pairs=[('You kill the newt!', 'Never mind.', 'a'), ('You stop.', 'A key!', 'b')], lr=0.001)",
    )

    reads_captions: ClassVar[bool] = True

    quantiles: Tensor  # [101] of the normalised rewards of the training set; NaN before it was fitted
    mean: Tensor
    var: Tensor

    def __init__(
        self,
        *,
        pairs: str | Sequence[tuple[str, str, str]] | None = None,
        weights: str | None = None,
        quantile: float = 0.5,
        power: float = 3.0,
        lr: float = 1e-5,
        batch_size: int = 1024,
        epochs: int = 10,
        holdout: float = 0.2,
    ) -> None:
        super().__init__()
        if not 0.0 <= quantile <= 1.0:
            raise ValueError(f"Motif's quantile lies in 0..1, got {quantile}")
        self.pairs, self.weights, self.quantile, self.power = pairs, weights, quantile, power
        self.lr, self.batch_size, self.epochs, self.holdout = lr, batch_size, epochs, holdout

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        if spec.captions is None:
            raise ValueError("Motif needs a task with captions: make it with tasks.make(..., captions=True)")
        self.captions = spec.captions
        self.rng = torch.Generator().manual_seed(seed_from(generator))
        self.net = CaptionModel(spec.captions, "ranking", lr=self.lr, clip=10.0, generator=self.rng)
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("var", torch.tensor(1.0))
        self.register_buffer("quantiles", torch.full((101,), math.nan))
        self.to(device)
        if self.weights is not None:
            self.load_state_dict(torch.load(self.weights, map_location=device, weights_only=True))
            return
        pairs = read_pairs(self.pairs)
        if len(pairs.label) * self.epochs <= AT_BUILD:
            self.fit(pairs)

    def fit(self, pairs: Pairs | None = None) -> dict[str, float]:
        """Fits R to `pairs` (lists of captions), or to those of the file, and takes the statistics of the set.

        Returns:
            pairs, and loss and accuracy (without ties) on those that were held out.
        """
        pairs = read_pairs(self.pairs) if pairs is None else pairs
        texts = [[self.captions.intern(text) for text in side] for side in (pairs.first, pairs.second)]
        device = self.mean.device
        ids = torch.tensor(texts, device=device).T
        target = torch.tensor([PREFERENCE[int(label)] for label in pairs.label], device=device)
        weight = torch.ones_like(target) if pairs.weight is None else pairs.weight.to(target)
        order = torch.randperm(len(ids), generator=self.rng).to(device)
        kept = int(self.holdout * len(ids))
        held, rest = order[:kept], order[kept:]
        if not len(rest):
            raise ValueError(f"Motif has nothing to fit: of {len(ids)} pairs {kept} are held out")
        for _ in track(range(self.epochs), f"Motif: {len(rest)} pairs", transient=True):
            shuffled = rest[torch.randperm(len(rest), generator=self.rng).to(device)]
            for rows in shuffled.split(self.batch_size):
                self.net.step(ids[rows], target[rows], weight[rows], self.rng)
        scores = self.net.value(ids[rest].flatten())
        self.mean.copy_(scores.mean())
        self.var.copy_(scores.var(correction=0))
        self.quantiles.copy_(self._normalised(scores).quantile(torch.linspace(0, 1, 101, device=device)))
        return {"Motif/pairs": float(len(ids)), **self._check(ids[held], target[held])}

    def _check(self, ids: Tensor, target: Tensor) -> dict[str, float]:
        """Loss and accuracy on pairs that were not fitted; warns if no better than tossing a coin."""
        if not len(ids):
            return {}
        first, second = self.net.value(ids.flatten()).view(-1, 2).unbind(1)
        logs = {"Motif/loss": float(pair_loss(first, second, target).mean())}
        sided = target != 0.5
        if bool(sided.any()):
            logs["Motif/accuracy"] = accuracy = float(((second > first) == (target > 0.5))[sided].float().mean())
            if accuracy < 0.5 + 1 / math.sqrt(int(sided.sum())):  # two standard errors of a coin
                warnings.warn(
                    f"Motif learned nothing: {accuracy:.0%} of the held-out pairs are right. A small set needs "
                    "larger steps, such as Motif(lr=1e-3, batch_size=128, epochs=20)",
                    stacklevel=3,
                )
        return logs

    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Pairs of captions are fitted, from where it stands; nothing else teaches it anything."""
        if isinstance(experience, Pairs) and isinstance(experience.first, list):
            return self.fit(experience)
        return {}

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        if bool(self.quantiles.isnan().any()):
            raise RuntimeError("Motif is trained beforehand, and was not: call fit(), or pass weights=")
        return pay_captions(experience, self._worth, power=self.power, name=self.name)

    def _worth(self, ids: Tensor) -> Tensor:
        """r(c) of each caption, [n]."""
        normal = self._normalised(self.net.value(ids))
        place = self.quantile * (len(self.quantiles) - 1)
        low, high = self.quantiles[math.floor(place)], self.quantiles[math.ceil(place)]
        return torch.where(normal > low.lerp(high, place % 1), normal, 0.0)

    def _normalised(self, scores: Tensor) -> Tensor:
        return (scores - self.mean) / self.var.sqrt().clamp(min=1e-8)

    def get_extra_state(self) -> dict[str, Any]:
        return {"rng": self.rng.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.rng.set_state(state["rng"])


def read_pairs(source: str | Sequence[tuple[str, str, str]] | None = None) -> Pairs:
    """Compared captions from a file of JSON lines, from rows, or those that come with the package; see Motif.

    Raises:
        ValueError: a line that is no comparison, with the file's name and the line's number; or no comparison at all.
    """
    rows: list[tuple[str, str, int]]
    if source is None:
        rows = [(a, b, label) for (a, b), label in read_record().pairs.items()]
    elif isinstance(source, str):
        data = Path(source).read_bytes()
        lines = (gzip.decompress(data) if source.endswith(".gz") else data).decode("utf-8").splitlines()
        rows = [_comparison(_json(line), f"{source}, line {i}") for i, line in enumerate(lines, 1) if line.strip()]
    else:
        rows = [_comparison(row, f"pair {i}") for i, row in enumerate(source, 1)]
    if not rows:
        raise ValueError(f"{source!r} compares nothing: {_FORM}")
    first, second, label = zip(*rows, strict=True)
    return Pairs(first=list(first), second=list(second), label=torch.tensor(label))


def _json(line: str) -> tuple[Any, ...]:
    try:
        row = json.loads(line)
        return row["a"], row["b"], row["preferred"]
    except (ValueError, KeyError, TypeError):
        return ()


def _comparison(row: Sequence[Any], where: str) -> tuple[str, str, int]:
    if len(row) != 3 or not all(isinstance(text, str) for text in row) or row[2] not in PREFERRED:
        raise ValueError(f"{where}: {_FORM}")
    return row[0], row[1], PREFERRED[row[2]]


_FORM = 'a comparison is {"a": text, "b": text, "preferred": "a", "b" or "tie"}'
