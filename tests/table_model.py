"""A language model that is one table: the logits of the next character after the last one. Known in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guerdon.types import Completions, ContextOverflow, Prompt, TokenScores

END = 3  # a character no text has, as the end-of-text token; 0 pads


class TableModel(nn.Module):
    """Characters are tokens, their code points the ids (ASCII). `logits` [128, 128] is the one parameter."""

    name = "table"

    def __init__(self, seed: int = 0, *, max_length: int = 512, scale: float = 1.0) -> None:
        super().__init__()
        self.max_length = max_length
        self.logits = nn.Parameter(scale * torch.randn(128, 128, generator=torch.Generator().manual_seed(seed)))

    def put(self, before: str, after: str, probability: float) -> None:
        """Sets the probability of character `after` behind `before`; the others share the rest equally."""
        rest = torch.full((128,), (1 - probability) / 127)
        rest[ord(after)] = probability
        self.logits.data[ord(before)] = rest.log()

    def render(self, prompt: Prompt, *, add_generation_prompt: bool = True) -> str:
        return prompt if isinstance(prompt, str) else "".join(f"{m['role']}: {m['content']}\n" for m in prompt)

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in ids if i not in (0, END))

    def split(self, text: str, start: int, end: int) -> tuple[list[int], list[int]]:
        if not 0 <= start < end <= len(text):
            raise ValueError(f"no characters in [{start}, {end})")
        return self.encode(text[:start]), self.encode(text[start:end])

    def score(
        self, prefixes: Sequence[Sequence[int]], spans: Sequence[Sequence[int]], *, also: Sequence[str] = ()
    ) -> TokenScores:
        length = max(map(len, spans))
        before, at = torch.zeros(2, len(spans), length, dtype=torch.long)
        for row, (prefix, span) in enumerate(zip(prefixes, spans, strict=True)):
            if len(prefix) + len(span) > self.max_length:
                raise ContextOverflow(f"{len(prefix) + len(span)} tokens in a context of {self.max_length}")
            before[row, : len(span)] = torch.tensor([prefix[-1], *span[:-1]])
            at[row, : len(span)] = torch.tensor(list(span))
        mask = torch.arange(length) < torch.tensor([len(s) for s in spans])[:, None]
        table = self.logits.log_softmax(-1)
        rows = table[before]
        found = {
            "entropy": -(rows.exp() * rows).sum(-1),
            "self_certainty": -torch.tensor(128.0).log() - rows.mean(-1),
            "margin": -rows.exp().topk(2).values.diff(dim=-1)[..., 0],
        }
        log_prob = rows.gather(-1, at[..., None])[..., 0]
        return TokenScores(log_prob * mask, mask, **{name: found[name] * mask for name in also})

    def log_probs(self, completions: Completions, *, temperature: float = 1.0) -> Tensor:
        before = torch.cat([completions.prompt_ids[:, -1:], completions.ids[:, :-1]], 1)
        table = (self.logits / temperature).log_softmax(-1)
        return table[before].gather(-1, completions.ids[..., None])[..., 0] * completions.mask

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Prompt], *, n: int = 1, max_tokens: int = 256, temperature: float = 1.0,
        stop: Sequence[str] = (), seed: int | None = None,
    ) -> Completions:  # fmt: skip
        generator = torch.Generator().manual_seed(seed or 0)
        texts = []
        for prompt in [p for p in prompts for _ in range(n)]:
            last, text = self.render(prompt)[-1], ""
            while len(text) < max_tokens and not any(s in text for s in stop):
                p = (self.logits[ord(last)] / max(temperature, 1e-6)).softmax(-1)
                i = int(p.argmax() if temperature == 0 else torch.multinomial(p, 1, generator=generator))
                if i in (0, END):
                    break
                text += (last := chr(i))
            texts.append(text)
        made = completions([p for p in prompts for _ in range(n)], texts, model=self)
        made.group = torch.arange(len(prompts)).repeat_interleave(n)
        return made


def completions(prompts: Sequence[Prompt], texts: Sequence[str], *, model: TableModel, **columns: list) -> Completions:
    """Completions of these texts, each closed by the end-of-text token; rows of the same prompt make a group."""
    ids = [[*model.encode(text), END] for text in texts]
    before = [model.encode(model.render(p)) for p in prompts]
    length, width = max(map(len, ids)), max(map(len, before))
    mask = torch.arange(length) < torch.tensor([len(i) for i in ids])[:, None]
    made = Completions(
        prompt=list(prompts),
        text=list(texts),
        ids=torch.tensor([i + [0] * (length - len(i)) for i in ids]),
        mask=mask,
        group=torch.tensor([list(prompts).index(p) for p in prompts]),
        columns=columns or None,
        prompt_ids=torch.tensor([[0] * (width - len(b)) + b for b in before]),
        prompt_mask=torch.arange(width) >= width - torch.tensor([len(b) for b in before])[:, None],
    )
    made.log_prob = model.log_probs(made).detach()
    return made
