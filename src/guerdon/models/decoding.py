"""The decoding loop of a causal language model: one batch of prompts, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from guerdon.models.language_model import CausalLM


def decode_batch(
    model: CausalLM, prompts: list[list[int]], chance: Tensor, *, temperature: float, stop: Sequence[str]
) -> list[tuple[list[int], list[float] | None]]:
    """Tokens and their log-probabilities of one completion a row.

    Equal neighbours among `prompts` are read once. Rows that have ended leave the batch.

    Args:
        model: who writes.
        prompts: B prompts' tokens.
        chance: [B, max_tokens] uniform numbers in [0, 1): the t-th decides the t-th token of its row.
        temperature: of the sampling; 0 takes the likeliest token.
        stop: a text ends with the first of these in it.
    """
    distinct, of_row = _runs(prompts)
    logits, cache, seen = _read(model, distinct)
    index = torch.tensor(of_row, device=model.device)
    if len(distinct) < len(prompts):
        cache.reorder_cache(index)
        logits, seen = logits[index], seen[index]
    position = seen.sum(1)
    ends = torch.tensor(model.ends, device=model.device)
    alive = list(range(len(prompts)))
    ids: list[list[int]] = [[] for _ in prompts]
    log_probs: list[list[float]] = [[] for _ in prompts]
    tail = max((4 * len(s) + 8 for s in stop), default=0)  # tokens that hold a stop string even byte by byte
    for t in range(chance.shape[1]):
        token, log_prob = sample(logits, chance[alive, t], temperature)
        for row, i, p in zip(alive, token.tolist(), log_prob.tolist(), strict=True):
            ids[row].append(i)
            log_probs[row].append(p)
        over = torch.isin(token, ends).tolist()
        stay = [k for k, row in enumerate(alive) if not over[k] and not _stopped(model, ids[row][-tail:], stop)]
        alive = [alive[k] for k in stay]
        if not alive or t + 1 == chance.shape[1]:
            break
        if len(stay) < len(token):
            index = torch.tensor(stay, device=model.device)
            cache.reorder_cache(index)
            token, seen, position = token[index], seen[index], position[index]
        seen = torch.cat([seen, seen.new_ones(len(alive), 1)], 1)
        logits = model.module(
            input_ids=token[:, None],
            attention_mask=seen,
            position_ids=position[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        position = position + 1
    return list(zip(ids, log_probs, strict=True))


def sample(logits: Tensor, chance: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token a row of `logits` [B, V], by inverting its distribution at `chance` [B], and its log-probability."""
    if not temperature:
        token = logits.argmax(-1)
        return token, logits.float().log_softmax(-1).gather(1, token[:, None])[:, 0]
    log_prob = (logits.float() / temperature).log_softmax(-1)
    total = log_prob.double().exp().cumsum(-1)
    token = torch.searchsorted(total, chance.to(total)[:, None] * total[:, -1:], right=True).clamp(
        max=logits.shape[1] - 1
    )
    return token[:, 0], log_prob.gather(1, token)[:, 0]


def _runs(prompts: list[list[int]]) -> tuple[list[list[int]], list[int]]:
    """Prompts without equal neighbours, and which of them each row has."""
    distinct: list[list[int]] = []
    of_row = []
    for prompt in prompts:
        if not distinct or distinct[-1] != prompt:
            distinct.append(prompt)
        of_row.append(len(distinct) - 1)
    return distinct, of_row


def _read(model: CausalLM, prompts: list[list[int]]) -> tuple[Tensor, Any, Tensor]:
    """The logits after each prompt, the cache, and [B, P] which places of it are no padding."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=model.device)
    lengths = torch.tensor([len(p) for p in prompts], device=model.device)
    seen = (torch.arange(width, device=model.device) >= width - lengths[:, None]).long()
    position = (seen.cumsum(1) - 1).clamp(min=0)
    out = model.module(input_ids=ids, attention_mask=seen, position_ids=position, use_cache=True, logits_to_keep=1)
    if getattr(out, "past_key_values", None) is None:
        raise ValueError(f"{model.name} keeps no keys and values (is it recurrent?); generate with its own library")
    return out.logits[:, -1], out.past_key_values, seen


def _stopped(model: CausalLM, ids: list[int], stop: Sequence[str]) -> bool:
    if not stop:
        return False
    text = model.decode(ids)
    return any(s in text for s in stop)
