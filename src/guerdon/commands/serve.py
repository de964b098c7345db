"""guerdon serve."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Annotated

import tyro
from tyro.conf import Positional

from guerdon.commands.score import load_model


def serve(
    reward: Positional[str],
    model: str | None = None,
    reference: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 0,
    concurrency: int | None = None,
    batch: int = 64,
    wait: float = 0.005,
    timeout: float | None = 60.0,
    queue: int = 4096,
    max_items: int = 1024,
    max_characters: int = 200_000,
    max_tokens: int | None = None,
    max_megabytes: float = 32.0,
    token_env: str | None = None,
    trim: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    grace: float = 30.0,
) -> None:
    r"""Serve a reward over HTTP, to OpenRLHF, to clients of vLLM's reward models, or to anybody with curl.

    The reward is an expression, or a function of your own without parentheses:

      guerdon serve "ExactMatch() + 0.1 * my_rewards:Short()"
      guerdon serve my_rewards:grade --workers 4

    A function is called the way its parameters ask for: one with `completion` once a row (and with the columns that it
    names), one with `completions` with many rows as TRL calls it, one with `rows` with mappings. `async def` is
    awaited, a plain function runs in threads, with --workers in processes (for Python that computes). Rows that time
    out or fail are reported as such, never as 0.

      curl localhost:8000/rewards -H 'content-type: application/json' \
        -d '{"rows": [{"prompt": "1+1=", "completion": "2", "answer": "2"}]}'

    Other paths: /get_reward (OpenRLHF), /pooling and /score (vLLM), /healthz, /metrics (Prometheus), /docs.
    SIGTERM or Ctrl-C finishes what is in flight and stops.

    Args:
        reward: what scores.
        model: a language model for rewards that need one: a folder, an installed package, or a cached name;
            or NAME@http://HOST:PORT/v1, on a server of vLLM, with NAME's tokenizer here.
        reference: another for rewards that need a frozen one beside it; by default --model.
        host: address to listen on. By default nobody outside of this machine can reach it.
        port: 0 takes a free one, which is printed.
        workers: processes that score, instead of threads.
        concurrency: calls of the scorer at a time; by default the number of workers, else 64, but 1 for a reward or a
            plain function of many rows.
        batch: rows in one call of a reward or a function of many rows.
        wait: seconds that a batch which is not full waits for other requests.
        timeout: seconds for one call of the scorer.
        queue: rows that may wait or run before requests are answered with 429 and Retry-After.
        max_items: rows in a request.
        max_characters: of a row's prompt and completion.
        max_tokens: likewise, in tokens of --model; by default what fits into its context.
        max_megabytes: of a request's body.
        token_env: the environment variable that holds the token which requests must bear.
        trim: an ending to take off completions, such as "<|im_end|>"; may be given again.
        grace: seconds for what is in flight when the server is stopped.
    """
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ImportError(f"guerdon serve needs {' and '.join(missing)}: pip install 'guerdon[serve]'")
    from guerdon.expression import parse_scorer
    from guerdon.parts.concurrent_scoring import Scoring
    from guerdon.serve.reward_server import Limits, RewardServer

    token = None
    if token_env is not None and not (token := os.environ.get(token_env)):
        raise ValueError(f"--token-env {token_env}: there is no such environment variable, or it is empty")
    if workers and (model or reference):
        raise ValueError("each of the --workers would need a --model of its own; use one or the other")
    loaded = load_model(model) if model else None
    if max_tokens and not loaded:
        raise ValueError("--max-tokens counts tokens of --model; name one, or limit --max-characters")
    function = parse_scorer(reward, model=loaded, reference=load_model(reference) if reference else None)
    tokens = max_tokens or (loaded.max_length if loaded else None)
    with Scoring(
        function, concurrency=concurrency, batch=batch, wait=wait, timeout=timeout, workers=workers, queue=queue
    ) as scoring:
        limits = Limits(max_items, max_characters, tokens, max_megabytes)
        server = RewardServer(scoring, title=reward, limits=limits, token=token, model=loaded, trims=trim)
        server.ready = lambda: print(f"serving {reward} at {server.address}", flush=True)
        if host not in ("127.0.0.1", "::1", "localhost") and token is None:
            print(
                f"note: anybody who reaches {host} can use this server; --token-env asks for a token", file=sys.stderr
            )
        server.serve(host, port, grace=grace)
        scoring.close()
        counts = scoring.counts
        failed = sum(n for reason, n in counts.items() if reason not in ("scored", "calls", "not scored"))
    print(f"stopped: {counts['scored']} rows scored, {counts['not scored']} left out, {failed} failed")
