"""Scores from a reward server elsewhere, with patience while it is full, restarts or is not there yet."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

from guerdon.parts.scorer import Row, Score

PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses after which the same request may be answered."""


class RewardServerError(RuntimeError):
    """The server refused a request for good, or was not there for too long."""


class RewardClient:
    """``await RewardClient(url=...)(rows) -> list[Score]``: the scores of a `guerdon serve` at `url`.

    It is a scorer like others (`guerdon.parts.scorer`), picklable, and can be handed to `Scoring`. A row that the
    server could not score has the value None and the server's reason. What the network loses is asked for again:
    refused and broken connections, time-outs, 429 and 5xx, with ``Retry-After`` honoured, until `patience` is over.

    Args:
        url: such as "http://localhost:8000".
        token_env: the environment variable that holds the server's token.
        batch: rows in a request; those of one group stay together.
        timeout: seconds for an answer.
        patience: seconds without any answer after which `RewardServerError` is raised.
        backoff: seconds before the first retry; doubles each time up to 30, times a random 0.5..1.
    """

    def __init__(
        self,
        *,
        url: str,
        token_env: str | None = None,
        batch: int = 256,
        timeout: float = 180.0,
        patience: float = 300.0,
        backoff: float = 0.25,
    ) -> None:
        self.url, self.token_env, self.batch = url.rstrip("/"), token_env, batch
        self.timeout, self.patience, self.backoff = timeout, patience, backoff
        self.retries = 0

    async def __call__(self, rows: Sequence[Row]) -> list[Score]:
        import httpx

        token = os.environ[self.token_env] if self.token_env else None
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        async with httpx.AsyncClient(headers=headers, timeout=self.timeout) as client:
            places = list(self._batches(rows))
            answers = await asyncio.gather(*(self._ask(client, [rows[i] for i in at]) for at in places))
        scores: dict[int, Score] = {}
        for at, answer in zip(places, answers, strict=True):
            scores.update(zip(at, answer, strict=True))
        return [scores[i] for i in range(len(rows))]

    def score_now(self, rows: Sequence[Row]) -> list[Score]:
        """The same, for callers without an event loop."""
        return asyncio.run(self(rows))

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Places of the rows of each request."""
        groups: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(repr(row.get("group", row.get("prompt"))), []).append(i)
        batch: list[int] = []
        for group in groups.values():
            if batch and len(batch) + len(group) > self.batch:
                yield batch
                batch = []
            batch = batch + group
        if batch:
            yield batch

    async def _ask(self, client: Any, rows: list[Row]) -> list[Score]:
        import httpx

        try:
            body = json.dumps({"rows": [dict(row) for row in rows]}, allow_nan=False).encode("ascii")
        except (TypeError, ValueError) as error:
            raise TypeError(f"rows must hold what JSON can: {error}") from error
        began, attempt = time.monotonic(), 0
        while True:
            wait = 0.0
            try:
                response = await client.post(f"{self.url}/rewards", content=body)
                if response.is_success:
                    return self._read(response, len(rows))
                trouble = f"answers {response.status_code}: {response.text[:500]}"
                if response.status_code not in PASSING:
                    raise RewardServerError(f"{self.url} {trouble}")
                wait = _seconds(response.headers.get("retry-after"))
            except httpx.RequestError as error:
                trouble = f"cannot be reached: {str(error) or type(error).__name__}"
            wait = max(wait, min(self.backoff * 2**attempt, 30.0) * random.uniform(0.5, 1.0))
            if time.monotonic() + wait - began > self.patience:
                raise RewardServerError(f"{self.url} {trouble}; gave up after {self.patience:g} s")
            attempt += 1
            self.retries += 1
            await asyncio.sleep(wait)

    def _read(self, response: Any, count: int) -> list[Score]:
        try:
            scores = [Score(s["value"], s["reason"], s["detail"], s["terms"]) for s in response.json()["scores"]]
        except (ValueError, LookupError, TypeError) as error:
            raise RewardServerError(f"{self.url} is no guerdon serve: it answers {response.text[:200]!r}") from error
        if len(scores) != count:
            raise RewardServerError(f"{self.url} answers {len(scores)} scores for {count} rows")
        return scores


def _seconds(retry_after: str | None) -> float:
    try:
        return max(float(retry_after or 0), 0.0)
    except ValueError:  # a date: then our own backoff has to do
        return 0.0
