"""Fitted reward models in folders, and the encoders by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from guerdon.models.reward_encoder import Embeddings, Features, Observations, RewardEncoder
from guerdon.models.reward_head import RewardHead
from guerdon.models.reward_transformer import Transformer
from guerdon.models.seeded import seeded
from guerdon.types import Spec

ENCODERS: dict[str, type[RewardEncoder]] = {
    cls.__name__: cls for cls in (Embeddings, Features, Observations, Transformer)
}
"""Encoders that an expression can name."""

FILE, WEIGHTS = "reward.json", "reward.safetensors"


def save(folder: str | Path, encoder: RewardEncoder, head: RewardHead, options: dict[str, Any]) -> Path:
    """Writes encoder and head. With a linear head on a `Transformer`, transformers can load the folder, too.

    Args:
        folder: made if it does not exist.
        encoder: built.
        head: as it was fitted.
        options: what the head was made with.

    Raises:
        TypeError: the encoder is none of `ENCODERS`, so nothing could load the folder.
    """
    folder, kind = Path(folder), type(encoder).__name__
    if ENCODERS.get(kind) is not type(encoder):
        raise TypeError(f"{kind} cannot be saved in a folder: only {', '.join(ENCODERS)} can be made again from one")
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Any] = {"encoder": kind, "options": encoder.config(), "head": options | {"size": head.size}}
    if isinstance(encoder, Transformer):
        encoder.save(folder, head.last if head.linear else None)
        made["options"] |= {"model": "."}
    weights = {f"head.{k}": v for k, v in head.state_dict().items()}
    if not isinstance(encoder, Transformer):
        weights |= {f"encoder.{k}": v for k, v in encoder.state_dict().items() if isinstance(v, torch.Tensor)}
    save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, folder / WEIGHTS)
    (folder / FILE).write_text(json.dumps(made, indent=1) + "\n")
    return folder


def load(
    folder: str | Path, spec: Spec, *, truncate: bool = False, device: torch.device | str = "cpu", reader: str
) -> tuple[RewardEncoder, RewardHead]:
    """Encoder and head of a folder that `save` wrote, or of a sequence classifier with one label, frozen.

    Args:
        folder: of `save`; or a folder, package or cached name that transformers knows as a sequence classifier.
        spec: for an encoder of observations.
        truncate: whether texts that are too long are cut.
        device: where it computes.
        reader: whose it is, for errors.

    Raises:
        OSError: there is no such model. ValueError: it is none with one label, or the folder is damaged.
    """
    path = Path(folder)
    if not (path / FILE).exists():
        encoder = Transformer(model=str(folder), frozen=True, truncate=truncate, end=False)
        encoder.build(spec, device=device, reader=reader)
        return encoder, encoder.own_head()
    try:
        made = json.loads((path / FILE).read_text())
        options = made["options"] | ({"truncate": True} if truncate else {})
        if made["encoder"] == "Transformer":
            options |= {"model": str(path), "frozen": True}
        encoder = ENCODERS[made["encoder"]](**options)
        with seeded(None):
            head = RewardHead(**made["head"])
        encoder.build(spec, device=device, reader=reader)
        weights = load_file(path / WEIGHTS)
        for name, part in (("head.", head), ("encoder.", encoder)):
            own = {k.removeprefix(name): v for k, v in weights.items() if k.startswith(name)}
            if own:
                part.load_state_dict(own, strict=name == "head.")
    except (KeyError, TypeError, json.JSONDecodeError, RuntimeError) as error:
        raise ValueError(f"{path} is no folder of a fitted reward model, or is damaged: {error}") from error
    return encoder, head.to(device)
