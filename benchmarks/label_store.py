"""How fast a label store of a million rows answers and takes labels, in SQLite and in PostgreSQL.

Look-ups ask for 500 captions a call, half of them known; inserts write 500 new labels a call, each a transaction that
is on disk when it returns. Both are timed at a thousand rows and at a million, and an interval over the calls is given.
PostgreSQL is started in a temporary folder with its own defaults (skipped where its programs are missing), or reached
by --postgresql URL, where the tables must be empty. Everything is single-threaded, through `LabelStore` itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.catalogue import code_hash
from guerdon.judges import store as store_module
from guerdon.judges.store import LabelStore
from guerdon.types import Label

ROOT = Path(__file__).parents[1]
BATCH, CALLS = 500, 60
KEY = ("judge", "prompt-1")
NAMES = ("newt", "jackal", "grid bug", "sewer rat", "gnome lord", "hill orc", "floating eye")
FORMS = ("You kill the {} {}!", "The {} {} misses you.", "You see here a {} {} corpse.  You hear bubbling water.")


def labels(start: int, count: int) -> list[Label]:
    """NetHack-like captions, all different, 20 to 60 characters."""
    texts = (FORMS[i % 3].format(NAMES[i % 7], i) for i in range(start, start + count))
    return [Label(text, float(i % 2), None, *KEY) for i, text in enumerate(texts)]


def rate(call: Callable[[int], object]) -> dict[str, int]:
    """Rows a second of so many calls: the median, and the middle 90 % of calls."""
    seconds = []
    for turn in range(CALLS + 2):
        start = time.perf_counter()
        call(turn)
        seconds.append(time.perf_counter() - start)
    low, median, high = np.quantile(BATCH / np.array(seconds[2:]), [0.05, 0.5, 0.95])  # the first two warm up
    return {"rows_per_second": round(median), "low": round(low), "high": round(high)}


def measure(store: LabelStore, size: int) -> dict[str, Any]:
    """Fills the store and times it on the way."""
    rng = np.random.default_rng(0)
    known, figures = 0, {}
    for target in (1_000, size):
        start, filled = time.perf_counter(), target - known
        while known < target:
            count = min(20_000, target - known)
            store.put(labels(known, count))
            known += count
        if target == size:
            figures["fill, 20,000 rows a call"] = {"rows_per_second": round(filled / (time.perf_counter() - start))}

        def look_up(_: int, target: int = target) -> None:
            half = [labels(int(i), 1)[0].item for i in rng.choice(target, BATCH // 2, replace=False)]
            found = store.get([*half, *(f"never seen: {item}" for item in half)], *KEY)
            assert len(found) == len(half)

        figures[f"look-up at {target:,} rows"] = rate(look_up)
        new = known
        figures[f"insert at {target:,} rows"] = rate(lambda turn, new=new: store.put(labels(new + turn * BATCH, BATCH)))
        known += (CALLS + 2) * BATCH
    assert store.count() == known
    return figures | {"rows": known}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--postgresql", metavar="URL")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "label_store.json")
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    versions = [f"SQLite {sqlite3.sqlite_version}"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = LabelStore(folder / "labels.sqlite")
        figures["SQLite"] = measure(store, args.rows)
        store.close()  # folds the log into the file
        size = (folder / "labels.sqlite").stat().st_size
        figures["SQLite"]["bytes_per_row"] = round(size / figures["SQLite"]["rows"], 1)
        url = args.postgresql or started(stack)
        if url:
            store = LabelStore(url)
            with store.engine.connect() as connection:
                versions.append(f"PostgreSQL {connection.exec_driver_sql('SHOW server_version').scalar()}")
                figures["PostgreSQL"] = measure(store, args.rows)
                query = "SELECT pg_total_relation_size('guerdon_label')"
                total = connection.exec_driver_sql(query).scalar()
            figures["PostgreSQL"]["bytes_per_row"] = round(total / figures["PostgreSQL"]["rows"], 1)
            store.close()
    result = {
        "benchmark": "label_store",
        "code": code_hash(__file__, store_module.__file__),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{os.getloadavg()[0]:.1f} processes running on average",
        "peer": ", ".join(versions),
        "ratios": [],
        "figures": figures,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(figures, indent=2), f"wrote {args.out}", sep="\n")


def started(stack: ExitStack) -> str | None:
    """The URL of a fresh database of a server of our own; None where PostgreSQL is not installed."""
    if not (list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb")):
        print("PostgreSQL is left out: there is no initdb")
        return None
    sys.path.insert(0, str(ROOT / "tests"))
    from postgres_server import PostgresServer

    server = PostgresServer(durable=True)
    stack.callback(server.stop)
    server.start()
    return server.database()


if __name__ == "__main__":
    main()
