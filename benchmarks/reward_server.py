"""How much of a slow scorer's time the reward server adds, what a request costs it, and whether processes add up.

All three go through `guerdon serve` in a process of its own, over loopback. (1) 512 requests of one row each, 64 in
flight, to a scorer that takes 500 ms: ideal is 8 rounds of 500 ms. Once with an ``async def``, once with a plain
function that sleeps in a thread. (2) Requests one after the other to a scorer that takes no time: seconds and processor
time of the server a request, for one row and for 64. (3) Rows a second of a scorer that computes in Python, with two
worker processes and with one, interleaved; beside it what the machine itself gives two such processes, since two
logical processors of one core do not do the work of two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SECONDS, REQUESTS, IN_FLIGHT = 0.5, 512, 64
WORK = 400_000  # rounds of a loop: about 20 ms
ROWS = 150


async def sleeps(completion: str) -> float:
    await asyncio.sleep(SECONDS)
    return 1.0


def sleeps_in_a_thread(completion: str) -> float:
    time.sleep(SECONDS)
    return 1.0


def nothing(rows: list) -> list[float]:
    return [1.0] * len(rows)


def computes(completion: str) -> float:
    total = 0
    for i in range(WORK):
        total += i & 3
    return float(total)


class Server:
    """`guerdon serve` of one of the functions above."""

    def __init__(self, function: str, *options: str) -> None:
        command = [sys.executable, "-m", "guerdon.cli", "serve", f"reward_server:{function}", "--port", "0", *options]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = self.process.stdout.readline().split(" at ")[1].strip()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait()

    def processor_seconds(self) -> float:
        """Of the server itself, without its workers."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def body(rows: int, first: int = 0) -> dict:
    return {"rows": [{"prompt": f"p{first + i}", "completion": "an answer of some length " * 8} for i in range(rows)]}


class Connection:
    """Plain HTTP over one kept connection: a client library takes as long for a request as the server does."""

    def __init__(self, url: str) -> None:
        self.host, _, port = url.removeprefix("http://").partition(":")
        self.port = int(port)

    async def post(self, path: str, sent: dict) -> dict:
        if not hasattr(self, "writer"):
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        text = json.dumps(sent).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
        self.writer.write(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        status, *fields = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        assert status.startswith("HTTP/1.1 200"), status
        length = next(int(f.partition(":")[2]) for f in fields if f.lower().startswith("content-length:"))
        return json.loads(await self.reader.readexactly(length))


def many(url: str) -> float:
    """Seconds for all requests, each of the connections sending one after the other."""
    connections = [Connection(url) for _ in range(IN_FLIGHT)]

    async def ask(connection: Connection, first: int, requests: int) -> None:
        for i in range(requests):
            reply = await connection.post("/rewards", body(1, first + i))
            assert reply["scores"][0]["value"] == 1.0

    async def run() -> float:
        await asyncio.gather(*(ask(c, i, 1) for i, c in enumerate(connections)))  # opens the connections
        each = REQUESTS // IN_FLIGHT
        start = time.perf_counter()
        await asyncio.gather(*(ask(c, i * each, each) for i, c in enumerate(connections)))
        seconds = time.perf_counter() - start
        for connection in connections:
            connection.writer.close()
        return seconds

    return asyncio.run(run())


def cost(server: Server, rows: int, requests: int = 300) -> dict[str, float]:
    """Milliseconds a request, as its client sees it and of the server's processor time."""
    import httpx

    with httpx.Client(timeout=60) as client:
        sent = body(rows)
        for _ in range(20):
            client.post(f"{server.url}/rewards", json=sent)
        used, start = server.processor_seconds(), time.perf_counter()
        for _ in range(requests):
            client.post(f"{server.url}/rewards", json=sent)
        took = time.perf_counter() - start
        used = server.processor_seconds() - used
    return {"rows": rows, "milliseconds": round(1e3 * took / requests, 2), "processor": round(1e3 * used / requests, 2)}


def rate(server: Server) -> float:
    """Rows a second."""
    import httpx

    start = time.perf_counter()
    reply = httpx.post(f"{server.url}/rewards", json=body(ROWS), timeout=600).json()
    assert all(score["value"] is not None for score in reply["scores"])
    return ROWS / (time.perf_counter() - start)


def machine_rate(workers: int) -> float:
    """Rows a second of as many processes that do nothing but `computes`."""
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(computes, [""] * workers))
        start = time.perf_counter()
        list(pool.map(computes, [""] * ROWS, chunksize=5))
        return ROWS / (time.perf_counter() - start)


def main() -> None:
    import _bench

    from guerdon.serve import reward_server as method

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5)
    blocks = parser.parse_args().blocks
    ideal = REQUESTS / IN_FLIGHT * SECONDS
    with Server("sleeps") as awaited, Server("sleeps_in_a_thread") as threaded:
        arms = {"awaited": lambda: many(awaited.url), "threads": lambda: many(threaded.url)}
        seconds = _bench.interleave(arms, blocks)
    with Server("nothing", "--wait", "0") as quick:
        costs = [cost(quick, rows) for rows in (1, 64)]
    with Server("computes", "--workers", "1") as one, Server("computes", "--workers", "2") as two:
        rates = _bench.interleave({
            "one": lambda: rate(one), "two": lambda: rate(two),
            "bare one": lambda: machine_rate(1), "bare two": lambda: machine_rate(2),
        }, blocks)  # fmt: skip
    _bench.write(
        __file__,
        method=method.__file__,
        peer="the ideal: nothing but the scorer's own time",
        ratios=[
            _bench.ratio("share of ideal, async def, 64 in flight", [ideal] * blocks, seconds["awaited"], at_least=0.9),
            _bench.ratio(
                "share of ideal, plain function, 64 in flight", [ideal] * blocks, seconds["threads"], at_least=0.9
            ),
            _bench.ratio("rows a second, two worker processes / one", rates["two"], rates["one"], at_least=1.7),
            _bench.ratio("the same without a server, two processes / one", rates["bare two"], rates["bare one"]),
        ],
        request_costs=costs,
        load=[round(x, 1) for x in os.getloadavg()],
    )


if __name__ == "__main__":
    main()
