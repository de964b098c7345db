"""What a rollout costs ONI as the captions known grow from a thousand to a million.

Every round scores a rollout of 128 steps x 64 games with 500 distinct captions and gives the reward model a new
version: a label for retrieval, a training step on 256 captions or pairs for classification and ranking, from labels of
all known captions. Score, observe, questions and update are timed together; the three sizes take turns, in random
order. The ratio is to the time at a thousand known captions; its interval is a bootstrap over rounds.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

import guerdon
from guerdon.catalogue import code_hash
from guerdon.parts.caption_table import CaptionTable
from guerdon.rewards.feedback import ONI, oni
from guerdon.types import FIRST, SECOND, Item, Label, Labels, Rollout, Spec

STEPS, GAMES, DISTINCT = 128, 64, 500
SIZES = (1_000, 100_000, 1_000_000)
TARGET = 1.5
ROOT = Path(__file__).parents[1]
PARTS = (
    "models/caption_cnn.py",
    *(
        f"parts/{n}.py"
        for n in ("caption_labels", "caption_pay", "caption_table", "growing", "pair_loss", "running_moments")
    ),
)


def caption(index: int) -> str:
    """NetHack-like, all different, 20 to 60 characters."""
    names = ("newt", "jackal", "grid bug", "sewer rat", "gnome lord", "hill orc", "floating eye")
    forms = ("You kill the {} {}!", "The {} {} misses you.", "You see here a {} {} corpse.  You hear bubbling water.")
    return forms[index % 3].format(names[index % 7], index)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def table_of(size: int) -> tuple[CaptionTable, float]:
    """A table of so many captions, and its bytes a caption."""
    gc.collect()
    before, table = resident(), CaptionTable()
    for i in range(size):
        table.intern(caption(i))
    return table, (resident() - before) / size


def reward(model: Any, table: CaptionTable, size: int) -> tuple[ONI, float]:
    """A reward that has a label for every caption, and the bytes of its labels and memos for each."""
    made = ONI(model=model, switch=0)
    made.build(Spec(captions=table), generator=torch.Generator().manual_seed(0))
    for start in range(0, size, 20_000):
        made.update(Labels.from_rows([label(made, table, i) for i in range(start, min(size, start + 20_000))]))
    made.score(rollout(torch.arange(size + 1)[-STEPS * GAMES :].repeat(-(-STEPS * GAMES // size))))
    held = sum(b.numel() * b.element_size() for n, b in made.named_buffers() if n.startswith(("labels", "net.memo")))
    return made, held / size


def label(made: ONI, table: CaptionTable, index: int) -> Label:
    """About caption `index`: whether something is killed in it; of a pair, which is the kill."""
    text = table.text(index + 1)
    good = float("kill" in text)
    item: Item = (text, table.text(1 + (index + 1) % (len(table) - 1)))
    return Label(item, SECOND - good * (SECOND - FIRST)) if made.model == "ranking" else Label(text, good)


def rollout(ids: torch.Tensor) -> Rollout:
    """Steps that lead to these captions, in turn."""
    shown = ids[torch.arange((STEPS + 1) * GAMES) % len(ids)].view(STEPS + 1, GAMES).int()
    zero = torch.zeros(STEPS, GAMES)
    return Rollout(
        obs=TensorDict({}, (STEPS + 1, GAMES)), action=zero.long(), extrinsic=zero, terminated=zero.bool(),
        truncated=zero.bool(), valid=~zero.bool(), caption=shown, caption_count=torch.ones_like(shown),
    )  # fmt: skip


def seconds(made: ONI, table: CaptionTable, size: int, rng: np.random.Generator) -> float:
    """Of one rollout with captions not read by this version of the model, and of the next version."""
    experience = rollout(torch.from_numpy(1 + rng.choice(size, DISTINCT, replace=False)))
    news = Labels.from_rows([label(made, table, int(rng.integers(size)))])
    start = time.perf_counter()
    if made.model == "retrieval":
        made.update(news)
    made.update(experience)
    made.score(experience)
    made.observe(experience)
    made.questions(experience)
    return time.perf_counter() - start


def ratios(model: str, times: dict[int, list[float]], rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    base = np.array(times[SIZES[0]])
    for size in SIZES[1:]:
        grown = np.array(times[size])
        draws = rng.integers(len(base), size=(2_000, len(base)))  # a round stays together
        low, high = np.quantile(np.median(grown[draws], 1) / np.median(base[draws], 1), [0.025, 0.975])
        rows.append({
            "name": f"{model}: seconds a rollout at {size:,} known captions / at {SIZES[0]:,}",
            "value": round(float(np.median(grown) / np.median(base)), 3),
            "low": round(float(low), 3), "high": round(float(high), 3),
            "target": f"at most {TARGET}", "holds": bool(high <= TARGET),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=60, help="of the networks; retrieval, so much faster, has 20 times"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "caption_growth.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    tables = {size: table_of(size) for size in SIZES}
    memory = {"caption table": round(tables[SIZES[-1]][1])}
    found, seen = [], {}
    for model in oni.THRESHOLDS:
        made = {size: reward(model, tables[size][0], size) for size in SIZES}
        memory[model] = round(made[SIZES[-1]][1])
        times: dict[int, list[float]] = {size: [] for size in SIZES}
        rounds = args.rounds * (20 if model == "retrieval" else 1)
        for turn in range(rounds + 2):
            for size in rng.permutation(SIZES).tolist():
                took = seconds(made[size][0], tables[size][0], size, rng)
                if turn >= 2:  # the first two warm up
                    times[size].append(took)
        found += ratios(model, times, rng)
        seen[model] = {str(size): round(float(np.median(t)), 5) for size, t in times.items()}
        for row in found[-2:]:
            print(f"{row['name']}: {row['value']} [{row['low']}, {row['high']}]")
    result = {
        "benchmark": "caption_growth",
        "code": code_hash(__file__, oni.__file__),
        "parts": {f"src/guerdon/{part}": code_hash(ROOT / "src" / "guerdon" / part) for part in PARTS},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one thread used",
        "peer": f"guerdon {guerdon.__version__} itself, at {SIZES[0]:,} known captions",
        "ratios": found,
        "seconds_per_rollout": seen,
        "bytes_per_caption_at_a_million": memory,
        "rounds": args.rounds,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"seconds a rollout: {seen}\nbytes a caption at a million: {memory}\nwrote {args.out}")


if __name__ == "__main__":
    main()
