"""The reward server's door: who may come in, with how much, and a count of it all."""

from __future__ import annotations

import hmac
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Reply(Response):
    """JSON in ASCII, so that any text a request or a scorer holds can be sent back."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode("ascii")


def problem(status: int, message: str, kind: str, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
    """An error: ``{"error": {"message", "type", ...}}``."""
    return Reply({"error": {"message": message, "type": kind, **more}}, status, dict(headers or {}))


class Guard:
    """Lets requests through to `app` that bear the token and are not too large, and counts them.

    Args:
        app: an ASGI application.
        paths: what is counted by name; all others are "other".
        token: what ``Authorization: Bearer`` must hold, except at `open_paths`; None lets everybody in.
        most_bytes: of a body.
        open_paths: what needs no token.
    """

    def __init__(
        self, app: Any, *, paths: list[str], token: str | None, most_bytes: int, open_paths: tuple[str, ...] = ()
    ) -> None:
        self.app, self.paths, self.token = app, paths, token
        self.most_bytes, self.open_paths = most_bytes, open_paths
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: dict[str, float] = {}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 499  # until there is an answer: the client has gone, or we have stopped

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            app = self._refusal(scope) or self.app
            await app(scope, self._bounded(receive), noting)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.requests[path, status] += 1
            self.seconds[path] = self.seconds.get(path, 0.0) + time.perf_counter() - start

    def _refusal(self, scope: Mapping[str, Any]) -> Reply | None:
        headers = dict(scope["headers"])
        if self.token is not None and scope["path"] not in self.open_paths:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self.token.encode()):
                message = "this server wants Authorization: Bearer and its token"
                return problem(401, message, "unauthorized", {"WWW-Authenticate": "Bearer"})
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.most_bytes:
            return problem(413, self._too_large(), "too_large", {"Connection": "close"})
        return None

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return bounded

    def _too_large(self) -> str:
        return f"the body is larger than {self.most_bytes} bytes, the limit of this server"


def exposition(figures: Mapping[str, tuple[str, str, Mapping[tuple[tuple[str, str], ...], float]]]) -> str:
    """Prometheus' text format of {name: (type, help, {labels: value})}."""
    lines = []
    for name, (kind, text, values) in figures.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        for labels, value in values.items():
            shown = ",".join(f"{key}={json.dumps(label)}" for key, label in labels)
            lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")
    return "\n".join(lines) + "\n"
