"""One step downhill: AdamW, a schedule, a bound on the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch


class Descent:
    """AdamW whose learning rate warms up and then falls, and whose gradient's norm is bounded.

    Args:
        lr: largest learning rate (1e-6: TRL, verl and OpenRLHF for full models of billions of weights).
        schedule: after the warm-up "constant", or down to 0 at `updates`: "linear", "cosine".
        warmup: updates over which it rises linearly from 0.
        updates: how many there will be; needed for "linear" and "cosine".
        max_grad_norm: larger gradients are scaled down to this norm; None leaves them alone.
        weight_decay: of AdamW.
        betas: of AdamW.
    """

    def __init__(
        self,
        *,
        lr: float = 1e-6,
        schedule: Literal["constant", "linear", "cosine"] = "constant",
        warmup: int = 0,
        updates: int | None = None,
        max_grad_norm: float | None = 1.0,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        if schedule not in ("constant", "linear", "cosine"):
            raise ValueError(f"schedule is 'constant', 'linear' or 'cosine', not {schedule!r}")
        if schedule != "constant" and updates is None:
            raise ValueError(f"schedule={schedule!r} falls to 0 at its end: say how many `updates` there will be")
        self.lr, self.schedule, self.warmup, self.updates = lr, schedule, warmup, updates
        self.max_grad_norm, self.weight_decay, self.betas = max_grad_norm, weight_decay, betas
        self.done = 0

    def start(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Takes charge of these parameters. Raises ValueError if none of them can be trained."""
        self.parameters = [p for p in parameters if p.requires_grad]
        if not self.parameters:
            raise ValueError("no parameter requires a gradient: nothing can be learnt")
        decay = {"betas": self.betas, "weight_decay": self.weight_decay}
        self.adam = torch.optim.AdamW(self.parameters, self.lr, fused=True, **decay)

    def rate(self, update: int) -> float:
        """The learning rate of the update of this number, counted from 0."""
        if update < self.warmup:
            return self.lr * (update + 1) / self.warmup
        if self.schedule == "constant" or self.updates is None:
            return self.lr
        gone = min(1.0, (update - self.warmup) / max(1, self.updates - self.warmup))
        return self.lr * (1.0 - gone if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * gone)))

    def step(self) -> dict[str, float]:
        """One update with the gradients as they are, which are then forgotten.

        Raises:
            FloatingPointError: a gradient is NaN or infinite; the parameters stay as they were.
        """
        bound = math.inf if self.max_grad_norm is None else self.max_grad_norm
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, bound))
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"training diverged: the gradient's norm is {norm} at update {self.done}. "
                "Lower lr, clip the ratio or the reward, or compute in float32"
            )
        rate = self.rate(self.done)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.done += 1
        return {"gradient_norm": norm, "lr": rate}

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.done = state["done"]
