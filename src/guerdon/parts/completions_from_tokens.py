"""Sampled tokens as Completions: for trainers that hand over lists of tokens of different lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.types.experience import Completions
from guerdon.types.protocols import Prompt


def completions_from_tokens(
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    *,
    generated: Sequence[Sequence[Any]] | None = None,
    prompt_ids: Sequence[Sequence[int]] | None = None,
    log_probs: Sequence[Sequence[float]] | None = None,
    group: Tensor | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    device: torch.device | str = "cpu",
) -> Completions:
    """Completions of N rows, padded on the right, their prompts on the left.

    A token's step is its turn: how many stretches of generated tokens ended before its own.

    Args:
        prompts: N texts or message lists.
        texts: N texts, which the policy wrote.
        ids: tokens of each completion.
        generated: true for each of these tokens that the policy wrote, false for what a tool put in between; all of
            them by default.
        prompt_ids: tokens of each prompt.
        log_probs: of each token when it was sampled.
        group: [N] integers; by default neighbours with equal prompts are one group, as samplers that repeat each
            prompt lay them out.
        columns: name -> N values.
        device: of the tensors.

    Raises:
        ValueError: counts that disagree, naming what has how many.
    """
    counted = {"texts": texts, "ids": ids, "generated": generated, "prompt_ids": prompt_ids, "log_probs": log_probs}
    for name, rows in (counted | {f"columns[{k!r}]": v for k, v in (columns or {}).items()}).items():
        if rows is not None and len(rows) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts, but {len(rows)} {name}")
    widths = [len(row) for row in ids]
    for name, rows in (("generated", generated), ("log_probs", log_probs)):
        if rows is not None and [len(row) for row in rows] != widths:
            raise ValueError(f"{name} needs one entry a token of ids: {[len(row) for row in rows]} for {widths}")
    if group is None:
        new = [i > 0 and prompts[i] != prompts[i - 1] for i in range(len(prompts))]
        group = torch.tensor(new, dtype=torch.long, device=device).cumsum(0)
    mask = _padded([[1] * width for width in widths] if generated is None else generated, torch.bool, device)
    ended = torch.zeros_like(mask)
    ended[:, 1:] = mask[:, :-1] & ~mask[:, 1:]
    known = {} if prompt_ids is None else {
        "prompt_ids": _padded(prompt_ids, torch.long, device, left=True),
        "prompt_mask": _padded([[1] * len(row) for row in prompt_ids], torch.bool, device, left=True),
    }  # fmt: skip
    return Completions(
        prompt=list(prompts),
        text=list(texts),
        ids=_padded(ids, torch.long, device),
        mask=mask,
        group=group,
        step=ended.long().cumsum(1),
        log_prob=None if log_probs is None else _padded(log_probs, torch.float32, device),
        columns={name: list(values) for name, values in (columns or {}).items()},
        **known,
    )


def _padded(
    rows: Sequence[Sequence[Any]], dtype: torch.dtype, device: torch.device | str, left: bool = False
) -> Tensor:
    """[N, longest], padded with 0."""
    width = max((len(row) for row in rows), default=0)
    out = torch.zeros(len(rows), width, dtype=dtype)
    for i, row in enumerate(rows):
        out[i, width - len(row) if left else 0 :][: len(row)] = torch.as_tensor(row, dtype=dtype)
    return out.to(device)
