"""Claim of URLVR: a reward made of the policy's own beliefs raises accuracy, then ruins it; how soon, the prior says.

A bandit with shared weights. Each prompt has K = 6 answers with two features: e1, noisy but right (0.7 N(0, 1), plus 1
on the right answer), and e2, loud and useless (4 on a random answer). logits = w1 e1 + w2 e2, from w = (1, w2_0). So
w2_0 is how bad the prior is: e2 wins few votes at first, but where it wins it is learnt for every prompt. Each step has
32 fresh prompts of 16 answers, GRPO advantages, one policy-gradient step of rate 0.05; 900 steps. Measured is the mean
probability of the right answer on 3000 other prompts (chance 1/6). Rewards, credit, votes, probe measures and collapse
step come from guerdon; local is the bandit and its gradient.

Stated before the run, each over five seeds, as the 95 % bootstrap interval of the mean over seeds:

1. Rise, then fall: paid by majority, w2_0 = 0.05 rises above its start and ends at chance; its own reward meanwhile
   rises. Paid by the log-probability of its answers (TrajectoryEntropy), the same.
2. The collapse step falls as w2_0 grows: 0.05, 0.1, 0.2. It is the first below half way between chance and start.
3. The true reward ends above 0.5 and never falls, from 0.05 and from 0.2. So does majority from w2_0 = -0.05.
4. Few prompts that can be memorised (32 or 128 fixed ones, a free logit for each answer of each, five times the rate):
   no collapse from w2_0 = 0.02, and it ends above its start, where fresh prompts end below theirs. Most prompts keep
   the majority answer that they began with: amplified, not corrected.
5. Controls: a random reward changes nothing; the true answer in place of the majority on half of the prompts (a leak)
   never falls. At the end of 1 a probe shows unanimous votes for wrong answers.

    python claims/urlvr.py [--toy] [--workers 2]
"""

from __future__ import annotations

import argparse
import inspect
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _claim import RESULTS, Expected, in_parallel, write
from torch import Tensor

from guerdon.credit.group import GroupAdvantage
from guerdon.parts.answers import majority
from guerdon.parts.sharpening import model_collapse_step, sharpening_metrics
from guerdon.rewards.likelihood.certainty import TrajectoryEntropy
from guerdon.rewards.likelihood.majority import MajorityVote
from guerdon.types import Completions, Reward, TokenScores

LONG = False
SEEDS = (0, 1, 2, 3, 4)
K, PROMPTS, ANSWERS = 6, 32, 16
CHANCE = 1 / K
PRIORS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Size:
    steps: int = 900
    probe: int = 3000
    often: int = 1  # steps between two measurements
    fixed: tuple[int, ...] = (32, 128)


TOY = Size(steps=24, probe=200, often=3, fixed=(8, 16))


class TrueAnswer(Reward):
    """1 for the right answer."""

    def score(self, experience: Completions, **_: Any) -> Tensor:
        truth = experience.column("truth", self.name)
        return torch.tensor([float(a == t) for a, t in zip(experience.text, truth, strict=True)])


class Leak(TrueAnswer):
    """The true reward on half of the prompts, the majority on the others."""

    def score(self, experience: Completions, **needed: Any) -> Tensor:
        assert experience.group is not None
        voted = MajorityVote(how="text").score(experience)
        return torch.where(experience.group % 2 == 0, super().score(experience), voted)


