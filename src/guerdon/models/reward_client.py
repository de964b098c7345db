"""Scores from a reward server elsewhere, with patience while it is full, restarts or is not there yet."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from guerdon.parts.http_client import HttpClient, Pace
from guerdon.parts.scorer import Row, Score


class RewardClient:
    """``await RewardClient(url=...)(rows) -> list[Score]``: the scores of a `guerdon serve` at `url`.

    It is a scorer like others (`guerdon.parts.scorer`), picklable, and can be handed to `Scoring`. A row that the
    server could not score has the value None and the server's reason. What the network loses is asked for again:
    refused and broken connections, time-outs, 429 and 5xx, with ``Retry-After`` honoured.

    Args:
        url: such as "http://localhost:8000".
        token_env: the environment variable that holds the server's token.
        batch: rows in a request; those of one group stay together.
        concurrency: requests at the same time.
        timeout: seconds for an answer.
        retries: further attempts after a failed one; twelve of them bridge about four minutes.
        backoff: seconds before the first retry; doubles each time up to 60, times a random 0.5..1.

    Raises:
        NoAnswer: when called, if there is none after all retries, or the rows are refused.
        Refused: likewise, if the token or the address is wrong.
    """

    def __init__(
        self,
        *,
        url: str,
        token_env: str | None = None,
        batch: int = 256,
        concurrency: int = 8,
        timeout: float = 180.0,
        retries: int = 12,
        backoff: float = 0.25,
    ) -> None:
        self.url, self.token_env, self.batch, self.concurrency = url.rstrip("/"), token_env, batch, concurrency
        self.timeout, self.retries, self.backoff = timeout, retries, backoff
        self.counts: Counter[str] = Counter()  # "calls", "retries"

    async def __call__(self, rows: Sequence[Row]) -> list[Score]:
        server = HttpClient(
            url=f"{self.url}/rewards",
            headers={"Authorization": f"Bearer {os.environ[self.token_env]}"} if self.token_env else {},
            concurrency=self.concurrency,
            timeout=self.timeout,
            retries=self.retries,
            backoff=self.backoff,
            pace=Pace(),
            counts=self.counts,
        )
        places = list(self._batches(rows))
        async with server.open():
            answers = await asyncio.gather(*(_ask(server, [rows[i] for i in at]) for at in places))
        scores = {i: s for at, answer in zip(places, answers, strict=True) for i, s in zip(at, answer, strict=True)}
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


async def _ask(server: HttpClient, rows: list[Row]) -> list[Score]:
    def read(reply: Any) -> list[Score]:
        scores = [Score(s["value"], s["reason"], s["detail"], s["terms"]) for s in reply["scores"]]
        if len(scores) != len(rows):
            raise ValueError(f"{len(scores)} scores for {len(rows)} rows")
        return scores

    async with server.slots:
        return await server.post({"rows": [dict(row) for row in rows]}, read)
