"""A language model on a server that speaks OpenAI's completions protocol as vLLM extends it."""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from guerdon.models.token_model import TokenModel
from guerdon.parts.http_client import HttpClient, Pace

T = TypeVar("T")


class RemoteLM(TokenModel):
    """A `LanguageModel` over ``POST {base_url}/completions``, many requests at a time.

    Prompts go as token ids, so what the server scores is what was tokenised here. Scores come from `prompt_logprobs`, a
    field that vLLM adds; a server without it can only write. A server says the probabilities of tokens and of the two
    likeliest ones, so `score` knows `margin`, and neither entropy nor self-certainty; it has no gradients.

    vLLM reports log-probabilities before the temperature unless it is started with ``--logprobs-mode
    processed_logprobs``. So with `logprobs` "raw", completions sampled at a temperature other than 1 have no `log_prob`
    (a local model's, or `log_probs` at temperature 1, can stand in); say "processed" if the server does.

    Args:
        base_url: up to /v1, such as "http://localhost:8000/v1".
        model: the name under which the server knows the model.
        tokenizer: the model's fast tokenizer.
        name: what logs and labels call it; `model` by default.
        max_length: tokens that fit, prompt included; the tokenizer's by default, which must then know it.
        ends: tokens that end a text, besides the tokenizer's end-of-text token.
        logprobs: what the server reports, see above.
        concurrency: requests at a time.
        timeout: seconds for an answer.
        retries: of a request, where trying again may help.
        backoff: seconds before the first retry; doubles each time, times a random 0.5..1.
        requests_per_minute: at most; None for no limit.
        tokens_per_minute: at most; None for no limit.
        api_key_env: the environment variable that holds the key; without one, none is sent.
        extra: further fields of each request.

    Raises:
        ValueError: an option that cannot be, when made; from a call, what the server cannot say.
        NoAnswer: from a call: nobody answers, or not sensibly, after all retries.
        Refused: from a call: a wrong key, address or model.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        tokenizer: Any,
        *,
        name: str | None = None,
        max_length: int | None = None,
        ends: Sequence[int] = (),
        logprobs: Literal["raw", "processed"] = "raw",
        concurrency: int = 32,
        timeout: float = 120.0,
        retries: int = 5,
        backoff: float = 1.0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        extra: dict[str, Any] | None = None,
    ) -> None:
        fits = tokenizer.model_max_length if max_length is None else max_length
        if fits > 1 << 30:
            raise ValueError("this tokenizer does not know how many tokens the model takes: pass max_length")
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with http:// or https://, got {base_url!r}")
        if logprobs not in ("raw", "processed"):
            raise ValueError(f"logprobs must be 'raw' or 'processed', got {logprobs!r}")
        if concurrency < 1 or retries < 0 or timeout <= 0 or backoff < 0:
            raise ValueError("concurrency >= 1, retries >= 0, timeout > 0 and backoff >= 0 are needed")
        super().__init__(tokenizer, name=name or model, max_length=fits)
        self.model, self.url, self.logprobs = model, f"{base_url.rstrip('/')}/completions", logprobs
        self.api_key_env, self.extra = api_key_env, extra or {}
        self._ends = tuple(ends)
        self._counts: Counter[str] = Counter()
        self._limits: dict[str, Any] = {
            "concurrency": concurrency,
            "timeout": timeout,
            "retries": retries,
            "backoff": backoff,
            "pace": Pace(requests_per_minute, tokens_per_minute),
        }

    @property
    def ends(self) -> list[int]:
        """Tokens that end a text."""
        return [*super().ends, *self._ends]

    def counters(self) -> dict[str, float]:
        """So far: calls made, retries among them, tokens."""
        return {key: float(self._counts[key]) for key in ("calls", "retries", "prompt_tokens", "completion_tokens")}

    def _predict(
        self, sequences: Sequence[Sequence[int]], wanted: Sequence[np.ndarray], also: Sequence[str], temperature: float
    ) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
        if unknown := set(also) - {"margin"}:
            raise ValueError(
                f"a server does not say {' or '.join(sorted(unknown))}, which take all next-token probabilities; score "
                "with a local model (CausalLM)"
            )
        if temperature != 1:
            raise ValueError(f"a server scores at temperature 1 only, not {temperature}; use a local model (CausalLM)")
        distinct: dict[tuple[int, ...], int] = {}
        of = [distinct.setdefault(tuple(sequence), len(distinct)) for sequence in sequences]
        options = {"prompt_logprobs": 2 if also else 0, "max_tokens": 1}
        bodies = [{"prompt": list(sequence), "temperature": 1.0, **options} for sequence in distinct]
        tables = self._ask(
            [(body, lambda reply, body=body: _prompt_log_probs(reply, body["prompt"])) for body in bodies]
        )
        if None in tables:
            raise ValueError(f"{self.url} gives no prompt_logprobs; score with vLLM, or with a local model (CausalLM)")
        sequence = np.concatenate([np.full(len(places), i) for i, places in enumerate(wanted)])
        place = np.concatenate(list(wanted))
        said = [tables[of[i]][t] for i, t in zip(sequence, place, strict=True)]
        values = {"log_prob": torch.tensor([own for own, _ in said], dtype=torch.float32)}
        if also:
            values["margin"] = torch.tensor([math.exp(a) - math.exp(b) for _, (a, b) in said], dtype=torch.float32)
        return values, sequence, place

    def _write(
        self,
        prompts: list[list[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        stop: Sequence[str],
        seed: int | None,
    ) -> list[tuple[list[int], list[float] | None]]:
        draws = n if temperature else 1  # greedy completions are alike, and vLLM refuses to write several
        options: dict[str, Any] = {"n": draws, "max_tokens": max_tokens, "temperature": temperature, "logprobs": 0}
        if stop:
            options |= {"stop": list(stop), "include_stop_str_in_output": True}
        bodies = [{"prompt": prompt, **options} for prompt in prompts]
        if seed is not None:
            bodies = [body | {"seed": seed + i * n} for i, body in enumerate(bodies)]
        known = temperature in (0, 1) or self.logprobs == "processed"
        made: list[tuple[list[int], list[float] | None]] = []
        for choices in self._ask([(body, _choices) for body in bodies]):
            if len(choices) != draws:
                raise ValueError(f"{self.url} wrote {len(choices)} completions for a prompt and n={draws}")
            for ids, log_probs in choices * (n // draws):
                if ids is None:
                    raise ValueError(
                        f"{self.url} does not say which tokens it wrote; use a server that heeds "
                        "return_tokens_as_token_ids, such as vLLM"
                    )
                made.append((ids, log_probs if known else None))
        return made

    def _ask(self, questions: Sequence[tuple[dict[str, Any], Callable[[Any], T]]]) -> list[T]:
        """The answers to all requests, in order. May be called from within an event loop, which then waits."""
        key = os.environ.get(self.api_key_env)
        client = HttpClient(
            url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            counts=self._counts,
            **self._limits,
        )
        common = {"model": self.model, "return_tokens_as_token_ids": True, **self.extra}

        async def one(body: dict[str, Any], read: Callable[[Any], T]) -> T:
            async with client.slots:
                return await client.post(common | body, read)

        async def every() -> list[T]:
            async with client.open():
                try:
                    async with asyncio.TaskGroup() as group:
                        tasks = [group.create_task(one(*question)) for question in questions]
                except ExceptionGroup as errors:
                    raise errors.exceptions[0] from None
            return [task.result() for task in tasks]

        return _run(every)


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, from any thread: one whose event loop runs already has another thread do it."""

    async def awaited() -> T:
        return await work()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(awaited())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, awaited()).result()


