"""Claim of MRMBench: probes say what a reward model encodes; distance to known states says when not to trust it.

States of 16 numbers, h = 2 z B + 0.3 noise, with three latent attributes z ~ N(0, 1)^3 and orthonormal rows B; 2000 to
train probes and 1000 to test them; labels are the signs of z, the true reward is z_1 + z_2 + z_3. The learned reward is
its least squares fit on h. Probes, centroids and gate are guerdon's. Stated before the run, over 5 seeds, as the 95 %
bootstrap interval of the mean; the card's run in brackets:

1. A probe of each attribute reads it: accuracy above 0.9 (0.952, 0.945, 0.946). With direction 3 projected out of the
   states its probe is within 0.05 of chance (0.492), and the others change by less than 0.02.
2. Stub: a probe of the reward alone cannot tell attributes apart; the best of its three accuracies is below 0.8.
3. 1000 states out of support, with noise 3, beside 1000 within it: Spearman of d_min and |error of the reward| above
   0.5 (0.67); the mean error of the nearest 60 % is below half of that of a random 60 % (0.46; dropped 2.13). With
   |reward| in place of d_min, the stub, Spearman is lower by at least 0.2 (the card: near 0, not run).
4. A bandit of 8 actions with a softmax policy, 150 updates of REINFORCE on 64 draws, over 10 seeds. Two actions of
   middling worth lead to states out of support that the reward reads as too good by 6. The true mean reward of the last
   policy with the gate is at least that with as many discards at random, by 0.2, and random discards are within 0.1 of
   none. Placebo: with a reward that is exact everywhere the gate gains at most 0.02 over none.

    python claims/mrmbench.py [--toy]
"""

from __future__ import annotations

import argparse
import inspect
import time
from pathlib import Path
from typing import Any

import torch
from _claim import RESULTS, Expected, write
from scipy.stats import spearmanr
from torch import Tensor

from guerdon.compare import mrmbench
from guerdon.models.reward_encoder import Features
from guerdon.parts.state_centroids import StateCentroids
from guerdon.rewards.shaping import ConfidenceGate
from guerdon.types import Completions, Reward, Spec

LONG = False
SEEDS = (10, 11, 12, 13, 14)
D, K, TRAIN, TEST, ACTIONS, DRAWS, LR = 16, 3, 2000, 1000, 8, 64, 0.2
EXPECTED = [
    *(Expected(f"probe of attribute {i}", "accuracy", at_least=0.9) for i in (1, 2, 3)),
    Expected("erased: attribute 3", "accuracy minus chance", at_least=-0.05, at_most=0.05),
    Expected("erased: others", "largest change of accuracy", at_most=0.02),
    Expected("stub: probe of the reward", "best of three accuracies", at_most=0.8),
    Expected("distance: Spearman", "with |error of the reward|", at_least=0.5),
    Expected("distance: error of the kept", "over that of as many kept at random", at_most=0.5),
    Expected("stub: Spearman of |reward|", "minus that of the distance", at_most=-0.2),
    Expected("bandit: gate over random discards", "difference of true mean rewards", at_least=0.2),
    Expected("bandit: random discards", "minus none", at_least=-0.1, at_most=0.1),
    Expected("placebo: gate over none", "difference of true mean rewards", at_most=0.02),
]


