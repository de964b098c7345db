"""Completions of several rounds, models or sources as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.types import Completions

_TOKENS = ("ids", "mask", "step", "log_prob")
_PROMPTS = ("prompt_ids", "prompt_mask")


def pad(value: Tensor, length: int, *, left: bool = False) -> Tensor:
    """[N, l] as [N, length], with zeros (False) after each row, or before it with `left`."""
    more = length - value.shape[1]
    return F.pad(value, (more, 0) if left else (0, more))


def join(many: Sequence[Completions]) -> Completions:
    """The rows of all of them, in order, padded to one length; groups of different ones stay different.

    Raises:
        ValueError: nothing to join, or an optional field (or a column) that only some of them have.
    """
    if not many:
        raise ValueError("there are no completions to join")
    if len(many) == 1:
        return many[0]
    fields = {}
    for names, left in ((_TOKENS, False), (_PROMPTS, True)):
        for name in names:
            values = _in_all(many, name)
            if values:
                fields[name] = torch.cat([pad(v, max(x.shape[1] for x in values), left=left) for v in values])
    if groups := _in_all(many, "group"):
        renumbered, used = [], 0
        for group in groups:
            index = torch.unique(group, return_inverse=True)[1]
            renumbered.append(index + used)
            used += int(index.max()) + 1 if len(index) else 0
        fields["group"] = torch.cat(renumbered)
    columns = [set(c.columns or {}) for c in many]
    if any(names != columns[0] for names in columns):
        raise ValueError(f"completions with different columns cannot be joined: {[sorted(c) for c in columns]}")
    return Completions(
        prompt=[p for c in many for p in c.prompt],
        text=[t for c in many for t in c.text],
        columns={k: [v for c in many for v in (c.columns or {})[k]] for k in sorted(columns[0])} or None,
        **fields,
    )


def _in_all(many: Sequence[Completions], name: str) -> list[Tensor]:
    values = [getattr(c, name) for c in many]
    missing = sum(v is None for v in values)
    if 0 < missing < len(values):
        raise ValueError(f"{missing} of {len(values)} completions have no {name}: all must have it, or none")
    return [] if missing else values
