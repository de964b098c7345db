"""TRL: a batch as it is laid out there, as Completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guerdon.parts.completions_from_tokens import completions_from_tokens
from guerdon.types import Completions
from guerdon.types.protocols import Prompt


def rows(
    prompts: Sequence[Prompt],
    completions: Sequence[Any],
    ids: Sequence[Sequence[int]],
    columns: dict[str, Sequence[Any]],
    *,
    tokenizer: Any,
    **known: Any,
) -> Completions:
    """A batch of TRL as Completions; `known` goes to `completions_from_tokens`: what the trainer knows better."""
    if tokenizer is None:
        texts = [c if isinstance(c, str) else "\n".join(_said(c)) for c in completions]
    else:
        generated = known.get("generated") or [[1] * len(row) for row in ids]
        own = [[i for i, kept in zip(*pair, strict=True) if kept] for pair in zip(ids, generated, strict=True)]
        texts = tokenizer.batch_decode(own, skip_special_tokens=True)
        if "prompt_ids" not in known:
            known["prompt_ids"] = [_prompt_ids(prompt, tokenizer) for prompt in prompts]
    return completions_from_tokens(prompts, texts, ids, columns=columns, **known)


def _prompt_ids(prompt: Prompt, tokenizer: Any) -> list[int]:
    """Tokens of a prompt, made the way TRL makes them."""
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    return tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]


def _said(messages: Sequence[dict[str, Any]]) -> list[str]:
    """What the assistant's messages say."""
    return [m["content"] or "" for m in messages if m.get("role", "assistant") == "assistant"]
