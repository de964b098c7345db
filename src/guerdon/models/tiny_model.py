"""A tiny language model with random weights and one token a character: for tests, claims and first tries."""

from __future__ import annotations

import string
from typing import Any

import torch

from guerdon.models.language_model import CausalLM

TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def tiny_model(
    *,
    seed: int = 0,
    layers: int = 2,
    width: int = 32,
    heads: int = 4,
    characters: str = string.printable[:95] + "\n",
    max_length: int = 2048,
    spread: float = 0.1,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> CausalLM:
    """A Llama with random weights, made in milliseconds and from nothing but its seed; in evaluation mode.

    Args:
        seed: of the weights; the global generator is left alone.
        layers: how many.
        width: of the residual stream; the feed-forward layers are twice as wide.
        heads: of attention, two to a key and value head.
        characters: one token each, after <pad>, <bos>, <eos> and <unk>; every other character is <unk>.
        max_length: tokens that fit.
        spread: standard deviation of the weights: at 0.02 all tokens are about as likely, at 0.5 few are.
        dtype: of the weights.
        **options: of `CausalLM`.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = character_tokenizer(characters)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=max_length,
        initializer_range=spread,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: Any = LlamaForCausalLM(config)
    return CausalLM(module.to(dtype).eval(), tokenizer, **{"name": f"tiny-{seed}", **options})


def character_tokenizer(characters: str) -> Any:
    """A fast tokenizer with one token a character, a beginning token it sets by itself, and a chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    vocabulary = {token: i for i, token in enumerate([*special, *dict.fromkeys(characters)])}
    made: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    names = {f"{token[1:-1]}_token": token for token in special}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", **names)
    tokenizer.chat_template = TEMPLATE
    return tokenizer
