"""Direct preference optimisation over pairs of completions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from guerdon.learners.descent import Descent
from guerdon.models import CausalLM
from guerdon.parts.dpo_loss import dpo_loss
from guerdon.parts.joined import join
from guerdon.types import FIRST, TIE, Completions, LanguageModel, Pairs


class DPO:
    """Trains a language model to prefer one completion of a pair to the other (Rafailov et al., 2023).

    The loss of an update is the weighted mean of `dpo_loss` over its pairs, whatever `micro_batch` is. The reference's
    log-probabilities are computed once, when `train` begins. https://arxiv.org/abs/2305.18290

    Args:
        policy: the model that learns.
        reference: the model it is held to; None takes the policy as it is when `train` begins (no copy is made).
        beta: how tightly (0.1: TRL).
        label_smoothing: chance that a label is wrong, 0 to 0.5.
        descent: optimiser, learning rate and schedule. For full models of billions of weights 5e-7 is usual.
        batch: pairs an update.
        epochs: passes over the pairs.
        micro_batch: pairs in one forward and backward pass; None takes a batch whole.
        seed: of the order of pairs.
    """

    def __init__(
        self,
        policy: CausalLM,
        *,
        reference: LanguageModel | None = None,
        beta: float = 0.1,
        label_smoothing: float = 0.0,
        descent: Descent | None = None,
        batch: int = 8,
        epochs: int = 1,
        micro_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        if min(batch, epochs, micro_batch or 1) < 1:
            raise ValueError("batch, epochs and micro_batch must be at least 1")
        self.policy, self.reference, self.beta, self.label_smoothing = policy, reference, beta, label_smoothing
        self.descent = descent or Descent(lr=5e-7)
        self.batch, self.epochs, self.micro_batch, self.seed = batch, epochs, micro_batch, seed
        self.descent.start(policy.module.parameters())

    def train(self, pairs: Pairs) -> Iterator[dict[str, float]]:
        """Takes `epochs` passes; yields what to log of each update.

        The logs: "loss"; "accuracy", the share of pairs whose chosen completion has the higher implicit reward
        beta (log pi - log pi_ref); "margin", by how much; "chosen" and "rejected", these rewards.

        Raises:
            ValueError: no pairs, or a tie among them: it says nothing of which to prefer.
            FloatingPointError: training diverged.
        """
        n = len(pairs.label)
        if not n or bool((pairs.label == TIE).any()):
            raise ValueError("DPO learns from pairs with a winner: leave ties out" if n else "there are no pairs")
        both = join([_bare(pairs.first), _bare(pairs.second)])
        first = (pairs.label == FIRST).cpu()
        chosen, rejected = (torch.arange(n) + torch.where(first == wins, 0, n) for wins in (True, False))
        order = torch.stack([chosen, rejected])  # [2, n] rows of `both`
        weight = torch.ones(n) if pairs.weight is None else pairs.weight.float().cpu()
        with torch.no_grad():
            reference = (self.reference or self.policy).log_probs(both).sum(1)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            for part in torch.randperm(n, generator=generator).split(self.batch):
                yield self._update(both, order[:, part], weight[part], reference)

    def _update(self, both: Completions, order: Tensor, weight: Tensor, reference: Tensor) -> dict[str, float]:
        """One update on the pairs of rows `order` [2, n], a micro-batch at a time."""
        logs: dict[str, float] = defaultdict(float)
        n = order.shape[1]
        for piece in torch.arange(n).split(self.micro_batch or n):
            rows = order[:, piece].flatten()
            log_prob = self.policy.log_probs(both.rows(rows)).sum(1)
            ref = reference[rows.to(reference.device)]
            losses = dpo_loss(
                *log_prob.chunk(2), *ref.chunk(2), beta=self.beta, label_smoothing=self.label_smoothing
            )  # fmt: skip
            loss = (losses * weight[piece].to(losses)).sum() / weight.sum().clamp(min=1e-12)
            loss.backward()
            won, lost = (self.beta * (log_prob.detach() - ref)).chunk(2)
            seen = {"accuracy": (won > lost).float(), "margin": won - lost, "chosen": won, "rejected": lost}
            logs["loss"] += float(loss.detach())
            for name, value in seen.items():
                logs[name] += float(value.sum()) / n
        return logs | self.descent.step()


def _bare(completions: Any) -> Completions:
    """What is needed of completions here; one side of a pair may have columns and groups that the other has not."""
    if not isinstance(completions, Completions):
        raise TypeError(f"DPO learns from pairs of Completions, not of {type(completions).__name__}")
    names = ("prompt", "text", "ids", "mask", "prompt_ids", "prompt_mask")
    return Completions(**{name: getattr(completions, name) for name in names})
