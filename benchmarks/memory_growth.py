"""What counts and memories cost as they grow from a thousand entries to a million.

Each size is asked for what a rollout of 128 steps x 16 environments would ask (`LifelongMemory`: 256 queries, since a
million entries are many), and takes it in; sizes take turns, in random order. Times are CPU seconds of one thread, so
that a busy machine does not matter. Entries of episodes are those of 16 environments together.

- counts: a dictionary from a 64-bit number to its times; asking should not grow but for the cache: a thousand times the
  entries may cost three times as much (a trial run on a busy machine saw twice as much).
- memories: exact search in blocks (one product of matrices each), which compares every query with all entries that it
  may see; so the time grows in proportion, and comparisons per second should not fall.

The exponent is the slope of log time over log entries, by least squares over all sizes and rounds. Small memories are
dominated by what a call costs in any case, so that memories' exponents come out below 1.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _bench
import numpy as np
import torch
from torch import Tensor, nn

from guerdon.parts import knn_memory
from guerdon.parts.counts import VisitCounts
from guerdon.parts.episodes import Visits
from guerdon.parts.knn_memory import EpisodicMemory, LifelongMemory

STEPS, GAMES, QUERIES = 128, 16, 256
SIZES = (1_000, 100_000, 1_000_000)
RNG = torch.Generator().manual_seed(0)


def visits(steps: int) -> Visits:
    """All there, all of the running episode."""
    there = torch.ones(steps, GAMES, dtype=torch.bool)
    return Visits(there, torch.zeros(steps, GAMES, dtype=torch.int64), torch.arange(steps)[:, None].expand(-1, GAMES))


def numbers(*shape: int) -> Tensor:
    return torch.randint(-(2**63), 2**63 - 1, shape, generator=RNG)


def vectors(*shape: int) -> Tensor:
    return torch.randn(shape, generator=RNG)


def counts(size: int, num_envs: int | None) -> tuple[nn.Module, Callable[[], Any], Callable[[], Any]]:
    """Counts of so many numbers; how it is asked for a rollout half of which it knows; how it takes it in."""
    made, steps = VisitCounts(num_envs), -(-size // GAMES)
    known = numbers(steps, GAMES)
    made.add(known, visits(steps))
    shown = torch.where(torch.rand(STEPS, GAMES, generator=RNG) < 0.5, known[torch.randint(steps, (STEPS,))], 0)
    shown = torch.where(shown == 0, numbers(STEPS, GAMES), shown)
    return made, lambda: made.before(shown, visits(STEPS)), lambda: made.add(shown, visits(STEPS))


def episodic(size: int) -> tuple[nn.Module, Callable[[], Any], Callable[[], Any]]:
    made = EpisodicMemory(GAMES, 32, -(-size // GAMES))
    while int(made.count[0]) < made.capacity:
        steps = min(1000, made.capacity - int(made.count[0]))
        made.add(vectors(steps, GAMES, 32), visits(steps))
    shown = vectors(STEPS, GAMES, 32)
    return made, lambda: made.nearest(shown, visits(STEPS), 10), lambda: made.add(shown, visits(STEPS))


def lifelong(size: int) -> tuple[nn.Module, Callable[[], Any], Callable[[], Any]]:
    made = LifelongMemory(64, size)
    made.add(vectors(size, 64))
    shown = vectors(QUERIES, 64)
    return made, lambda: made.nearest(shown, 3), lambda: made.add(shown)


ARMS: dict[str, tuple[Callable[[int], tuple[nn.Module, Callable, Callable]], int, str]] = {
    "counts of life": (lambda size: counts(size, None), STEPS * GAMES, "a dictionary"),
    "counts of episodes": (lambda size: counts(size, GAMES), STEPS * GAMES, "a dictionary per environment"),
    "episodic memory": (episodic, STEPS * GAMES, "exact, in blocks; 10 nearest of 32 numbers, own environment's only"),
    "lifelong memory": (lifelong, QUERIES, "exact, in blocks; 3 nearest of 64 numbers"),
}


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measured(arm: str, rounds: int, rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ratio of one arm, and all else that was seen of it."""
    make, queries, search = ARMS[arm]
    made, held = {}, {}
    for size in SIZES:
        gc.collect()
        before = resident()
        made[size] = make(size)
        held[size] = resident() - before
    asked: dict[int, list[float]] = {size: [] for size in SIZES}
    taken: dict[int, list[float]] = {size: [] for size in SIZES}
    for turn in range(rounds + 2):
        for size in rng.permutation(SIZES).tolist():
            ask, take = (cpu_seconds(call) for call in made[size][1:])
            if turn >= 2:  # the first two warm up
                asked[size].append(ask)
                taken[size].append(take)
    logs = [(np.log(size), np.log(t)) for size in SIZES for t in asked[size]]
    exponent = np.polyfit(*np.array(logs).T, 1)[0]
    small, middle, large = SIZES
    kept = {size: (size if "memory" in arm else 1) / np.array(t) for size, t in asked.items()}
    what, base, least = ("comparisons", middle, 0.8) if "memory" in arm else ("queries", small, 1 / 3)
    name = f"{arm}: {what} a second at {large:,} entries / at {base:,}"
    row = _bench.ratio(name, kept[large].tolist(), kept[base].tolist(), at_least=round(least, 3))
    seen = {
        "search": search,
        "exponent": round(float(exponent), 3),
        "microseconds_per_query": {str(s): round(float(np.median(asked[s])) / queries * 1e6, 3) for s in SIZES},
        "microseconds_per_entry_taken_in": {
            str(s): round(float(np.median(taken[s])) / queries * 1e6, 3) for s in SIZES
        },
        "bytes_per_entry": round(held[large] / large, 1),
    }
    return row, seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rng, ratios, seen = np.random.default_rng(0), [], {}
    for arm in ARMS:
        row, seen[arm] = measured(arm, rounds, rng)
        ratios.append(row)
    peer = f"itself, at {SIZES[0]:,} and {SIZES[1]:,} entries"
    _bench.write(__file__, method=knn_memory.__file__, peer=peer, ratios=ratios, seen=seen, rounds=rounds)


if __name__ == "__main__":
    main()
