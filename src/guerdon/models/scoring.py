"""Log-probabilities of tokens by a causal model of transformers, with what sequences have in common computed once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from guerdon.models.packing import Row, batches, pack


class Scorer:
    """Runs packed rows through a model; the arguments are those of `CausalLM`."""

    def __init__(
        self, module: Any, *, name: str, token_budget: int, logit_budget: int, knee: float, share: bool
    ) -> None:
        self.module, self.name = module, name
        self.token_budget, self.logit_budget, self.knee, self.share = token_budget, logit_budget, knee, share
        self._proven = False  # that shared rows compute the same as rows of their own

    def __call__(
        self,
        sequences: Sequence[Sequence[int]],
        wanted: Sequence[np.ndarray],
        *,
        also: Sequence[str] = (),
        temperature: float = 1.0,
    ) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
        """`log_prob` and the fields in `also` of every wanted token [E], and its sequence and place [E].

        Raises:
            ValueError: the model cannot compute sequences that share a row.
        """
        rows = pack(sequences, wanted, width=self.token_budget, knee=self.knee, share=self.share)
        if any(row.branched for row in rows):
            self._check_sharing(max(map(len, sequences)))
        made = [self._forward(batch, also, temperature) for batch in batches(rows, self.token_budget)]
        fields = {name: torch.cat([values[name] for values, _, _ in made]) for name in made[0][0]}
        return fields, np.concatenate([s for _, s, _ in made]), np.concatenate([p for _, _, p in made])

    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    def _forward(
        self, rows: list[Row], also: Sequence[str], temperature: float
    ) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
        """One pass of the model: the fields of every token that these rows predict, its sequence and place."""
        width = len(rows[0])
        node = np.concatenate([i * width + row.node for i, row in enumerate(rows)])
        order = np.argsort(node, kind="stable")  # all that one node predicts side by side
        used, which = np.unique(node[order], return_inverse=True)
        target, sequence, place = (
            np.concatenate([getattr(row, name) for row in rows])[order] for name in ("target", "sequence", "place")
        )
        states, head = self._states(rows, used)
        size = max(1, self.logit_budget // self.module.config.get_text_config().vocab_size)

        def piece(states: Tensor, which: Tensor, target: Tensor) -> dict[str, Tensor]:
            logits = head(states)
            return describe(logits / temperature if temperature != 1 else logits, which, target, also)

        pieces = []
        for start in range(0, len(used), size):
            first, last = np.searchsorted(which, (start, start + size))
            args = (
                states[start : start + size],
                self._tensor(which[first:last] - start),
                self._tensor(target[first:last]),
            )
            again = len(used) > size and torch.is_grad_enabled()
            pieces.append(checkpoint(piece, *args, use_reentrant=False) if again else piece(*args))
        return {name: torch.cat([p[name] for p in pieces]) for name in pieces[0]}, sequence, place

    def _states(self, rows: list[Row], used: np.ndarray) -> tuple[Tensor, Any]:
        """What the model makes of the tokens `used` (counted through the rows), and what makes logits of it."""
        width = len(rows[0])

        def stack(name: str, rest: np.ndarray) -> Tensor:
            return self._tensor(np.stack([np.concatenate([getattr(row, name), rest[len(row) :]]) for row in rows]))

        places, mask = np.arange(width), None
        if rows[0].branched:
            at, leave = self._tensor(places), stack("leave", places + 1)
            mask = self._as_mask(((at <= at[:, None]) & (at[:, None] < leave[:, None, :]))[:, None])
        inputs: dict[str, Any] = {
            "input_ids": stack("tokens", np.zeros(width, dtype=np.int64)),
            "position_ids": stack("depth", places),
            "attention_mask": mask,
            "use_cache": False,
        }
        if self._plain_head:
            states = self.module.get_decoder()(**inputs)[0]
            return states.flatten(0, 1)[self._tensor(used)], self.module.get_output_embeddings()
        keep = self._tensor(np.unique(used % width))
        logits = self.module(**inputs, logits_to_keep=keep).logits
        if logits.shape[1] != len(keep):  # it does not know that keyword
            logits = logits[:, keep]
        row, column = self._tensor(used // width), torch.searchsorted(keep, self._tensor(used % width))
        return logits[row, column], torch.nn.Identity()

    @cached_property
    def _plain_head(self) -> bool:
        """Whether logits are what the output layer makes of the decoder's states: no scale, no cap, on top of it."""
        if not hasattr(self.module, "get_decoder") or self.module.get_output_embeddings() is None:
            return False
        ids = torch.arange(4, device=self._device)[None]
        with evaluating(self.module), torch.no_grad():
            states = self.module.get_decoder()(input_ids=ids, use_cache=False)[0]
            logits = self.module(input_ids=ids, use_cache=False).logits
            return torch.equal(self.module.get_output_embeddings()(states).to(logits), logits)

    def _as_mask(self, sees: Tensor) -> Tensor:
        """True where a token sees another, in the form that the model's attention takes."""
        if self.module.config.get_text_config()._attn_implementation == "sdpa":
            return sees
        blank = torch.zeros(sees.shape, dtype=self.module.dtype, device=sees.device)
        return blank.masked_fill(~sees, torch.finfo(blank.dtype).min)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _check_sharing(self, longest: int) -> None:
        """Raises ValueError if sequences that share a row would not be computed as they are in rows of their own."""
        cure = "pass share=False, or load the model with attn_implementation='sdpa' if its attention can be that"
        config = self.module.config.get_text_config()
        windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        window = (
            min((w for w in windows if w), default=longest) if getattr(config, "use_sliding_window", True) else longest
        )
        if longest > window:
            raise ValueError(
                f"{self.name} looks back over {window} tokens, and a sequence has {longest}: they cannot share rows; "
                f"pass share=False"
            )
        if self._proven:
            return
        if (kind := config._attn_implementation) not in ("sdpa", "eager"):
            raise ValueError(f"{self.name} attends by {kind}, which takes no mask of ours; {cure}")
        stem = [(3 + 7 * i) % config.vocab_size for i in range(8)]
        pair, wanted = [stem + stem[2:5], stem + stem[4:1:-1]], [np.arange(8, 11)] * 2
        both = []
        with evaluating(self.module), torch.no_grad():
            try:
                for share in (True, False):
                    made = [self._forward([r], (), 1.0) for r in pack(pair, wanted, width=64, knee=1e9, share=share)]
                    where = np.concatenate([s * len(pair[0]) + p for _, s, p in made]).argsort()
                    both.append(torch.cat([fields["log_prob"] for fields, _, _ in made])[self._tensor(where)])
            except Exception as error:
                raise ValueError(f"{self.name} cannot be told which tokens a token sees ({error}); {cure}") from error
        tolerance = 1e-3 if self.module.dtype in (torch.float32, torch.float64) else 0.1
        if not torch.allclose(*both, atol=tolerance, rtol=tolerance):
            raise ValueError(f"{self.name} does not heed which tokens a token sees (is it recurrent?); {cure}")
        self._proven = True


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """The module in evaluation mode, and afterwards in the mode it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def describe(logits: Tensor, which: Tensor, target: Tensor, also: Sequence[str] = ()) -> dict[str, Tensor]:
    """What next-token distributions say: `log_prob` of tokens, and what else `also` names; [E] float32 each.

    Args:
        logits: [K, V], one row a distribution.
        which: [E], the distribution of each token.
        target: [E], the token.
        also: fields of `TokenScores`.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    total = logits.logsumexp(-1)
    rows: dict[str, Tensor] = {}
    if "entropy" in also:
        p = (logits - total[:, None]).exp()
        rows["entropy"] = total - (p * torch.where(p > 0, logits, 0.0)).sum(-1)
    if "self_certainty" in also:
        rows["self_certainty"] = total - logits.mean(-1) - math.log(logits.shape[-1])
    if "margin" in also:
        top = (logits.topk(2).values - total[:, None]).exp()
        rows["margin"] = top[:, 0] - top[:, 1]
    fields = {"log_prob": logits[which, target] - total[which]} | {name: rows[name][which] for name in rows}
    return {name: value.float() for name, value in fields.items()}
