"""Claim of BaseReward: a two-layer SiLU head sees what a linear head cannot, plain means of models do, data is chosen.

Synthetic frozen features h of 24 normal numbers, true reward 0.5 w.h + 2 (u1.h)(u2.h) with unit w, u1, u2, labels by
Bradley-Terry with slope 3, 4000 pairs to learn from and 4000 to be judged by; Adam 3e-3, 30 epochs, batches of 64.
Heads, ensemble, router and the rule that chooses data are guerdon's; local are the features. Stated before the run,
over 4 seeds, as the 95 % bootstrap interval of the mean of held-out pair accuracy (the card's run in brackets):

1. SiLU over linear by more than 0.2 [0.883 against 0.584], and itself at least 0.86.
2. Control: two layers without an activation are within 0.02 of linear [0.583].
3. The pull to zero with 0.1 is not better than none [0.865]; nor is dividing by the length, whose words here are drawn
   at random [the card: no gain].
4. Five SiLU heads on bootstrap data: their mean is at most 0.005 below the best of them, and above their mean accuracy.
5. Scales: with one member of five, that was fitted to random labels, times 100, the mean of raw scores loses to that of
   standardised ones, and so does it to the vote.
6. Two kinds of answers, of which one is judged by the opposite rule: a router of two linear heads over one joint head.
7. Six sets, one of them with random and one with inverted labels: `helpful` rejects exactly these two, in every seed.

    python claims/basereward.py [--toy]
"""

from __future__ import annotations

import argparse
import inspect
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _claim import RESULTS, Expected, write
from torch import Tensor

import guerdon.models.reward_head
import guerdon.parts.data_utility
from guerdon.models.reward_encoder import Features
from guerdon.parts.data_utility import helpful
from guerdon.parts.pair_accuracy import accuracy, told_right
from guerdon.rewards.preference import BradleyTerry, Ensemble, Route
from guerdon.types import FIRST, SECOND, Completions, Pairs, Reward, Spec

LONG = False
SEEDS = (0, 1, 2, 3)
D, HIDDEN, SLOPE = 24, 64, 3.0
BLOCKS, WIDTH = 3, 32  # dimensions of the benchmark, and features that each looks at
EXPECTED = [
    Expected("SiLU", "held-out accuracy", at_least=0.86),
    Expected("SiLU over linear", "difference of accuracy", at_least=0.2),
    Expected("no activation: like linear", "absolute difference of accuracy", at_most=0.02),
    Expected("pull to zero", "accuracy, minus without", at_most=0.0),
    Expected("length normalisation", "accuracy, minus without", at_most=0.0),
    Expected("ensemble against its best", "difference of accuracy", at_least=-0.005),
    Expected("ensemble over its members", "difference of accuracy", at_least=0.0),
    Expected("scales: standardised over raw", "difference of accuracy", at_least=0.0),
    Expected("scales: vote over raw", "difference of accuracy", at_least=0.0),
    Expected("router over a joint head", "difference of accuracy", at_least=0.1),
    Expected("sets: exactly the bad ones rejected", "share of seeds", at_least=1.0),
]


def answers(h: Tensor, words: Tensor, **columns: Any) -> Completions:
    """Answers with the features h [N, d]."""
    n = len(h)
    empty = torch.zeros(n, 0, dtype=torch.long)
    texts = ["word " * k for k in words.tolist()]
    both = {"h": list(h), **columns}
    return Completions(prompt=["?"] * n, text=texts, ids=empty, mask=empty.bool(), group=torch.arange(n), columns=both)


def pairs(first: Tensor, second: Tensor, lead: Tensor, g: torch.Generator, **columns: Any) -> Pairs:
    """Pairs whose first is better with chance sigmoid(slope * lead)."""
    label = torch.where(torch.rand(len(lead), generator=g) < (SLOPE * lead).sigmoid(), FIRST, SECOND)
    words = torch.randint(1, 50, (2, len(lead)), generator=g)
    sides = [answers(h, w, **columns) for h, w in zip((first, second), words, strict=True)]
    return Pairs(first=sides[0], second=sides[1], label=label, columns={"where": [str(i) for i in range(len(lead))]})


