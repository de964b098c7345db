"""Networks whose first weights come from a generator, and training whose state is saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.models.caption_cnn import seed_from


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Modules made inside draw their first weights from `generator` (seed 0 without one), and nobody else's chance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(generator))
        yield


class Trainer(nn.Module):
    """Adam on some parameters, and the generator that shuffles what they learn from: both saved with their owner.

    Args:
        parameters: what learns, on its device already.
        lr: Adam's step size.
        generator: seeds the shuffling.
        max_grad_norm: gradients are scaled down to it; None leaves them.
        weight_decay: as AdamW's.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, generator: torch.Generator | None,
        max_grad_norm: float | None = None, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        self.rng = torch.Generator().manual_seed(seed_from(generator))
        self.max_grad_norm = max_grad_norm

    def batches(self, n: int, size: int, *, fraction: float = 1.0, epochs: int = 1) -> Iterator[Tensor]:
        """Indices below `n`, in a drawn order, so many at a time; each pass keeps an index with chance `fraction`."""
        for _ in range(epochs):
            order = torch.randperm(n, generator=self.rng)
            if fraction < 1.0:
                order = order[torch.rand(n, generator=self.rng) < fraction]
            yield from order.split(size) if len(order) else ()

    def step(self, loss: Tensor | Iterable[Tensor]) -> float:
        """One step downhill, along the sum of the losses if there are several; each is let go before the next is made.

        Returns the sum. Raises FloatingPointError for a loss that is no finite number.
        """
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for part in [loss] if isinstance(loss, Tensor) else loss:
            if not bool(part.isfinite()):
                raise FloatingPointError(f"the loss is {float(part)}: lower lr, or look for wild observations")
            part.backward()
            total += float(part.detach())
        if self.max_grad_norm is not None:
            held = [p for group in self.optimiser.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(held, self.max_grad_norm)
        self.optimiser.step()
        return total

    def get_extra_state(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict(), "rng": self.rng.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.set_state(state["rng"].cpu())
