"""A real PostgreSQL server for tests: in a folder of its own, on a free loopback port, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _program(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")) or [shutil.which(name)]
    if found[-1] is None:
        pytest.skip(f"needs {name} (PostgreSQL)")
    return str(found[-1])


class PostgresServer:
    """`start`, `kill` (-9) and `stop` it; `database` makes a new, empty one and returns its URL.

    Args:
        durable: write through to the disk, as a server of use does; tests need only what outlives a process.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._flags = [] if durable else ["-F"]
        initdb, self._postgres = _program("initdb"), _program("postgres")
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("needs a user postgres (PostgreSQL does not run as root)")
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.folder = Path(tempfile.mkdtemp(prefix="guerdon-postgres-"))
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        setup = [initdb, "-D", f"{self.folder}/data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"]
        done = subprocess.run(setup, cwd=self.folder, capture_output=True, text=True, **self._as)
        assert done.returncode == 0, done.stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        """Starts it, or starts it again, and returns when it answers."""
        import psycopg

        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:  # the killed one's children may linger
                where = ["-D", f"{self.folder}/data", "-p", str(self.port), "-h", "127.0.0.1", "-k", "", *self._flags]
                with open(self.folder / "log", "ab") as log:
                    self._process = subprocess.Popen(
                        [self._postgres, *where], cwd=self.folder, stdout=log, stderr=log, **self._as
                    )
            try:
                psycopg.connect(self._url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise TimeoutError((self.folder / "log").read_text())

    def kill(self) -> None:
        """Kill -9, as by a crash of the machine it runs on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it and removes its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # at once, with all its children
            self._process.wait(30)
        shutil.rmtree(self.folder)

    def database(self) -> str:
        """The URL of a new database."""
        import psycopg

        self._databases += 1
        name = f"test{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; a test that kills it starts it again."""
    pytest.importorskip("psycopg")
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()
