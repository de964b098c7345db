"""What vLLM answers to POST /v1/completions, from a model of ours: token ids, prompt_logprobs, n, stop, seed."""

from __future__ import annotations

import json
from typing import Any

import torch

from guerdon.models import CausalLM

Reply = tuple[int, dict[str, str], bytes]


def answer(model: CausalLM, body: dict[str, Any]) -> Reply:
    """A completion, or the 400 that vLLM gives for what it does not take."""
    prompt, n, temperature = body["prompt"], body.get("n", 1), body["temperature"]
    if temperature == 0 and n > 1:
        return 400, {}, b"n must be 1 when using greedy sampling"
    if len(prompt) + body["max_tokens"] > model.max_length:
        return 400, {}, b"maximum context length"
    text = model.decode(prompt)
    assert model.encode(text) == prompt, "these tokens are not those of a text"
    options = {"max_tokens": body["max_tokens"], "temperature": temperature, "seed": body.get("seed")}
    made = model.generate([text], n=n, stop=body.get("stop", ()), **options)
    raw = model.log_probs(made).detach()  # before the temperature
    choices = []
    for i in range(n):
        ids, values = made.ids[i][made.mask[i]].tolist(), raw[i][made.mask[i]].tolist()
        logprobs = {"tokens": [f"token_id:{t}" for t in ids], "token_logprobs": values}
        choice = {"index": i, "text": made.text[i], "logprobs": logprobs if "logprobs" in body else None}
        if "prompt_logprobs" in body:
            choice["prompt_logprobs"] = prompt_logprobs(model, prompt, body["prompt_logprobs"])
        choices.append(choice)
    usage = {"prompt_tokens": len(prompt), "completion_tokens": int(made.mask.sum())}
    return 200, {}, json.dumps({"object": "text_completion", "choices": choices[::-1], "usage": usage}).encode()


def prompt_logprobs(model: CausalLM, prompt: list[int], most: int) -> list[dict[str, Any] | None]:
    """None, then a table of the token's own log-probability and the `most` highest."""
    with torch.no_grad():
        rows = model.module(torch.tensor([prompt])).logits[0, :-1].log_softmax(-1)
    table: list[dict[str, Any] | None] = [None]
    for token, row in zip(prompt[1:], rows, strict=True):
        ids = {token, *row.topk(most).indices.tolist()}
        table.append({str(i): {"logprob": row[i].item(), "rank": 1, "decoded_token": "?"} for i in ids})
    return table
