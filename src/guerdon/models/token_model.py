"""What language models have in common: texts to tokens and back, and the contract over two calls of each model."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.parts.completions_from_tokens import completions_from_tokens
from guerdon.types.experience import Completions
from guerdon.types.protocols import ContextOverflow, Prompt, TokenScores

FIELDS = ("entropy", "self_certainty", "margin")


class TokenModel(ABC):
    """A `LanguageModel` for which a subclass predicts and writes tokens; the base of the local and the remote one.

    Args:
        tokenizer: a fast tokenizer of transformers (only those know where in the text a token stands).
        name: what logs and labels call the model.
        max_length: tokens that fit into the model's context.
    """

    def __init__(self, tokenizer: Any, *, name: str, max_length: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(f"{type(tokenizer).__name__} knows no offsets; use the fast tokenizer of this model")
        self.tokenizer, self.name, self.max_length = tokenizer, name, max_length

    @property
    def device(self) -> torch.device:
        """Where scores come from and completions go to."""
        return torch.device("cpu")

    @property
    def ends(self) -> list[int]:
        """Tokens that end a text."""
        return [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]

    @abstractmethod
    def _predict(
        self, sequences: Sequence[Sequence[int]], wanted: Sequence[np.ndarray], also: Sequence[str], temperature: float
    ) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
        """`log_prob` and the fields in `also` of the wanted tokens, and the sequence and place of each."""

    @abstractmethod
    def _write(
        self,
        prompts: list[list[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        stop: Sequence[str],
        seed: int | None,
    ) -> list[tuple[list[int], list[float] | None]]:
        """Tokens and their log-probabilities (None where nobody can say) of `n` completions a prompt, side by side."""

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

    def score(
        self, prefixes: Sequence[Sequence[int]], spans: Sequence[Sequence[int]], *, also: Sequence[str] = ()
    ) -> TokenScores:
        """How likely each span is after its prefix, see `LanguageModel`.

        Raises:
            ContextOverflow: prefix and span together are longer than `max_length`.
            ValueError: an empty prefix or span, or a name in `also` that is none of entropy, self_certainty, margin.
        """
        if len(prefixes) != len(spans):
            raise ValueError(f"{len(prefixes)} prefixes for {len(spans)} spans")
        if unknown := set(also) - set(FIELDS):
            raise ValueError(f"{', '.join(sorted(unknown))}: also takes {', '.join(FIELDS)}")
        for i, (prefix, span) in enumerate(zip(prefixes, spans, strict=True)):
            if not len(prefix) or not len(span):
                raise ValueError(f"sequence {i} has {len(prefix)} tokens before a span of {len(span)}; both need one")
            self._check_fits(len(prefix), len(span), what="tokens of a span")
        sequences = [[*prefix, *span] for prefix, span in zip(prefixes, spans, strict=True)]
        starts, lengths = ([len(part) for part in parts] for parts in (prefixes, spans))
        wanted = [np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)]
        shape = len(spans), max(lengths, default=0)
        fields = self._placed(sequences, wanted, np.arange(len(spans)), starts, shape, also=also)
        mask = torch.arange(shape[1], device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
        return TokenScores(mask=mask, **fields)

    def log_probs(self, completions: Completions, *, temperature: float = 1.0) -> Tensor:
        """[N, L] log-probability of each token of `completions` after its prompt; 0 where ``mask`` is False.

        Tokens that `mask` leaves out between two that it holds (a tool's words) are context. Prompts without
        `prompt_ids` are rendered and encoded.

        Raises:
            ContextOverflow: prompt and completion together are longer than `max_length`.
            ValueError: a temperature that is not positive.
        """
        if temperature <= 0:
            raise ValueError(f"temperature {temperature} leaves no probabilities; it must be positive")
        mask, ids = completions.mask.bool().cpu().numpy(), completions.ids.cpu().numpy()
        rows, prompts = np.flatnonzero(mask.any(1)), self._prompts(completions)
        sequences, wanted = [], []
        for i in rows:
            at = np.flatnonzero(mask[i])
            self._check_fits(len(prompts[i]), int(at[-1]) + 1, what="tokens of a completion")
            sequences.append([*prompts[i], *ids[i, : at[-1] + 1].tolist()])
            wanted.append(at + len(prompts[i]))
        starts = [len(prompts[i]) for i in rows]
        return self._placed(sequences, wanted, rows, starts, completions.shape, temperature=temperature)["log_prob"]

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        max_tokens: int = 256,
        temperature: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Completions:
        """`n` completions a prompt, see `LanguageModel`.

        At temperature 0 `log_prob` is that of temperature 1, since the likeliest token is certain.

        Raises:
            ContextOverflow: a prompt and `max_tokens` together are longer than `max_length`.
            ValueError: an empty prompt, or an option that cannot be.
        """
        if n < 1 or max_tokens < 1 or temperature < 0 or "" in stop:
            raise ValueError("n >= 1, max_tokens >= 1, temperature >= 0 and stop strings that are not empty are needed")
        encoded = [self.encode(self.render(prompt)) for prompt in prompts]
        for i, ids in enumerate(encoded):
            if not ids:
                raise ValueError(f"prompt {i} has no tokens; give it text, or a tokenizer with a beginning token")
            self._check_fits(len(ids), max_tokens, what="tokens to generate")
        made = self._write(encoded, n=n, max_tokens=max_tokens, temperature=temperature, stop=stop, seed=seed)
        log_probs = [p for _, p in made if p is not None]
        return completions_from_tokens(
            [prompt for prompt in prompts for _ in range(n)],
            [self._text(ids, stop) for ids, _ in made],
            [ids for ids, _ in made],
            prompt_ids=[ids for ids in encoded for _ in range(n)],
            log_probs=log_probs if len(log_probs) == len(made) else None,
            group=torch.arange(len(prompts), device=self.device).repeat_interleave(n),
            device=self.device,
        )

    def _placed(
        self,
        sequences: Sequence[Sequence[int]],
        wanted: Sequence[np.ndarray],
        rows: np.ndarray,
        starts: Sequence[int],
        shape: tuple[int, int],
        *,
        also: Sequence[str] = (),
        temperature: float = 1.0,
    ) -> dict[str, Tensor]:
        """The fields of the wanted tokens in tables of this shape: sequence i in row `rows[i]`, from its start on."""
        if not sequences:
            return {name: torch.zeros(shape, device=self.device) for name in ("log_prob", *also)}
        values, sequence, place = self._predict(sequences, wanted, also, temperature)
        column = place - np.asarray(starts)[sequence]
        at = tuple(torch.from_numpy(index).to(self.device) for index in (rows[sequence], column))
        return {name: value.new_zeros(shape).index_put(at, value) for name, value in values.items()}

    def _prompts(self, completions: Completions) -> list[list[int]]:
        """The tokens before each completion."""
        if completions.prompt_ids is None:
            return [self.encode(self.render(prompt)) for prompt in completions.prompt]
        ids, mask = completions.prompt_ids.cpu(), completions.prompt_mask
        kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool().cpu()
        return [row[keep].tolist() for row, keep in zip(ids, kept, strict=True)]

    def _text(self, ids: list[int], stop: Sequence[str]) -> str:
        """The text without its end-of-text token, up to the first stop string, which is kept."""
        text = self.decode(ids[:-1] if ids and ids[-1] in self.ends else ids)
        found = [text.find(s) + len(s) for s in stop if s in text]
        return text[: min(found)] if found else text

    @cached_property
    def _bos(self) -> list[int]:
        """The beginning token, if the tokenizer sets one by itself."""
        own = self.tokenizer("a")["input_ids"][:1]
        return own if own == [self.tokenizer.bos_token_id] else []

    def _beginning(self, text: str) -> list[int]:
        return [] if self._bos and text.startswith(self.tokenizer.bos_token) else self._bos

    def _check_fits(self, prompt: int, more: int, *, what: str) -> None:
        """Raises ContextOverflow if `prompt` tokens and `more` after them are too many."""
        if prompt + more > self.max_length:
            raise ContextOverflow(
                f"{prompt} tokens of prompt and {more} {what} are {prompt + more}, but the context holds "
                f"{self.max_length}; shorten them, or raise max_length if the model allows it"
            )
