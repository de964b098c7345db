"""Reading captions character by character: the network of ONI's and Motif's reward models, and its training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guerdon.parts.growing import Memo
from guerdon.parts.pair_loss import pair_loss
from guerdon.types import Captions

Head = Literal["classification", "ranking"]

_STAGES = ((7, True), (7, True), (3, False), (3, False), (3, False), (3, True))
"""Kernel of each convolution, and whether a maximum over 3 follows. 256 characters become 5 columns."""

_TOGETHER = {"cpu": 64, "cuda": 2048}
"""Captions that go through the convolutions at once."""


class CaptionCNN(nn.Module):
    """Captions, uint8 [n, 256], to what the head says of them.

    Byte embedding of 32, then convolutions of 64 channels with kernels 7, 7, 3, 3, 3, 3 and ReLU, a maximum over 3
    after the first, second and last; 5 x 64 to 128 with ReLU. Head "classification": two ReLU layers of 512, dropout
    0.1, 2 logits, [n, 2]. Head "ranking": 128 to 256 to 512, ReLU, one score, [n] (ONI, 2024).

    Past the longest caption of a batch all is padding, for which every layer gives the same column over and over: one
    such column is computed and repeated, which changes no value and saves most of the work.

    Args:
        head: what is asked of a caption.
        generator: draws the initial weights (PyTorch's default distributions); None draws with seed 0.
    """

    def __init__(self, head: Head, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_from(generator))
            self.embed = nn.Embedding(256, 32)
            self.convs = nn.ModuleList(
                nn.Conv1d(32 if i == 0 else 64, 64, kernel) for i, (kernel, _) in enumerate(_STAGES)
            )
            self.features = nn.Linear(5 * 64, 128)
            if head == "classification":
                layers = [nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
            else:
                layers = [nn.Linear(128, 256), nn.Linear(256, 512), nn.ReLU()]
            self.body = nn.Sequential(*layers)
            self.out = nn.Linear(512, 2 if head == "classification" else 1)
        self.dropout = 0.1 if head == "classification" else 0.0

    def forward(self, captions: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """[n, 2] logits or [n] scores. Dropout is on where a generator for it is given, which is in training."""
        x = self.body(F.relu(self.features(self._columns(captions).flatten(1))))
        if generator is not None and self.dropout:
            kept = torch.rand(x.shape, generator=generator, device=generator.device).to(x.device) >= self.dropout
            x = x * kept / (1 - self.dropout)
        return self.out(x).squeeze(-1) if self.out.out_features == 1 else self.out(x)

    def _columns(self, captions: Tensor) -> Tensor:
        """[n, 64, 5], worked out for captions of similar length together."""
        together = _TOGETHER.get(captions.device.type, len(captions))
        if len(captions) <= together:
            return self._stages(captions)
        order = _lengths(captions).argsort()
        columns = torch.cat([self._stages(captions[some]) for some in order.split(together)])
        return columns[order.argsort()]

    def _stages(self, captions: Tensor) -> Tensor:
        """Of `length` columns only the first x.shape[-1] are held; the others equal the last one held."""
        length = captions.shape[1]
        used = int(_lengths(captions).amax()) if len(captions) else 0
        x = self.embed(captions[:, : min(used + 1, length)].int()).transpose(1, 2)
        for (kernel, pooled), conv in zip(_STAGES, self.convs, strict=True):
            x, length = _repeat_last(x, min(x.shape[-1] + kernel - 1, length)), length - kernel + 1
            x = F.relu(conv(x))
            if pooled:
                held, length = (x.shape[-1] + 4) // 3, length // 3  # columns that text reaches, and one beyond
                x = F.max_pool1d(_repeat_last(x, 3 * min(held, length)), 3)
        return _repeat_last(x, length)


def _lengths(captions: Tensor) -> Tensor:
    """Characters of each caption up to its last, [n]."""
    places = torch.arange(1, captions.shape[1] + 1, dtype=torch.int32, device=captions.device)
    return ((captions != 0) * places).amax(1)


def _repeat_last(x: Tensor, length: int) -> Tensor:
    """`x` [n, c, m] with its last column repeated, or cut, to `length` columns."""
    return F.pad(x, (0, length - x.shape[-1]), mode="replicate" if length > x.shape[-1] else "constant")


class CaptionModel(nn.Module):
    """A CaptionCNN over the ids of a caption table, with its Adam. No weights read a caption twice.

    Args:
        captions: the table that ids belong to.
        head: see CaptionCNN. With "classification" the value of a caption is its logit of 1 minus that of 0.
        lr: Adam's.
        clip: largest norm of the gradient; None for no limit.
        generator: draws the initial weights.
    """

    def __init__(
        self,
        captions: Captions,
        head: Head,
        *,
        lr: float,
        clip: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.captions, self.clip = captions, clip
        self.net = CaptionCNN(head, generator=generator)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=lr, fused=True)
        self.memo = Memo()  # what the present weights say of a caption

    def value(self, ids: Tensor) -> Tensor:
        """float32 [n]: log-odds of label 1, or the score. Only captions new to the present weights are read."""
        return self.memo.of(ids, self._read)

    def _read(self, ids: Tensor) -> Tensor:
        out = torch.cat([self.net(self._encode(some)) for some in ids.split(4096)])
        return out if out.ndim == 1 else out[:, 1] - out[:, 0]

    def step(self, ids: Tensor, target: Tensor, weight: Tensor, generator: torch.Generator) -> dict[str, float]:
        """One Adam step on the mean of weight x cross-entropy; returns the loss and the accuracy before it.

        Two logits of a caption and two scores of a pair are the same softmax over two. Where the target is 0.5 there is
        no right side, and no part in the accuracy.

        Args:
            ids: [n, 1] captions, or [n, 2] pairs of them for a ranking.
            target: [n] probability of label 1, or that the second is better.
            weight: [n].
            generator: draws the dropout.
        """
        two = self.net(self._encode(ids.flatten()), generator=generator).view(-1, 2)
        loss = (weight * pair_loss(two[:, 0], two[:, 1], target)).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.optimiser.step()
        self.memo.forget()
        logs, sided = {"loss": float(loss.detach())}, target != 0.5
        if bool(sided.any()):
            logs["accuracy"] = float(((two[:, 1] > two[:, 0]) == (target > 0.5))[sided].float().mean())
        return logs

    def _encode(self, ids: Tensor) -> Tensor:
        return self.captions.encode(ids).to(self.memo.values.device)

    def _apply(self, fn: Callable, recurse: bool = True) -> CaptionModel:
        super()._apply(fn, recurse)
        self.optimiser.load_state_dict(self.optimiser.state_dict())  # moves its moments to where the weights are now
        return self

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimiser.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state)
        self.memo.forget()


def seed_from(generator: torch.Generator | None) -> int:
    """A seed drawn from `generator`; 0 without one."""
    if generator is None:
        return 0
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))