def states(z: Tensor, b: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """[n, 16] of attributes [n, 3]."""
    return 2 * z @ b + noise * torch.randn(len(z), D, generator=generator)


def rows(b_seed: torch.Generator) -> Tensor:
    """Three orthonormal rows [3, 16]."""
    return torch.linalg.qr(torch.randn(D, K, generator=b_seed))[0].T


class Read(Reward):
    """The reward that stands in a column."""

    def score(self, experience: Completions, **needed: Any) -> Tensor:
        return torch.tensor(experience.column("reward", self.name))


def completions(h: Tensor, reward: Tensor) -> Completions:
    """Answers with these states and rewards."""
    n = len(h)
    return Completions(
        prompt=["?"] * n, text=["!"] * n, ids=torch.zeros(n, 1).long(), mask=torch.ones(n, 1).bool(),
        columns={"h": list(h), "reward": reward.tolist()},
    )  # fmt: skip


def accuracies(h: Tensor, y: Tensor) -> list[float]:
    """Of a probe of each attribute."""
    return [mrmbench.probe((h[:TRAIN], y[:TRAIN, i]), (h[TRAIN:], y[TRAIN:, i])).accuracy for i in range(K)]


def probing(seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Parts 1 to 3 with one seed."""
    g = torch.Generator().manual_seed(seed)
    b, z = rows(g), torch.randn(TRAIN + TEST, K, generator=g)
    h, y = states(z, b, 0.3, g), (z > 0).long()
    weight = torch.linalg.lstsq(h[:TRAIN], z[:TRAIN].sum(1)).solution
    plain, erased = accuracies(h, y), accuracies(h - (h @ b[2])[:, None] * b[2], y)
    stub = accuracies((h @ weight)[:, None], y)
    centroids = StateCentroids(k=2)
    centroids.fit({f"attribute {i}": (h[:TRAIN], y[:TRAIN, i]) for i in range(K)}, seed=seed)
    new = torch.randn(2 * TEST, K, generator=g)
    seen = torch.cat([states(new[:TEST], b, 0.3, g), states(new[TEST:], b, 3.0, g)])
    error, far = (seen @ weight - new.sum(1)).abs(), centroids.distances(seen).amin(1)
    kept = far.argsort()[: int(0.6 * len(far))]
    random = torch.randperm(len(far), generator=g)[: len(kept)]
    by_distance, by_reward = (float(spearmanr(x, error)[0]) for x in (far, (seen @ weight).abs()))  # type: ignore[arg-type]
    values = {f"probe of attribute {i + 1}": plain[i] for i in range(K)} | {
        "erased: attribute 3": erased[2] - 0.5,
        "erased: others": max(abs(a - b) for a, b in zip(plain[:2], erased[:2], strict=True)),
        "stub: probe of the reward": max(stub),
        "distance: Spearman": by_distance,
        "distance: error of the kept": float(error[kept].mean() / error[random].mean()),
        "stub: Spearman of |reward|": by_reward - by_distance,
    }
    dropped = far.argsort()[len(kept) :]
    more = {"error kept": float(error[kept].mean()), "error dropped": float(error[dropped].mean()), "stub": stub}
    return values, more | {"Spearman of |reward|": by_reward}


def bandit(seed: int, updates: int, *, exact: bool) -> dict[str, float]:
    """True mean reward of the last policy, by what is discarded."""
    g = torch.Generator().manual_seed(1000 + seed)
    b = rows(g)
    centre = torch.randn(ACTIONS, K, generator=g)
    worth = centre.sum(1)
    traps = worth.argsort()[ACTIONS // 2 - 1 : ACTIONS // 2 + 1]  # of middling worth
    valid = states(torch.randn(TRAIN, K, generator=g), b, 0.3, g)
    gate = ConfidenceGate(Read(), encoder=Features(["h"], width=D), k=2)
    gate.build(Spec(), generator=torch.Generator().manual_seed(seed))
    gate.update(completions(valid, torch.zeros(TRAIN)))
    found = {}
    for arm in ("none", "gate", "random"):
        draw = torch.Generator().manual_seed(2000 + seed)
        logits = torch.zeros(ACTIONS)
        for _ in range(updates):
            p = logits.softmax(0)
            action = torch.multinomial(p, DRAWS, replacement=True, generator=draw)
            z = centre[action] + 0.3 * torch.randn(DRAWS, K, generator=draw)
            trapped = (action[:, None] == traps).any(1)
            h = states(z, b, 0.3, draw) + trapped[:, None] * 3.0 * torch.randn(DRAWS, D, generator=draw)
            reward = z.sum(1) + (0.0 if exact else 6.0) * trapped
            passed = ~gate.score(completions(h, reward)).isnan()
            if arm == "none":
                passed = torch.ones(DRAWS, dtype=torch.bool)
            if arm == "random":
                passed = passed[torch.randperm(DRAWS, generator=draw)]
            if passed.any():
                advantage = reward[passed] - reward[passed].mean()
                chosen = torch.nn.functional.one_hot(action[passed], ACTIONS) - p
                logits = logits + LR * (advantage[:, None] * chosen).mean(0)
        found[arm] = float((logits.softmax(0) * worth).sum())
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds; claims nothing")
    parser.add_argument("--workers", type=int, default=1, help="one process is enough")
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    start = time.perf_counter()
    seeds = (0, 1) if args.toy else SEEDS
    probed = [probing(seed) for seed in seeds]
    twice, updates = range(seeds[0], seeds[0] + 2 * len(seeds)), 30 if args.toy else 150
    hacked, exact = ([bandit(seed, updates, exact=e) for seed in twice] for e in (False, True))
    values = {name: [v[name] for v, _ in probed] for name in probed[0][0]} | {
        "bandit: gate over random discards": [of["gate"] - of["random"] for of in hacked],
        "bandit: random discards": [of["random"] - of["none"] for of in hacked],
        "placebo: gate over none": [of["gate"] - of["none"] for of in exact],
    }
    source = Path(mrmbench.__file__)
    return write(
        args.out or (None if args.toy else RESULTS / "mrmbench.json"), script=__file__, method=source,
        parts=[
            source.parents[1] / "parts" / "state_centroids.py", Path(inspect.getfile(ConfidenceGate)),
            Path(__file__).parent / "_claim.py",
        ],
        seeds=seeds, seconds=time.perf_counter() - start, checks=[e.verdict(values[e.name]) for e in EXPECTED],
        seen={"probing": [seen for _, seen in probed], "bandit": hacked, "bandit, exact reward": exact},
    )  # fmt: skip


if __name__ == "__main__":
    main()
