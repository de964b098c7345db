"""A blocking call in a thread that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from guerdon.parts.scorer import NotScored, said


def in_thread(call: Callable[[], Any]) -> tuple[asyncio.Future[Any], threading.Thread]:
    """Begins `call` in a daemon thread of its own: what it returns or raises, an exit included, and the thread.

    Unlike the threads of an executor it does not hold up the program's end, so that a call that hangs cannot either.
    """
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle(set_it: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            set_it(outcome)

    def run() -> None:
        try:
            outcome, set_it = call(), future.set_result
        except NotScored as error:
            outcome, set_it = error, future.set_exception
        except BaseException as error:
            outcome, set_it = NotScored("raised", said(error)), future.set_exception
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, set_it, outcome)

    thread = threading.Thread(target=run, daemon=True, name="scorer")
    thread.start()
    return future, thread