class Dice(Reward):
    """0 or 1 by lot."""

    def __init__(self, *, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def score(self, experience: Completions, **_: Any) -> Tensor:
        return torch.randint(2, (len(experience.text),), generator=self.generator).float()


class Bandit:
    """What a policy of one token makes of the prompts in `logits` [P, K]: a LanguageModel, as far as rewards ask it."""

    max_length = 2

    def __init__(self, logits: Tensor) -> None:
        self.log_p = logits.log_softmax(-1)

    def score(self, prefixes: list[list[int]], spans: list[list[int]], *, also: tuple[str, ...] = ()) -> TokenScores:
        at = torch.tensor(prefixes)[:, 0], torch.tensor(spans)[:, 0]
        return TokenScores(self.log_p[at][:, None], torch.ones(len(spans), 1, dtype=torch.bool))


def prompts(number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features [P, K, 2] and right answers [P]."""
    right = torch.randint(K, (number,), generator=generator)
    noisy = 0.7 * torch.randn(number, K, generator=generator)
    noisy[torch.arange(number), right] += 1
    loud = torch.zeros(number, K)
    loud[torch.arange(number), torch.randint(K, (number,), generator=generator)] = 4
    return torch.stack([noisy, loud], -1), right


def answer(logits: Tensor, right: Tensor, generator: torch.Generator) -> Completions:
    """16 answers to each prompt of `logits` [P, K]."""
    chosen = torch.multinomial(logits.softmax(-1), ANSWERS, replacement=True, generator=generator).flatten()
    group = torch.arange(len(logits)).repeat_interleave(ANSWERS)
    every = torch.ones(len(chosen), 1, dtype=torch.bool)
    return Completions(
        prompt=[""] * len(chosen), text=[str(a) for a in chosen.tolist()], ids=chosen[:, None], mask=every, group=group,
        columns={"truth": [str(t) for t in right[group].tolist()]}, prompt_ids=group[:, None], prompt_mask=every,
    )  # fmt: skip


def slope(reward: Reward, logits: Tensor, right: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    """The policy gradient by `logits` [P, K], a mean over answers, and what the batch showed."""
    made = answer(logits, right, generator)
    scored = reward.evaluate(made, policy=Bandit(logits))
    advantage = GroupAdvantage(spread="group")(made, scored)[:, 0].view(-1, ANSWERS, 1)
    chosen = torch.nn.functional.one_hot(made.ids[:, 0], K).view(-1, ANSWERS, K)
    gradient = (advantage * (chosen - logits.softmax(-1)[:, None])).sum(1) / len(made.text)
    return gradient, {"reward": float(scored.value.mean())}


def train(arm: str, w2: float, seed: int, size: Size, *, fixed: int = 0) -> dict[str, Any]:
    """One run: the curve of the probability of the right answer, and of the reward that was paid."""
    torch.set_num_threads(1)
    rewards = {
        "majority": partial(MajorityVote, how="text"),
        "trajectory entropy": TrajectoryEntropy,
        "true": TrueAnswer,
        "random": partial(Dice, seed=seed),
        "leak": Leak,
    }
    reward = rewards[arm]()
    generator = torch.Generator().manual_seed(seed)
    features, right = prompts(fixed or size.probe, generator)
    weights = torch.tensor([1.0, w2])
    table = (features @ weights).clone()  # of fixed prompts: a free logit each
    started = table.argmax(1)
    steps, curve, paid = [], [], []
    for step in range(size.steps + 1):
        if step % size.often == 0:
            logits = table if fixed else features @ weights
            steps.append(step)
            curve.append(float(logits.softmax(-1)[torch.arange(len(right)), right].mean()))
        if fixed:
            batch = torch.randperm(fixed, generator=generator)[:PROMPTS]
            gradient, seen = slope(reward, table[batch], right[batch], generator)
            table[batch] += 5 * 0.05 * PROMPTS * gradient
        else:
            fresh, truth = prompts(PROMPTS, generator)
            gradient, seen = slope(reward, fresh @ weights, truth, generator)
            weights = weights + 0.05 * torch.einsum("pk,pkf->f", gradient, fresh)
        paid.append(seen["reward"])
    collapse = model_collapse_step(steps, curve, chance=CHANCE)
    row = {
        "arm": arm, "w2": w2, "seed": seed, "fixed": fixed, "start": curve[0], "end": curve[-1],
        "peak": collapse.peak, "peak_step": collapse.peak_step,
        "collapse": size.steps if collapse.step is None else collapse.step, "collapsed": collapse.step is not None,
        "paid_first": float(np.mean(paid[: len(paid) // 10 + 1])),
        "paid_last": float(np.mean(paid[-(len(paid) // 10 + 1) :])),
    }  # fmt: skip
    made = answer(table if fixed else features @ weights, right, generator)
    row |= sharpening_metrics(made.text, made.column("truth", arm), group=made.group)
    if fixed:
        row["kept"] = float((table.argmax(1) == started).float().mean())
    return row


RUNS: dict[str, tuple[str, float, int, float]] = {  # name -> reward, w2_0, fixed prompts, share of the steps
    "majority, -0.05": ("majority", -0.05, 0, 1.0),
    "majority, 0.02": ("majority", 0.02, 0, 1.0),
    "majority, 0.05": ("majority", 0.05, 0, 1.0),
    "majority, 0.1": ("majority", 0.1, 0, 1 / 3),
    "majority, 0.2": ("majority", 0.2, 0, 1 / 3),
    "trajectory entropy, 0.05": ("trajectory entropy", 0.05, 0, 2 / 3),
    "trajectory entropy, 0.1": ("trajectory entropy", 0.1, 0, 1 / 3),
    "trajectory entropy, 0.2": ("trajectory entropy", 0.2, 0, 1 / 3),
    "true, 0.05": ("true", 0.05, 0, 1.0),
    "true, 0.2": ("true", 0.2, 0, 1.0),
    "few prompts (1)": ("majority", 0.02, 1, 1.0),
    "few prompts (2)": ("majority", 0.02, 2, 1.0),
    "random, 0.05": ("random", 0.05, 0, 1.0),
    "leak, 0.05": ("leak", 0.05, 0, 1.0),
}  # "few prompts": the number of Size.fixed with this place

RIGHT = "probability of the right answer"
EXPECTED = [
    *(
        expected
        for arm in ("majority", "trajectory entropy")
        for expected in (
            Expected(f"{arm}: rise", f"{RIGHT}, peak minus start, w2_0 = 0.05", at_least=0.02),
            Expected(f"{arm}: fall", f"{RIGHT} at the end, w2_0 = 0.05 (chance 0.167)", at_most=0.2),
            Expected(f"{arm}: its own reward", "mean of the last tenth minus the first, w2_0 = 0.05", at_least=0.1),
            Expected(f"{arm}: 0.1 collapses before 0.05", "steps between the collapse steps", at_least=5),
            Expected(f"{arm}: 0.2 collapses before 0.1", "steps between the collapse steps", at_least=5),
        )
    ),
    Expected("true reward, 0.05", f"{RIGHT} at the end", at_least=0.5),
    Expected("true reward, 0.2", f"{RIGHT} at the end", at_least=0.5),
    Expected("true reward: no fall", f"{RIGHT}, peak minus end, the worse of the two", at_most=0.02),
    Expected("majority, -0.05", f"{RIGHT} at the end", at_least=0.5),
    Expected("few prompts: 32", f"{RIGHT} on them, end minus start, w2_0 = 0.02", at_least=0.02),
    Expected("few prompts: 128", f"{RIGHT} on them, end minus start, w2_0 = 0.02", at_least=0.02),
    Expected("few prompts: no fall", f"{RIGHT} on them, peak minus end, the worse of the two", at_most=0.03),
    Expected("few prompts: votes kept", "share of prompts that keep the majority answer they began with", at_least=0.8),
    Expected("fresh prompts, 0.02", f"{RIGHT}, end minus start", at_most=0.0),
    Expected("random reward", f"{RIGHT}, end minus start", at_least=-0.05, at_most=0.05),
    Expected("leak: end", f"{RIGHT} at the end", at_least=0.5),
    Expected("leak: no fall", f"{RIGHT}, peak minus end", at_most=0.02),
    Expected("probe: reward accuracy at the end", "majority, w2_0 = 0.05; of a batch of 3000 prompts", at_most=0.3),
    Expected("probe: majority ratio at the end", "majority, w2_0 = 0.05; of a batch of 3000 prompts", at_least=0.9),
]


def one(name: str, seed: int, size: Size) -> dict[str, Any]:
    arm, w2, fixed, share = RUNS[name]
    shorter = Size(max(1, round(share * size.steps)), size.probe, size.often, size.fixed)
    return {"name": name, **train(arm, w2, seed, shorter, fixed=size.fixed[fixed - 1] if fixed else 0)}


def measure(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What one seed's runs say of each expectation."""

    def fall(*names: str) -> float:
        return max(rows[n]["peak"] - rows[n]["end"] for n in names)

    def rise(name: str) -> float:
        return rows[name]["end"] - rows[name]["start"]

    found = {
        "true reward, 0.05": rows["true, 0.05"]["end"],
        "true reward, 0.2": rows["true, 0.2"]["end"],
        "true reward: no fall": fall("true, 0.05", "true, 0.2"),
        "majority, -0.05": rows["majority, -0.05"]["end"],
        "few prompts: 32": rise("few prompts (1)"),
        "few prompts: 128": rise("few prompts (2)"),
        "few prompts: no fall": fall("few prompts (1)", "few prompts (2)"),
        "few prompts: votes kept": min(rows[f"few prompts ({i})"]["kept"] for i in (1, 2)),
        "fresh prompts, 0.02": rise("majority, 0.02"),
        "random reward": rise("random, 0.05"),
        "leak: end": rows["leak, 0.05"]["end"],
        "leak: no fall": fall("leak, 0.05"),
        "probe: reward accuracy at the end": rows["majority, 0.05"]["reward_accuracy"],
        "probe: majority ratio at the end": rows["majority, 0.05"]["majority_ratio"],
    }
    for arm in ("majority", "trajectory entropy"):
        main = rows[f"{arm}, 0.05"]
        step = {w2: rows[f"{arm}, {w2:g}"]["collapse"] for w2 in PRIORS}
        found |= {
            f"{arm}: rise": main["peak"] - main["start"],
            f"{arm}: fall": main["end"],
            f"{arm}: its own reward": main["paid_last"] - main["paid_first"],
            f"{arm}: 0.1 collapses before 0.05": step[0.05] - step[0.1],
            f"{arm}: 0.2 collapses before 0.1": step[0.1] - step[0.2],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="seconds instead of minutes; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    started, size = time.perf_counter(), TOY if given.toy else Size()
    out = given.out or (None if given.toy else RESULTS / "urlvr.json")
    runs = in_parallel(one, [(name, seed, size) for seed in given.seeds for name in RUNS], given.workers)
    by_seed = [measure({r["name"]: r for r in runs if r["seed"] == seed}) for seed in given.seeds]
    checks = [expected.verdict([found[expected.name] for found in by_seed]) for expected in EXPECTED]
    method = Path(inspect.getfile(MajorityVote))
    parts = [TrajectoryEntropy, GroupAdvantage, majority, sharpening_metrics]
    write(
        out, script=__file__, method=method, parts=[Path(inspect.getfile(p)) for p in parts], seeds=given.seeds,
        seconds=time.perf_counter() - started, checks=checks, seen={"runs": runs},
    )  # fmt: skip


if __name__ == "__main__":
    main()