def quadratic(n: int, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to learn from, and to be judged by, of the reward above."""
    g = torch.Generator().manual_seed(seed)
    w, u1, u2 = torch.nn.functional.normalize(torch.randn(3, D, generator=g), dim=1)
    made = []
    for _ in range(2):
        a, b = torch.randn(2, n, D, generator=g)
        worth = [0.5 * h @ w + 2 * (h @ u1) * (h @ u2) for h in (a, b)]
        made.append(pairs(a, b, worth[0] - worth[1], g))
    return made[0], made[1]


def model(epochs: int, width: int = D, **options: Any) -> BradleyTerry:
    return BradleyTerry(
        encoder=Features(["h"], width=width), lr=3e-3, batch_size=64, epochs=epochs, max_grad_norm=None, **options
    )


def fitted(reward: Reward, train: Pairs, seed: int) -> Reward:
    reward.build(Spec(), generator=torch.Generator().manual_seed(1000 + seed))
    reward.update(train)
    return reward


@torch.no_grad()
def judged(reward: Reward, test: Pairs) -> float:
    return accuracy(told_right(reward.score(test.first), reward.score(test.second), test.label))


def by_head(train: Pairs, test: Pairs, epochs: int, seed: int) -> dict[str, float]:
    """Accuracy of each head."""
    two = {"hidden": (HIDDEN,)}
    arms: dict[str, dict[str, Any]] = {
        "linear": {}, "none": two | {"activation": "none"}, "SiLU": two, "zero": two | {"zero": 0.1},
        "length": two | {"length_norm": True},
    }  # fmt: skip
    return {name: judged(fitted(model(epochs, **arm), train, seed), test) for name, arm in arms.items()}


@torch.no_grad()
def vote(reward: Ensemble, test: Pairs) -> float:
    """Accuracy of the models' majority over each pair."""
    lead = (reward.members(test.first) - reward.members(test.second)).sign().sum(0)
    return accuracy(told_right(lead, torch.zeros_like(lead), test.label))


def by_ensemble(train: Pairs, test: Pairs, epochs: int, seed: int) -> dict[str, float]:
    """Accuracy of five heads on bootstrap data, singly and together, and with one of them gone wild."""
    reward = Ensemble(rewards=[model(epochs, hidden=(HIDDEN,))], copies=5, rule="standardised")
    fitted(reward, train, seed)
    single = [judged(part, test) for part in reward.parts]
    reward.rule = "mean"
    found = {"mean": judged(reward, test), "best": max(single), "members": float(np.mean(single))}
    random = Pairs(
        first=train.first, second=train.second, columns=train.columns,
        label=train.label[torch.randperm(len(train.label), generator=torch.Generator().manual_seed(seed))],
    )  # fmt: skip
    wild = fitted(model(1, hidden=(HIDDEN,)), random, seed + 50)
    with torch.no_grad():
        wild.head.last.weight *= 100
        wild.head.last.bias *= 100
    reward.rewards[0] = wild
    reward.calibrate(train)
    found["wild, raw"] = judged(reward, test)
    reward.rule = "standardised"
    return found | {"wild, standardised": judged(reward, test), "wild, vote": vote(reward, test)}


def by_route(n: int, epochs: int, seed: int) -> dict[str, float]:
    """Accuracy with a head a kind, and with one head that sees the kind."""
    g = torch.Generator().manual_seed(seed)
    w = torch.nn.functional.normalize(torch.randn(D - 1, generator=g), dim=0)
    sides = []
    for _ in range(2):
        kind = torch.randint(2, (n,), generator=g)
        a, b = (torch.cat([torch.randn(n, D - 1, generator=g), kind[:, None].float()], 1) for _ in range(2))
        lead = (1 - 2 * kind) * ((a - b)[:, :-1] @ w) * 2
        sides.append(pairs(a, b, lead, g, kind=["image" if k else "text" for k in kind.tolist()]))
    train, test = sides
    routed = Route(rewards={"text": model(epochs), "image": model(epochs)}, column="kind")
    return {
        "routed": judged(fitted(routed, train, seed), test),
        "joint": judged(fitted(model(epochs), train, seed), test),
    }


def by_set(n: int, epochs: int, seed: int) -> dict[str, Any]:
    """The utility matrix of six sets: one for each block of features, one of all, one random, one inverted."""
    g = torch.Generator().manual_seed(seed)
    w = torch.nn.functional.normalize(torch.randn(BLOCKS, WIDTH, generator=g), dim=1)

    def block(k: int | None) -> Pairs:
        """Pairs that differ in this block of the features only, or in all."""
        a = torch.randn(n, BLOCKS, WIDTH, generator=g)
        b = torch.randn(n, BLOCKS, WIDTH, generator=g)
        if k is not None:
            b = torch.where((torch.arange(BLOCKS) == k)[:, None], b, a)
        return pairs(a.flatten(1), b.flatten(1), ((a - b) * w).sum((1, 2)), g)

    sets = [block(0), block(1), block(2), block(None), block(None), block(None)]
    sets[4].label = torch.randint(2, (n,), generator=g)
    sets[5].label = 1 - sets[5].label
    tests = [block(k) for k in range(BLOCKS)]
    models = [fitted(model(epochs, BLOCKS * WIDTH), s, seed) for s in sets]
    utility = torch.tensor([[judged(m, t) for t in tests] for m in models])
    return {"utility": utility.tolist(), "kept": helpful(utility).tolist()}


def run(seed: int, n: int, epochs: int) -> dict[str, Any]:
    train, test = quadratic(n, seed)
    found = {"heads": by_head(train, test, epochs, seed), "ensemble": by_ensemble(train, test, epochs, seed)}
    found |= {"route": by_route(n // 2, max(1, epochs // 3), seed), "sets": by_set(n // 4, max(1, epochs // 2), seed)}
    print(seed, {k: v for k, v in found.items() if k != "sets"}, found["sets"]["kept"], flush=True)
    return found


def values(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """What every expectation is about, by seed."""
    made: dict[str, list[float]] = {}
    for found in runs:
        heads, many, route = found["heads"], found["ensemble"], found["route"]
        row = {
            "SiLU": heads["SiLU"],
            "SiLU over linear": heads["SiLU"] - heads["linear"],
            "no activation: like linear": abs(heads["none"] - heads["linear"]),
            "pull to zero": heads["zero"] - heads["SiLU"],
            "length normalisation": heads["length"] - heads["SiLU"],
            "ensemble against its best": many["mean"] - many["best"],
            "ensemble over its members": many["mean"] - many["members"],
            "scales: standardised over raw": many["wild, standardised"] - many["wild, raw"],
            "scales: vote over raw": many["wild, vote"] - many["wild, raw"],
            "router over a joint head": route["routed"] - route["joint"],
            "sets: exactly the bad ones rejected": float(found["sets"]["kept"] == [True] * 4 + [False] * 2),
        }
        for name, value in row.items():
            made.setdefault(name, []).append(value)
    return made


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=1, help="one process is enough")
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    reported = not args.toy and tuple(args.seeds) == SEEDS
    out = args.out or (RESULTS / "basereward.json" if reported else None)
    torch.set_num_threads(1)
    start = time.perf_counter()
    runs = [run(seed, 600 if args.toy else 4000, 6 if args.toy else 30) for seed in args.seeds]
    found = values(runs)
    here = Path(inspect.getfile(BradleyTerry)).parent
    parts = [here / "ensemble.py", here / "route.py", guerdon.models.reward_head, guerdon.parts.data_utility]
    return write(
        out, script=__file__, method=Path(inspect.getfile(BradleyTerry)),
        parts=[p if isinstance(p, Path) else Path(str(p.__file__)) for p in parts], seeds=args.seeds,
        seconds=time.perf_counter() - start, checks=[e.verdict(found[e.name]) for e in EXPECTED],
        seen={"by seed": dict(zip(map(str, args.seeds), runs, strict=True))},
    )  # fmt: skip


if __name__ == "__main__":
    main()
