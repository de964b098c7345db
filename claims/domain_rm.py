"""Claim of domain-rm: a few hundred preferences suffice where a reward sees the properties that people judge by.

Part 1, real data: 800 pairs of summaries to learn from and 140 to be judged by, seven properties of each scored 0 to 5.
Linear heads on 20 to 800 pairs, over 10 random draws, AdamW with a weight decay of 0.3, chosen by halves of the 800.
Part 2, synthetic: 200 raw numbers x, seven properties 5 sigmoid(1.5 a.x + (b.x)(c.x)), utility the weighted sum of
their square roots, labels by Bradley-Terry; a head on the properties against a two-layer head on x, over 10 seeds,
judged by the true utility. Encoders, heads and fits are guerdon's; local are data and draws. Stated before the run, as
the 95 % bootstrap interval of the mean (figures are the card's, computed from the same files):

1. Accuracy of the mean of the properties within 0.01 of 0.743, and of each single one within 0.01 of the card's.
2. A fit to all pairs without decay is within 0.01 of 0.739, its loss within 0.01 of 0.503, and it pays less for more
   opinion-faithfulness and opinion-coverage (weights below 0); `monotone` ends that, and costs at most 0.02.
3. Fits with decay: 50 pairs at least 0.70; 100 pairs within 0.03 of 800. Control: properties shuffled over the answers,
   of the pairs to be judged as well, 0.45 to 0.55.
4. The layout of the paper's code (6, 4, 2, ReLU at the end) learns, too, since a dead head is drawn anew: at least
   0.70.
5. Synthetic: properties with 100 preferences at least as good as raw with 1600; without the weightiest property worse.

Revised once, after a look at the 800 pairs and a trial on seeds 20 and 21. The card's other control, the length of the
text "about 0.5", is wrong of these data, where the longer summary is preferred in 75 % of 800 pairs and 68 % of 140;
instead, a fit on properties beats the length. And the card's 0.739 and 0.503 are asked of the fit without decay alone:
with it accuracy was 0.761.

    python claims/domain_rm.py [--toy]
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
from _domain_rm import PROPERTIES, read
from torch import Tensor

import guerdon.models.reward_encoder
import guerdon.models.reward_head
from guerdon.models.reward_encoder import Features
from guerdon.parts.pair_accuracy import accuracy, told_right
from guerdon.parts.pair_loss import pair_loss
from guerdon.rewards.preference import BradleyTerry
from guerdon.types import FIRST, SECOND, Completions, Pairs, Spec

LONG = False
SEEDS = tuple(range(10))
SIZES = (20, 50, 100, 200, 400, 800)
CARD = {
    "hallucination": 0.743, "opinion-faithfulness": 0.711, "conciseness": 0.707, "language-correctness": 0.704,
    "opinion-coverage": 0.686, "aspect-coverage": 0.682, "relevance": 0.636,
}  # fmt: skip
RAW = 200
EXPECTED = [
    Expected("mean of the properties", "distance of its accuracy from 0.743", at_most=0.01),
    Expected("single properties", "largest distance of an accuracy from the card's", at_most=0.01),
    Expected("50 pairs", "accuracy", at_least=0.70),
    Expected("100 pairs", "distance of the mean accuracy from that of 800", at_most=0.03),
    Expected("free: accuracy", "distance from 0.739", at_most=0.01),
    Expected("free: loss", "distance from 0.503 nats", at_most=0.01),
    Expected("shuffled properties", "accuracy", at_least=0.45, at_most=0.55),
    Expected("length", "accuracy of the properties with 800 pairs, minus that of the length", at_least=0.0),
    Expected("free: opinion-faithfulness", "weight", at_most=0.0),
    Expected("free: opinion-coverage", "weight", at_most=0.0),
    Expected("monotone", "accuracy with 800 pairs, minus that of a free head", at_least=-0.02),
    Expected("the code's layout", "accuracy with 800 pairs", at_least=0.70),
    Expected("synthetic: 100 against 1600", "accuracy of properties minus raw", at_least=0.0),
    Expected("synthetic: a property is missing", "accuracy with 100 pairs, minus that of all seven", at_most=0.0),
]


def head(n: int, steps: int, encoder: Features, **options: Any) -> BradleyTerry:
    """A head that is to take so many steps on n pairs, 256 at a time."""
    batch = min(n, 256)
    epochs = max(1, round(steps / np.ceil(n / batch)))
    return BradleyTerry(encoder=encoder, batch_size=batch, epochs=epochs, max_grad_norm=None, **options)


def fitted(reward: BradleyTerry, train: Pairs, seed: int) -> BradleyTerry:
    reward.build(Spec(), generator=torch.Generator().manual_seed(seed))
    reward.update(train)
    return reward


@torch.no_grad()
def judged(reward: BradleyTerry, pairs: Pairs) -> dict[str, float]:
    first, second = reward.score(pairs.first), reward.score(pairs.second)
    loss = float(pair_loss(first, second, pairs.label).mean())
    return {"accuracy": accuracy(told_right(first, second, pairs.label)), "loss": loss}


def properties(names: tuple[str, ...] = PROPERTIES) -> Features:
    return Features(names, low=0, high=5)


def shuffled(pairs: Pairs, seed: int) -> Pairs:
    """The pairs, each with the properties of another pair's answers."""
    order = torch.randperm(len(pairs.label), generator=torch.Generator().manual_seed(seed))
    return Pairs(first=pairs.first.rows(order), second=pairs.second.rows(order.roll(1)), label=pairs.label)


