"""Interned captions: a caption is stored once, experience carries int32 ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

WIDTH = 256
"""Bytes of a NetHack message buffer."""


class CaptionTable:
    """Texts under int32 ids, in order of first sight; id 0 is the empty caption.

    Args:
        canonicalise: maps a raw caption to the one it counts as, so that "5 gold pieces." and "6 gold pieces." share
            a label and an episodic count. None keeps captions apart (what ONI does).

    Raises:
        ValueError: a caption longer than 256 bytes, or one that latin-1 cannot write.
    """

    def __init__(self, canonicalise: Callable[[str], str] | None = None) -> None:
        self.canonicalise = canonicalise
        self._texts: list[str] = [""]
        self._ids: dict[str, int] = {"": 0}

    def __len__(self) -> int:
        return len(self._texts)

    def intern(self, text: str) -> int:
        """The id of `text`, new or known."""
        found = self._ids.get(text)
        if found is None:
            shown = self.canonicalise(text) if self.canonicalise else text
            found = self._ids.get(shown)
            if found is None:
                if len(shown.encode("latin-1", errors="strict")) > WIDTH:
                    raise ValueError(f"a caption has at most {WIDTH} bytes, this one {len(shown)}: {shown[:60]!r}...")
                found = len(self._texts)
                self._texts.append(shown)
            self._ids[shown] = found
        return found

    def text(self, index: int) -> str:
        """The caption with this id."""
        return self._texts[index]

    def texts(self, ids: Iterable[int]) -> list[str]:
        """The captions with these ids."""
        return [self._texts[i] for i in ids]

    def encode(self, ids: Tensor) -> Tensor:
        """uint8 [n, 256]: the latin-1 bytes of each caption, zero-padded."""
        return encode([self._texts[i] for i in ids.tolist()])

    def state_dict(self) -> dict[str, list[str]]:
        """The texts in id order."""
        return {"texts": list(self._texts)}

    def load_state_dict(self, state: dict[str, list[str]]) -> None:
        """Replaces the table; ids stored with it stay right."""
        self._texts = list(state["texts"])
        self._ids = {text: i for i, text in enumerate(self._texts)}


def encode(texts: Iterable[str]) -> Tensor:
    """uint8 [n, 256]: latin-1 bytes, zero-padded. Raises ValueError for a text that does not fit."""
    rows = [text.encode("latin-1") for text in texts]
    for row in rows:
        if len(row) > WIDTH:
            raise ValueError(f"a caption has at most {WIDTH} bytes, this one {len(row)}: {row[:60]!r}...")
    padded = b"".join(row.ljust(WIDTH, b"\0") for row in rows)
    return torch.from_numpy(np.frombuffer(padded, np.uint8).reshape(-1, WIDTH).copy())


def decode(message: np.ndarray | bytes) -> str:
    """The caption of a zero-padded message buffer: its bytes up to the first zero, as latin-1."""
    return bytes(message).partition(b"\0")[0].decode("latin-1")
