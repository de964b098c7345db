"""Texts to tokens and back: what every language model does with its tokenizer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from guerdon.types.protocols import ContextOverflow, Prompt


class Tokens:
    """The tokenizer's half of a `LanguageModel`; a base of the local and the remote one.

    Args:
        tokenizer: a fast tokenizer of transformers (only those know where in the text a token stands).
        max_length: tokens that fit into the model's context.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(f"{type(tokenizer).__name__} knows no offsets; use the fast tokenizer of this model")
        self.tokenizer, self.max_length = tokenizer, max_length

    def render(self, prompt: Prompt, *, add_generation_prompt: bool = True) -> str:
        """The text of a prompt: messages through the chat template, a plain text as it is.

        Raises:
            ValueError: messages for a tokenizer that has no chat template.
        """
        if isinstance(prompt, str):
            return prompt
        if not self.tokenizer.chat_template:
            raise ValueError(
                "this tokenizer has no chat template; ask with a plain text, or set tokenizer.chat_template"
            )
        messages = copy.deepcopy(list(prompt))  # templates may change what they are given
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text that stands at the beginning of the context, with the tokenizer's own beginning token.

        A rendered chat that brings that token itself does not get a second one.
        """
        return self._beginning(text) + self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens, special ones included."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def split(self, text: str, start: int, end: int) -> tuple[list[int], list[int]]:
        """Tokens before, and tokens of, the characters [start, end) of `text`, which is tokenised as a whole.

        A token that reaches over a border belongs to the span. What comes after `end` is dropped.

        Raises:
            ValueError: an empty span, or one outside the text.
        """
        if not 0 <= start < end <= len(text):
            raise ValueError(f"characters {start} to {end} of a text of {len(text)} are no span; nothing can be scored")
        made = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = made["input_ids"], made["offset_mapping"]
        first = next((i for i, (_, after) in enumerate(offsets) if after > start), len(ids))
        last = next((i for i in range(len(ids) - 1, -1, -1) if offsets[i][0] < end), -1)
        if last < first:
            raise ValueError(f"the characters {text[start:end]!r} have no token of their own")
        return self._beginning(text) + ids[:first], ids[first : last + 1]

    @cached_property
    def _bos(self) -> list[int]:
        """The beginning token, if the tokenizer sets one by itself."""
        own = self.tokenizer("a")["input_ids"][:1]
        return own if own == [self.tokenizer.bos_token_id] else []

    def _beginning(self, text: str) -> list[int]:
        return [] if self._bos and text.startswith(self.tokenizer.bos_token) else self._bos

    def check_fits(self, prompt: int, more: int, *, what: str) -> None:
        """Raises ContextOverflow if `prompt` tokens and `more` after them are too many."""
        if prompt + more > self.max_length:
            raise ContextOverflow(
                f"{prompt} tokens of prompt and {more} {what} are {prompt + more}, but the context holds "
                f"{self.max_length}; shorten them, or raise max_length if the model allows it"
            )
