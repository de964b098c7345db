"""A real HTTP server on loopback that answers chat completions as a script tells it, faults included."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes] | None
"""Status, headers and body; None closes the connection without a word."""


def completion(content: str | None, *, prompt_tokens: int = 100, completion_tokens: int = 10, **choice: Any) -> Reply:
    message = {"role": "assistant", "content": content} | choice.pop("message", {})
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice], "usage": usage}
    return 200, {}, json.dumps(body).encode()


def label(body: dict[str, Any]) -> Reply:
    """A sensible model: kills are FOO; of two descriptions the first that kills is best."""
    question = body["messages"][1]["content"]
    if "<description_1>" in question:
        first, second = (question.split(f"<description_{i}>")[1].split("<")[0] for i in (1, 2))
        best = "None" if ("kill" in first) == ("kill" in second) else "1" if "kill" in first else "2"
        return completion(f"<analysis>hm</analysis><best>{best}</best>")
    return completion(f"<label>{'FOO' if 'kill' in caption(body) else 'BAR'}</label>")


def caption(body: dict[str, Any]) -> str:
    return body["messages"][1]["content"].rpartition("<message>")[2].partition("</message>")[0]


class ModelServer:
    """`script` gets a request's body and how many came before it, and says what to reply. It may block on `gate`."""

    def __init__(self) -> None:
        self.path = "/v1/chat/completions"
        self.script: Callable[[dict[str, Any], int], Reply] = lambda body, number: label(body)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self.crowd = threading.Semaphore(0)  # one release a request that has come
        self._at_once, self._lock = 0, threading.Lock()
        self.url, self.dying = "", False

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append(dict(handler.headers))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        self.crowd.release()
        try:
            self.gate.wait()
            reply = self.script(body, number) if handler.path == self.path else (404, {}, b"no such page")
        finally:
            with self._lock:
                self._at_once -= 1
        if reply is None or self.dying:  # a kept connection dies with its server
            handler.close_connection = True
            return
        status, headers, content = reply
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def serving(port: int = 0) -> Iterator[ModelServer]:
    """A server in threads of its own; `port` 0 takes any that is free."""
    model = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                model.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has lost its patience

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", port), Handler) as server:
        model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield model
        finally:
            model.dying = True
            model.gate.set()
            server.shutdown()
            thread.join()


TROUBLE: list[Reply] = [
    (429, {"Retry-After": "0"}, b""),
    (500, {}, b"oops"),
    (200, {}, b'{"choices": [{"mess'),
    None,
    (200, {}, b'{"error": "overloaded"}'),
    (503, {}, b""),
]
"""What servers say when they are not well."""
