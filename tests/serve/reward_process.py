"""`guerdon serve`, or another command that serves, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

TESTS = Path(__file__).parents[1]


class RewardProcess:
    """Serves until `stop`. `post` asks it; `url` is where."""

    command, announces = "serve", "serving "

    def __init__(self, *arguments: str, port: int = 0, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "guerdon.cli", self.command, *arguments, "--port", str(port)]
        paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **(env or {})}
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith(self.announces):
                self.url, _, self.query = line.split()[-1].partition("/?")
                self.port = int(self.url.rpartition(":")[2])
                return
        raise AssertionError(f"the server ended with {self.process.wait()}: {''.join(self.said)}")

    def __enter__(self) -> RewardProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop(signal.SIGKILL)

    def post(self, path: str, body: object, **more: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60, **more)

    def try_post(self, path: str, body: object) -> httpx.Response | None:
        """None where the connection breaks."""
        try:
            return self.post(path, body)
        except httpx.RequestError:
            return None

    def get(self, path: str, **more: object) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60, **more)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Its exit status; what it said last is in `said`."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        assert self.process.stdout is not None
        self.said += self.process.stdout.read().splitlines(keepends=True) if not self.process.stdout.closed else []
        self.process.stdout.close()
        return self.process.wait()
