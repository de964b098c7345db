"""Probes every intrinsic reward with three seeds, and records the verdicts on which they agree.

What is written, src/guerdon/compare/expected.json, is what the documentation promises and a test checks. Run it again
after a change of a reward or of the probes, and look at what changed:

    python docs/probes.py [NAME ...]
"""

from __future__ import annotations

import json
import sys

import torch

from guerdon.compare import probe
from guerdon.compare.expected import FILE
from guerdon.expression import parse_reward
from guerdon.rewards import intrinsic

SEEDS = range(3)
NOISY = ("time",)  # a matter of the machine


def main() -> None:
    torch.set_num_threads(1)
    known = json.loads(FILE.read_text())
    names = [name for name in intrinsic.__all__ if name != "SubmodularReward"]  # its cells are made for few numbers
    for name in sys.argv[1:] or names:
        about = getattr(intrinsic, name).about
        expression = repr(parse_reward(about.example or f"{name}()"))
        found = [probe(parse_reward(expression), seed=seed).verdicts() for seed in SEEDS]
        steady = [k for k in found[0] if k not in NOISY and len({verdicts[k] for verdicts in found}) == 1]
        known[expression] = {k: found[0][k] for k in steady}
        print(expression, known[expression], flush=True)
        FILE.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