def _prompt_log_probs(reply: Any, prompt: list[int]) -> list[tuple[float, list[float]]] | None:
    """Of each token of the prompt: its log-probability, and the two highest at its place; None if nothing is said."""
    table = reply["choices"][0].get("prompt_logprobs")
    if table is None:
        return None
    if len(table) != len(prompt):
        raise ValueError(f"{len(table)} places for {len(prompt)} tokens")
    found: list[tuple[float, list[float]]] = [(math.nan, [])]  # nothing is before the first token
    for token, entry in zip(prompt[1:], table[1:], strict=True):
        values = {int(i): float(one["logprob"]) for i, one in entry.items()}
        found.append((values[token], sorted(values.values(), reverse=True)[:2]))
    return found


def _choices(reply: Any) -> list[tuple[list[int] | None, list[float]]]:
    """Tokens and log-probabilities of each completion; None for tokens that are texts."""
    made = []
    for choice in sorted(reply["choices"], key=lambda choice: choice["index"]):
        tokens, values = choice["logprobs"]["tokens"], [float(v) for v in choice["logprobs"]["token_logprobs"]]
        ids = [int(token.removeprefix("token_id:")) for token in tokens if token.startswith("token_id:")]
        made.append((ids if len(ids) == len(tokens) else None, values))
    return made
