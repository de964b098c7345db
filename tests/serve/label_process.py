"""`guerdon label` in a process of its own, forked from one that has imported it: many can be started and killed."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection

import httpx

from guerdon.cli import main


class LabelProcess:
    """Serves the page until `stop`. `url` is where, `token` lets one in."""

    def __init__(self, *words: str, port: int = 0) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["serve.label_process", "guerdon.commands.label", "guerdon.serve.label_app"])
        ours, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_serve, args=([*words, "--port", str(port)], theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.url, _, self.token = ours.recv().partition("/?token=")
        self.port = int(self.url.rpartition(":")[2])

    def get(self, path: str, **more: object) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60, **more)

    def stop(self, how: int = signal.SIGKILL) -> None:
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, how)
        self.process.join()


class _Told(io.TextIOBase):
    """Standard output that hands on the line that tells the address."""

    def __init__(self, to: Connection) -> None:
        self.to = to

    def write(self, text: str) -> int:
        if text.startswith("open "):
            self.to.send(text.split()[-1])
        return len(text)


def _serve(words: list[str], to: Connection) -> None:
    sys.stdout = _Told(to)
    main(["label", *words])
