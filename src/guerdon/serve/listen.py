"""An application behind a port, until it is told to stop."""

from __future__ import annotations

import math
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn


def listen(
    app: Any, host: str, port: int, *, told: Callable[[str], None] = lambda address: None, grace: float = 30.0
) -> None:
    """Answers requests with an ASGI application until SIGTERM or Ctrl-C, then finishes what is in flight.

    A second Ctrl-C stops at once.

    Args:
        app: the application.
        host: address to listen on.
        port: 0 takes a free one.
        told: is called with the address, such as http://127.0.0.1:8000, as soon as it can be connected to.
        grace: seconds, at most, for what is in flight.

    Raises:
        OSError: the address is taken or is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=2048) as listening:
        # Connections inherit it. asyncio sets it only on sockets of its own: heads and bodies would wait 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_keep_alive=60,
            timeout_graceful_shutdown=math.ceil(grace),
        )  # fmt: skip
        kept = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGTERM, signal.SIGINT)}
        try:  # uvicorn, once it has stopped, raises the signal again that stopped it: to us it has had its effect
            told(f"http://{shown}:{listening.getsockname()[1]}")
            uvicorn.Server(config).run([listening])
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
