"""What the claim scripts of the text side share: one command line, and supervised training of a tiny model."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from _claim import RESULTS, Expected, in_parallel, write

from guerdon.models.language_model import CausalLM
from guerdon.tasks.text import Row

Values = dict[str, float]


def command(
    argv: list[str] | None,
    *,
    script: str,
    doc: str | None,
    expected: Sequence[Expected],
    one_seed: Callable[[int, bool], tuple[Values, dict[str, Any]]],
    seeds: Sequence[int],
    method: ModuleType,
    parts: Iterable[ModuleType] = (),
) -> dict[str, Any]:
    """Runs ``one_seed(seed, toy)`` (what is expected by name, and what else was seen) and writes the result."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds instead of minutes; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    reported = not args.toy and tuple(args.seeds) == tuple(seeds)
    out = args.out or (RESULTS / f"{Path(script).stem}.json" if reported else None)
    torch.set_num_threads(1)
    start = time.perf_counter()
    runs = in_parallel(one_seed, [(seed, args.toy) for seed in args.seeds], args.workers)
    files = [Path(module.__file__ or "") for module in parts]
    files += [Path(__file__), Path(__file__).with_name("_claim.py")]
    return write(
        out, script=script, method=Path(method.__file__ or ""), parts=files, seeds=args.seeds,
        seconds=time.perf_counter() - start,
        checks=[e.verdict([values[e.name] for values, _ in runs]) for e in expected],
        seen={str(seed): seen for seed, (_, seen) in zip(args.seeds, runs, strict=True)},
    )  # fmt: skip


def supervise(
    model: CausalLM, rows: Sequence[Row], *, steps: int, batch: int = 64, lr: float = 3e-3, seed: int = 0
) -> float:
    """Trains the model to write each row's "solution" and end there; the mean loss of the last tenth, nats a token."""
    end = model.tokenizer.eos_token_id
    examples = []
    for row in rows:
        before = model.render(row["prompt"])
        prefix, span = model.split(before + row["solution"], len(before), len(before + row["solution"]))
        examples.append((prefix, [*span, end], float(row.get("weight", 1.0))))
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.AdamW(model.module.parameters(), lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    losses = []
    for _ in range(steps):
        picked = [examples[int(i)] for i in torch.randint(len(examples), (batch,), generator=generator)]
        scores = model.score([p for p, _, _ in picked], [s for _, s, _ in picked])
        each = -(scores.log_prob * scores.mask).sum(1) / scores.mask.sum(1)
        loss = (each * torch.tensor([w for _, _, w in picked])).mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        adam.step()
        decay.step()
        losses.append(float(loss.detach()))
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)
