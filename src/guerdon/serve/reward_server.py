"""A scorer behind HTTP: for OpenRLHF's remote reward, for clients of vLLM's reward models, and for rows of our own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from guerdon.parts.completions_from_text import written_steps
from guerdon.parts.concurrent_scoring import QueueFull, Scoring
from guerdon.parts.scorer import Row, Score
from guerdon.serve import shapes
from guerdon.serve.guard import Guard, Reply, exposition, problem
from guerdon.serve.listen import listen
from guerdon.serve.shapes import Refused
from guerdon.types import LanguageModel

LONGEST_RETRY = 60
"""Seconds, at most, that a client is asked to stay away when the queue is full."""


@dataclass(frozen=True)
class Limits:
    """How much a request may hold."""

    items: int = 1024  # rows
    characters: int = 200_000  # of one row's prompt and completion
    tokens: int | None = None  # likewise, in those of the reward's model
    megabytes: float = 32.0  # of the body


class RewardServer:
    """Answers /rewards, /get_reward, /pooling, /score, /healthz and /metrics with a `Scoring`.

    Args:
        scoring: what scores; closed by whoever made it.
        title: what /healthz calls the reward.
        limits: of a request.
        token: what requests must bear, except for /healthz.
        model: counts the tokens of a row; needed for ``limits.tokens``.
        trims: endings that are taken off completions, such as "<|im_end|>" of a decoded query.
    """

    def __init__(
        self,
        scoring: Scoring,
        *,
        title: str = "reward",
        limits: Limits | None = None,
        token: str | None = None,
        model: LanguageModel | None = None,
        trims: Sequence[str] = (),
    ) -> None:
        self.scoring, self.title, self.limits, self.model, self.trims = scoring, title, limits or Limits(), model, trims
        self.address = ""  # where it listens, once it does
        self.ready: Callable[[], None] = lambda: None  # called when requests are answered
        inner = FastAPI(title="guerdon serve", description=f"Scores of {title}", lifespan=self._life)
        inner.add_exception_handler(Refused, _refused)
        inner.add_exception_handler(HTTPException, _http_error)
        inner.add_exception_handler(RequestValidationError, _malformed)
        errors: dict[int | str, dict[str, Any]] = {
            status: {"model": shapes.ErrorReply, "description": text}
            for status, text in {
                400: "unreadable", 401: "no token, or a wrong one", 413: "more than the limits allow", 415: "no JSON",
                422: "malformed", 429: "too many rows are waiting", 503: "the server is stopping",
            }.items()
        }  # fmt: skip
        unscored = {
            502: {"model": shapes.ErrorReply, "description": "rows without a score, which no number stands for"}
        }

        @inner.post("/rewards", response_model=shapes.RowsReply, responses=errors)
        async def rewards(request: shapes.RowsRequest) -> Reply:
            return Reply(shapes.rows_reply(request, await self._score(request)))

        @inner.post("/get_reward", response_model=shapes.GetRewardReply, responses=errors | unscored)
        async def get_reward(request: shapes.GetRewardRequest) -> Reply:
            return Reply(shapes.get_reward_reply(request, await self._score(request)))

        @inner.post("/pooling", response_model=shapes.PoolingReply, responses=errors)
        async def pooling(request: shapes.PoolingRequest) -> Reply:
            return Reply(shapes.pooling_reply(request, await self._score(request)))

        @inner.post("/score", response_model=shapes.ScoreReply, responses=errors)
        async def score(request: shapes.ScoreRequest) -> Reply:
            return Reply(shapes.score_reply(request, await self._score(request)))

        @inner.get("/healthz", responses={503: errors[503]})
        async def healthz() -> Reply:
            return Reply({"status": "ok", "reward": title, "rows_inside": scoring.rows_inside})

        @inner.get("/metrics", response_class=PlainTextResponse, responses={401: errors[401]})
        async def metrics() -> PlainTextResponse:
            return PlainTextResponse(self.metrics(), media_type="text/plain; version=0.0.4")

        paths = ["/rewards", "/get_reward", "/pooling", "/score", "/healthz", "/metrics"]
        most = int(self.limits.megabytes * 2**20)
        self.app = Guard(inner, paths=paths, token=token, most_bytes=most, open_paths=("/healthz",))

    def serve(self, host: str = "127.0.0.1", port: int = 8000, *, grace: float = 30.0) -> None:
        """Answers requests until SIGTERM or Ctrl-C, then finishes what is in flight, for `grace` seconds at most.

        `port` 0 takes a free one; `self.address` holds it. A second Ctrl-C stops at once.

        Raises:
            OSError: the address is taken or is not of this machine.
        """

        def bound(address: str) -> None:
            self.address = address

        listen(self.app, host, port, told=bound, grace=grace)

    def metrics(self) -> str:
        """All counts so far, in Prometheus' text format."""
        counts, app = dict(self.scoring.counts), self.app
        calls = counts.pop("calls", 0)
        by_path = {(("path", p), ("status", str(s))): n for (p, s), n in app.requests.items()}
        return exposition({
            "guerdon_requests_total": ("counter", "Requests answered.", by_path),
            "guerdon_request_seconds_total": (
                "counter", "Seconds from request to answer.", {(("path", p),): s for p, s in app.seconds.items()},
            ),
            "guerdon_rows_total": ("counter", "Rows by outcome.", {(("outcome", k),): n for k, n in counts.items()}),
            "guerdon_scorer_calls_total": ("counter", "Calls of the scorer.", {(): calls}),
            "guerdon_rows_inside": ("gauge", "Rows waiting or running.", {(): self.scoring.rows_inside}),
        })  # fmt: skip

    async def _score(self, request: Any) -> list[Score]:
        rows = request.to_rows(self.trims)
        if len(rows) > self.limits.items:
            raise Refused(
                413, f"{len(rows)} rows are more than {self.limits.items}, the limit of a request", "too_large"
            )
        if self.limits.tokens and self.model:
            await asyncio.to_thread(self._check, rows)
        else:
            self._check(rows)
        try:
            return await self.scoring.score(rows)
        except QueueFull as error:
            seconds = min(max(math.ceil(error.seconds), 1), LONGEST_RETRY)
            raise Refused(429, f"{error}; come back in {seconds} s", "queue_full", retry_after=seconds) from error
        except RuntimeError as error:
            raise Refused(503, "the server is stopping", "stopping", retry_after=5) from error

    def _check(self, rows: Sequence[Row]) -> None:
        """Raises Refused for a row that is none, or is too long."""
        for i, row in enumerate(rows):
            try:
                completion = "".join(written_steps(row))
            except ValueError as error:
                raise Refused(422, f"row {i}: {error}", "malformed") from error
            prompt = row["prompt"]
            texts = [prompt] if isinstance(prompt, str) else [m["content"] for m in prompt]
            size = sum(map(len, texts)) + len(completion)
            if size > self.limits.characters:
                message = f"row {i} has {size} characters, the limit of this server is {self.limits.characters}"
                raise Refused(413, message, "too_large")
            if self.limits.tokens and self.model:
                tokens = len(self.model.encode(self.model.render(prompt) + completion))
                if tokens > self.limits.tokens:
                    message = f"row {i} has {tokens} tokens, the limit of this server is {self.limits.tokens}"
                    raise Refused(413, message, "too_large")

    @asynccontextmanager
    async def _life(self, _: Any) -> AsyncIterator[None]:
        self.ready()
        yield


def _refused(_: Any, error: Any) -> Reply:
    more: Mapping[str, Any] = error.more
    retry = {"Retry-After": str(more["retry_after"])} if "retry_after" in more else None
    return problem(error.status, str(error), error.kind, retry, **more)


def _http_error(_: Any, error: Any) -> Reply:
    kind = {404: "no_such_path", 405: "no_such_method", 413: "too_large"}.get(error.status_code, "malformed")
    return problem(error.status_code, str(error.detail), kind, error.headers)


def _malformed(request: Any, error: Any) -> Reply:
    """What is wrong and where, without the values, which may be long or secret."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return problem(415, "send JSON, with Content-Type: application/json", "malformed")
    said = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
    return problem(422, "; ".join(said), "malformed")