def as_it_is(valid: Pairs) -> dict[str, float]:
    """Accuracy of each property, of their mean and of the length, without any fit."""
    encoder = properties()
    encoder.build(Spec())
    sides = [encoder(side) for side in (valid.first, valid.second)]

    def of(values: list[Tensor]) -> float:
        return accuracy(told_right(values[0], values[1], valid.label))

    found = {name: of([s[:, k] for s in sides]) for k, name in enumerate(PROPERTIES)}
    words = [torch.tensor(side.columns["words"]) for side in (valid.first, valid.second)]
    return found | {"mean": of([s.mean(1) for s in sides]), "words": of(words)}


def real(train: Pairs, valid: Pairs, seed: int, steps: int) -> dict[str, Any]:
    """Fits on one draw of the pairs, of each size and kind."""
    order = torch.randperm(len(train.label), generator=torch.Generator().manual_seed(seed))
    found: dict[str, Any] = {"by size": {}}
    decay: dict[str, Any] = {"lr": 0.03, "weight_decay": 0.3}
    for n in SIZES:
        reward = fitted(head(n, steps, properties(), **decay), train.rows(order[:n]), seed)
        found["by size"][n] = judged(reward, valid)
    mixed = shuffled(train, seed)
    found["shuffled"] = judged(fitted(head(800, steps, properties(), **decay), mixed, seed), shuffled(valid, seed))
    monotone = fitted(head(800, steps, properties(), monotone=True, **decay), train, seed)
    found["monotone"] = judged(monotone, valid)
    code = {"hidden": (6, 4, 2), "activation": "relu", "output_activation": "relu", "inner": False}
    reward = fitted(head(800, steps, properties(), lr=0.01, weight_decay=0.05, **code), train, seed)
    found["code"] = judged(reward, valid) | {"restarts": int(reward.restarts)}
    return found


def free(train: Pairs, valid: Pairs, steps: int) -> dict[str, Any]:
    """The fit on all pairs, without decay and to the end."""
    reward = fitted(head(800, 5 * steps, properties(), lr=0.05), train, 0)
    weights = reward.head.last.weight[0].tolist()
    return judged(reward, valid) | {"weights": dict(zip(PROPERTIES, weights, strict=True))}


class World:
    """Properties of 200 raw numbers, and what they are worth."""

    def __init__(self, seed: int) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.a, self.b, self.c = torch.nn.functional.normalize(torch.randn(3, 7, RAW, generator=self.g), dim=2)
        self.weight = 0.5 + torch.rand(7, generator=self.g)

    def properties(self, x: Tensor) -> Tensor:
        return 5 * (1.5 * x @ self.a.T + (x @ self.b.T) * (x @ self.c.T)).sigmoid()

    def utility(self, x: Tensor) -> Tensor:
        return (self.properties(x) / 5).sqrt() @ self.weight

    def pairs(self, n: int, *, noisy: bool) -> Pairs:
        """Pairs labelled by the true utility, or with the noise of Bradley-Terry (slope 4 of its deviation)."""
        sides = torch.randn(2, n, RAW, generator=self.g)
        u = self.utility(sides)
        lead = (u[0] - u[1]) / u.std()
        chance = (4 * lead).sigmoid() if noisy else (lead > 0).float()
        label = torch.where(torch.rand(n, generator=self.g) < chance, FIRST, SECOND)
        return Pairs(first=self._answers(sides[0]), second=self._answers(sides[1]), label=label)

    def _answers(self, x: Tensor) -> Completions:
        empty = torch.zeros(len(x), 0, dtype=torch.long)
        columns = {name: self.properties(x)[:, k].tolist() for k, name in enumerate(PROPERTIES)} | {"x": list(x)}
        return Completions(prompt=["?"] * len(x), text=["!"] * len(x), ids=empty, mask=empty.bool(), columns=columns)


