"""One address that answers JSON with JSON: patience with its failures, the pace it allows, a count of it all."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""Seconds. Where a server asks for more than this, it is down for us."""


class NoAnswer(RuntimeError):
    """A request that came to nothing. `passing`: the server's trouble rather than the question's."""

    def __init__(self, reason: str, detail: str, *, passing: bool = True, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.reason, self.passing, self.retry_after = reason, passing, retry_after


class Refused(RuntimeError):
    """The server turns us away, and asking again will not help: a wrong key, address or model."""


@dataclass
class Pace:
    """Spreads requests so that a minute holds no more of them, and no more of their tokens, than allowed.

    The tokens of a request are known when it is answered, so what runs at the same time may overshoot once.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    _free_at: float = 0.0

    def reserve(self, now: float) -> float:
        """Seconds to wait before the next request, which is counted as made then."""
        start = max(now, self._free_at)
        if self.requests_per_minute:
            self._free_at = start + 60 / self.requests_per_minute
        return start - now

    def spend(self, now: float, tokens: int) -> None:
        """Takes note of a request's tokens."""
        if self.tokens_per_minute:
            self._free_at = max(now, self._free_at) + tokens * 60 / self.tokens_per_minute

    def pause(self, now: float, seconds: float) -> None:
        """No request for this long."""
        self._free_at = max(self._free_at, now + seconds)


@dataclass
class HttpClient:
    """``POST url`` with a pace, time-outs, and retries with exponential backoff and jitter; who posts holds a slot.

    Retried are refused and broken connections, time-outs, statuses 408, 409, 425, 429 and 5xx, and replies that cannot
    be read (half a JSON, another schema). ``Retry-After`` is honoured, for all requests.
    """

    url: str
    headers: dict[str, str] = field(repr=False)  # with the key
    concurrency: int
    timeout: float
    retries: int
    backoff: float
    pace: Pace
    counts: Counter[str]
    refused: type[Exception] = Refused  # what is raised where asking again will not help
    _users: int = 0
    _client: httpx.AsyncClient | None = None
    _chance: random.Random = field(default_factory=random.Random)  # from the system: two clients must not march in step

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connections live as long as somebody is inside, so they never outlive their event loop."""
        import httpx

        if self._users == 0:
            self._client = httpx.AsyncClient(
                headers=self.headers, timeout=None, limits=httpx.Limits(max_connections=None)
            )
            self.slots = asyncio.Semaphore(self.concurrency)
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0 and (client := self._client):
                self._client = None
                await client.aclose()

    async def post(self, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        """What `read` makes of the reply's JSON; it raises what dictionaries and lists raise if that is another thing.

        Raises:
            NoAnswer: none after all retries, or a 4xx for this request.
            Exception: `refused`: the key, the address or the model is wrong (401, 403, 404, 405).
        """
        for attempt in range(self.retries + 1):
            await asyncio.sleep(self.pace.reserve(time.monotonic()))
            self.counts["calls"] += 1
            try:
                return await self._post(body, read)
            except NoAnswer as trouble:
                if not trouble.passing or attempt == self.retries or trouble.retry_after > LONGEST_WAIT:
                    raise
                self.counts["retries"] += 1
                self.pace.pause(time.monotonic(), trouble.retry_after)
                wait = min(self.backoff * 2**attempt, LONGEST_WAIT) * self._chance.uniform(0.5, 1.0)
                await asyncio.sleep(wait)
        raise AssertionError("a loop of at least one round ended without an answer")

    async def _post(self, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        import httpx

        assert self._client, "post belongs inside `async with open()`"
        sent = json.dumps(body, allow_nan=False).encode("ascii")  # any text can be sent so, half a surrogate pair too
        try:
            async with asyncio.timeout(self.timeout):  # of the whole answer: a server may also drip
                response = await self._client.post(self.url, content=sent, headers={"Content-Type": "application/json"})
        except TimeoutError:
            raise NoAnswer("timeout", f"{self.url} gave no answer in {self.timeout:g} s") from None
        except httpx.InvalidURL as error:
            raise self.refused(f"{self.url} is no address: {error}") from error
        except httpx.RequestError as error:
            said = str(error) or type(error).__name__
            raise NoAnswer("unavailable", f"{self.url} cannot be reached: {said}") from error
        self._check_status(response)
        try:
            reply = response.json()
            value = read(reply)
        except (ValueError, LookupError, TypeError, AttributeError):
            detail = f"{self.url} answers something else than it should: {response.text[:200]!r}"
            raise NoAnswer("malformed", detail) from None
        self._count_tokens(reply.get("usage"))
        return value

    def _check_status(self, response: httpx.Response) -> None:
        status, said = response.status_code, f"{self.url} answers {response.status_code}: {response.text[:200]!r}"
        if response.is_success:
            return
        if status in (401, 403):
            raise self.refused(f"{said}. Is the key right? It is read from the variable named by api_key_env")
        if status in (404, 405) or response.is_redirect:
            raise self.refused(f"{said}. Are url (it usually ends in /v1) and model right?")
        if status in (408, 409, 425, 429) or status >= 500:
            reason = f"http {status}" if status == 500 else "unavailable"
            raise NoAnswer(reason, said, retry_after=_seconds(response.headers.get("retry-after")))
        raise NoAnswer(f"http {status}", said, passing=False)

    def _count_tokens(self, usage: Any) -> None:
        for kind in ("prompt_tokens", "completion_tokens"):
            tokens = usage.get(kind) if isinstance(usage, dict) else None
            if isinstance(tokens, int):
                self.counts[kind] += tokens
                self.pace.spend(time.monotonic(), tokens)


def _seconds(retry_after: str | None) -> float:
    """Seconds that a Retry-After header asks for, which holds a number or a date; 0 if it holds neither."""
    if not retry_after:
        return 0.0
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
