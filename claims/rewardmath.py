"""Claim of RewardMATH: one right against nine wrong tells which reward is good for picking; one pair does not.

1. Synthetic: score = delta [right] + b style + N(0, 1). In a benchmark of pairs the right answer has style +1 and the
   wrong one -1; in one-to-many style is a coin of +-1 for every answer; 483 problems each. Reward A: delta 1, b 0; B:
   delta 0.2, b 2. Then 12 rewards with delta uniform in 0..2 and b in 0..2.5, and for each the accuracy of best-of-16
   over 483 problems whose samples are right with chance 0.4 and have no style. Stated before the run, over 20 seeds
   (the card's five are few for a rank correlation of 12), as the 95 % bootstrap interval of the mean: pairs rank B over
   A and one-to-many A over B, by 0.15 each (the card's run: 0.999 to 0.759, and 0.343 to 0.124); Spearman of best-of-16
   with one-to-many above 0.8, and above that with pairs by 0.2 (0.96 and 0.54).
2. The nine public score files: every figure of the card is met to 0.01 points of a percentage, both rounded to two
   decimals. The files chatgpt and gpt4o hold two problems twice; the card's figures are over all of their rows.
   Recorded besides: the rest of the table, and the table over the 483 problems that all files share.

Metrics, aggregators, joins and best-of-N are guerdon's.

    python claims/rewardmath.py [--toy]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _claim import RESULTS, Expected, write

from guerdon.compare import rewardmath
from guerdon.compare.best_of_n import agreement, best_of_n
from guerdon.parts.one_to_many import Scores, accuracy
from guerdon.parts.questions import read_rows
from guerdon.parts.step_aggregators import Aggregator

LONG = False
SEEDS = tuple(range(10, 30))
DATA = Path(__file__).parent / "data" / "rewardmath"
PROBLEMS, WRONG, REWARDS, SAMPLES, CHANCE = 483, 9, 12, 16, 0.4
STEPS = ("min", "max", "prod", "geometric_mean", "mean", "mean_logit", "mean_odd", "last")
FILES: dict[str, tuple[Aggregator | None, ...]] = {
    "ArmoRM": (None,), "internlm2": (None,), "oasst-rm": (None,), "beaver": (None,), "gpt4o": (None,),
    "chatgpt": (None,), "llama3_8B": (None,), "Math_Shepherd": STEPS, "ReasonEval_7B": STEPS,
}  # fmt: skip
SCALARS = {  # accuracy, accuracy with ties, MRR, pairs won
    "ArmoRM": (20.50, 21.53, 42.18, 67.31), "internlm2": (37.27, 37.27, 55.17, 75.98),
    "oasst-rm": (7.04, 7.04, 27.03, 49.87), "beaver": (7.25, 7.25, 26.59, 48.59), "gpt4o": (25.98, 51.75, 46.70, 69.55),
    "chatgpt": (0.21, 64.74, 13.99, 24.47), "llama3_8B": (2.07, 44.72, 18.20, 30.02),
}  # fmt: skip
SHEPHERD = {  # accuracy, MRR
    "min": (15.32, 34.67), "max": (3.93, 21.82), "prod": (17.18, 34.68), "geometric_mean": (15.73, 33.61),
    "mean": (15.11, 32.78), "mean_logit": (14.70, 31.92), "mean_odd": (9.32, 26.36), "last": (18.22, 38.83),
}  # fmt: skip
REASONEVAL = {"min": 19.46, "prod": 18.22, "geometric_mean": 20.29, "mean": 20.08, "last": 14.91, "max": 12.01}
EXPECTED = [
    Expected("pairs: B over A", "difference of accuracies", at_least=0.15),
    Expected("one-to-many: A over B", "difference of accuracies", at_least=0.15),
    Expected("best-of-16 and one-to-many", "Spearman over rewards", at_least=0.8),
    Expected("best-of-16: lead over pairs", "difference of Spearmans", at_least=0.2),
    *(Expected(f"table: {name}", "largest distance to the card, points of %", at_most=0.01)
      for name in (*SCALARS, "Math_Shepherd", "ReasonEval_7B")),
]  # fmt: skip


def one_to_many(rng: np.random.Generator, delta: float, b: float) -> float:
    """Accuracy where every answer has a style of its own."""
    scores = b * rng.choice([-1.0, 1.0], (PROBLEMS, WRONG + 1)) + rng.normal(size=(PROBLEMS, WRONG + 1))
    return float(np.mean([accuracy(Scores([row[0] + delta], row[1:].tolist())) for row in scores]))


def pairwise(rng: np.random.Generator, delta: float, b: float) -> float:
    """Accuracy where the right answer has the style, and the wrong one the opposite."""
    right, wrong = delta + b + rng.normal(size=PROBLEMS), -b + rng.normal(size=PROBLEMS)
    return float(np.mean([accuracy(Scores([r], [w])) for r, w in zip(right, wrong, strict=True)]))


def picking(rng: np.random.Generator, delta: float) -> float:
    """Accuracy of best-of-16 on samples without style."""
    right = rng.random((PROBLEMS, SAMPLES)) < CHANCE
    scores = delta * right + rng.normal(size=right.shape)
    return best_of_n(scores.tolist(), right.astype(float).tolist(), ns=(SAMPLES,)).gold[0]


def synthetic(seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """What one seed measures, and all that was seen."""
    rng = np.random.default_rng(seed)
    a, b = ((pairwise(rng, *of), one_to_many(rng, *of)) for of in ((1.0, 0.0), (0.2, 2.0)))
    rewards = [
        (delta, bias) for delta, bias in zip(rng.uniform(0, 2, REWARDS), rng.uniform(0, 2.5, REWARDS), strict=True)
    ]
    of_pairs = [pairwise(rng, *of) for of in rewards]
    of_many = [one_to_many(rng, *of) for of in rewards]
    outcome = [picking(rng, delta) for delta, _ in rewards]
    many, pairs = agreement(of_many, outcome), agreement(of_pairs, outcome)
    values = {
        "pairs: B over A": b[0] - a[0],
        "one-to-many: A over B": a[1] - b[1],
        "best-of-16 and one-to-many": many.spearman,
        "best-of-16: lead over pairs": many.spearman - pairs.spearman,
    }
    seen = {"A": a, "B": b, "rewards": rewards, "pairs": of_pairs, "one-to-many": of_many, "best-of-16": outcome}
    return values, seen | {"Spearman, pairs": pairs.spearman}


def table() -> tuple[dict[str, list[tuple[str, Scores]]], dict[str, dict[str, float]]]:
    """The scores of every file and aggregator, and their figures over all rows."""
    scores = {
        f"{name} {how}" if how else name: rewardmath.read_scores(
            read_rows(DATA / f"{name}.json.gz"), how=how, where=name
        )
        for name, hows in FILES.items()
        for how in hows
    }
    return scores, {name: rewardmath.summary([s for _, s in of]) for name, of in scores.items()}


def distances(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """The largest distance of a figure, rounded to two decimals like the card's, to the card's."""

    def far(name: str, expected: tuple[float, ...], keys: tuple[str, ...]) -> float:
        return max(round(abs(round(found[name][key], 2) - e), 4) for key, e in zip(keys, expected, strict=True))

    every = tuple(next(iter(found.values())))
    of = {f"table: {name}": far(name, expected, every) for name, expected in SCALARS.items()}
    shepherd = [far(f"Math_Shepherd {how}", e, ("accuracy", "MRR")) for how, e in SHEPHERD.items()]
    reason = [far(f"ReasonEval_7B {how}", (e,), ("accuracy",)) for how, e in REASONEVAL.items()]
    return of | {"table: Math_Shepherd": max(shepherd), "table: ReasonEval_7B": max(reason)}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="two seeds; claims nothing")
    parser.add_argument("--workers", type=int, default=1, help="one process is enough")
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    seeds = SEEDS[:2] if args.toy else SEEDS
    made = [synthetic(seed) for seed in seeds]
    scores, found = table()
    far = distances(found)
    shared = {name: rewardmath.summary(of) for name, of in rewardmath.joined(scores).items()}
    source = Path(rewardmath.__file__)
    return write(
        args.out or (None if args.toy else RESULTS / "rewardmath.json"),
        script=__file__, method=source,
        parts=[
            source.with_name("best_of_n.py"), *(source.parents[1] / "parts" / f"{p}.py" for p in
            ("one_to_many", "step_aggregators", "questions")), Path(__file__).parent / "_claim.py",
        ],
        seeds=seeds, seconds=time.perf_counter() - start,
        checks=[
            e.verdict([far[e.name]] if e.name in far else [values[e.name] for values, _ in made]) for e in EXPECTED
        ],
        seen={"table, all rows": found, "table, shared problems": shared, "synthetic": [seen for _, seen in made]},
    )  # fmt: skip


if __name__ == "__main__":
    main()