def synthetic(seed: int, sizes: tuple[int, ...], steps: int) -> dict[str, Any]:
    """Accuracy against the true utility, of properties, of raw numbers, and without the weightiest property."""
    world = World(500 + seed)
    pool, test = world.pairs(max(sizes), noisy=True), world.pairs(2000, noisy=False)
    small: dict[str, Any] = {"lr": 0.03, "weight_decay": 0.01, "hidden": (8,), "activation": "tanh"}
    wide: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.1, "hidden": (64,)}
    fewer = tuple(p for k, p in enumerate(PROPERTIES) if k != int(world.weight.argmax()))
    arms = {
        "properties": lambda n: head(n, steps, properties(), **small),
        "raw": lambda n: head(n, steps, Features(["x"], width=RAW), **wide),
        "one missing": lambda n: head(n, steps, properties(fewer), **small),
    }
    return {
        name: {n: judged(fitted(make(n), pool.rows(slice(n)), seed), test)["accuracy"] for n in sizes}
        for name, make in arms.items()
    }


def values(plain: dict[str, float], all_pairs: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """What every expectation is about, by seed."""

    def of(n: int, key: str = "accuracy") -> np.ndarray:
        return np.array([r["real"]["by size"][n][key] for r in runs])

    def kind(name: str) -> np.ndarray:
        return np.array([r["real"][name]["accuracy"] for r in runs])

    def made(name: str, n: int) -> np.ndarray:
        return np.array([r["synthetic"][name][n] for r in runs])

    most, few = max(runs[0]["synthetic"]["raw"]), sorted(runs[0]["synthetic"]["raw"])[1]
    found = {
        "mean of the properties": [abs(plain["mean"] - 0.743)],
        "single properties": [max(abs(plain[name] - card) for name, card in CARD.items())],
        "50 pairs": of(50),
        "100 pairs": [abs(of(100).mean() - of(800).mean())],
        "free: accuracy": [abs(all_pairs["accuracy"] - 0.739)],
        "free: loss": [abs(all_pairs["loss"] - 0.503)],
        "shuffled properties": kind("shuffled"),
        "length": of(800) - plain["words"],
        "free: opinion-faithfulness": [all_pairs["weights"]["opinion-faithfulness"]],
        "free: opinion-coverage": [all_pairs["weights"]["opinion-coverage"]],
        "monotone": kind("monotone") - of(800),
        "the code's layout": kind("code"),
        "synthetic: 100 against 1600": made("properties", few) - made("raw", most),
        "synthetic: a property is missing": made("one missing", few) - made("properties", few),
    }
    return {name: [float(v) for v in column] for name, column in found.items()}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=1, help="one process is enough")
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    reported = not args.toy and tuple(args.seeds) == SEEDS
    out = args.out or (RESULTS / "domain_rm.json" if reported else None)
    torch.set_num_threads(1)
    start = time.perf_counter()
    train, valid = read("train"), read("valid")
    steps, sizes = (40, (25, 100)) if args.toy else (200, (25, 100, 400, 1600))
    plain, all_pairs = as_it_is(valid), free(train, valid, steps)
    runs = []
    for seed in args.seeds:
        runs.append({"real": real(train, valid, seed, steps), "synthetic": synthetic(seed, sizes, steps)})
        print(seed, runs[-1], flush=True)
    found = values(plain, all_pairs, runs)
    parts = [guerdon.models.reward_head, guerdon.models.reward_encoder]
    return write(
        out, script=__file__, method=Path(inspect.getfile(BradleyTerry)), parts=[Path(str(p.__file__)) for p in parts],
        seeds=args.seeds, seconds=time.perf_counter() - start, checks=[e.verdict(found[e.name]) for e in EXPECTED],
        seen={"without a fit": plain, "all pairs, no decay": all_pairs, "runs": runs},
    )  # fmt: skip


if __name__ == "__main__":
    main()
