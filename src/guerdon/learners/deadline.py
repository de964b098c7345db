"""Calls that may never come back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float | None, call: Callable[[], T], what: str) -> T:
    """What `call` returns or raises. Raises TimeoutError if it has not come back after so many seconds (None: waits).

    A call that is given up goes on in its thread until the process ends: Python cannot stop it.
    """
    if seconds is None:
        return call()
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, name=what, daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"{what} has not answered for {seconds:g} s: mend it, or allow it more time") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
