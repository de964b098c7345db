"""Claim of Clip and Delta: scores of steps that a policy learns to farm, made into rewards that it cannot.

A tabular solution writer: good step, bad step, filler, or answer, at most 20 steps; an answer after at least 3 good and
no bad steps is right and pays 1. A scripted process reward model says 0.9 of a prefix without a bad step, 0.95 if a
filler ends it, 0.15 after a bad step, 0.1 of an answer that comes too early. One softmax a state (good steps up to 3,
whether there was a bad one), REINFORCE with a running mean a state for baseline, 64 solutions an update, 300 updates.
Rewards, their sum and the returns of steps are guerdon's; local are the game, its scores and the two baselines.
Stated before the run, over 8 seeds, as the 95 % bootstrap interval of the mean over the last 20 updates:

1. Weight 0.05. PR (alpha q, summed) writes more than 3 useless steps (fillers, and good steps beyond the third); Clip
   and Delta together write under 0.5 and are right as often as with the outcome alone (SR), within 0.02. Clip alone
   too. Delta alone keeps a bounded liking for filler, since 0.95 is more than 0.9: fewer than PR. PR standardised over
   the batch (PR-Normed) still writes more of them than Clip and Delta.
2. Weight 0.3. PR is right in under 0.05 of its solutions, which run to the horizon with the highest summed score.
3. Weight 0.6. Clip alone answers at once, since a bad step costs again at every later step; with Delta it does not.
4. The return that a step is credited with, outcome apart, is its own clipped score: largest deviation of any step.

The card's figures (success, length, fillers) at 0.05: SR 0.974, 4.2, 0.13; PR 0.889, 10.1, 4.7; Clip 0.990, 4.1, 0.11;
Delta 0.971, 6.9, 2.0; both 0.985, 4.2, 0.12. Revised once, after a trial on seeds 0 to 5: the card counts fillers, but
half of the seeds farm PR by further good steps instead (3.4 fillers, of 6.2 useless steps); and its Clip fails at a
weight of 0.3 already, where ours still learns (at 0.6 no seed did, and all with Delta).

    python claims/clip_delta.py [--toy]
"""

from __future__ import annotations

import argparse
import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from _claim import RESULTS, Expected, write
from torch import Tensor

from guerdon.parts.step_placement import steps_to_go
from guerdon.rewards.shaping.clip_delta import ClipDelta
from guerdon.types import About, Completions, Reward

LONG = False
SEEDS = (10, 11, 12, 13, 14, 15, 16, 17)
GOOD, BAD, FILLER, ANSWER = range(4)
NEEDED, HORIZON, BATCH = 3, 20, 64
LR, BASELINE = 1.0, 0.1


class StepScores(Reward):
    """The process reward model's scores of steps, out of the game's columns."""

    about: ClassVar[About] = About(rewards="steps, by script", paper="the claim's own", scores="Completions")

    def score(self, experience: Completions, **needed: Any) -> Tensor:
        return torch.stack(experience.column("score", self.name))


class Outcome(Reward):
    """1 for a right answer."""

    about: ClassVar[About] = About(rewards="right answers", paper="the claim's own", scores="Completions")

    def score(self, experience: Completions, **needed: Any) -> Tensor:
        return torch.tensor(experience.column("right", self.name))


class Normed(Reward):
    """PR-Normed: scores standardised over the steps of the batch."""

    about: ClassVar[About] = About(rewards="steps, standardised", paper="Gao et al., 2024", scores="Completions")

    def score(self, experience: Completions, **needed: Any) -> Tensor:
        q, mask = StepScores().score(experience), experience.mask
        return torch.where(mask, (q - q[mask].mean()) / q[mask].std(), 0.0)


def arms(alpha: float) -> dict[str, Reward]:
    return {
        "SR": Outcome(),
        "PR": Outcome() + alpha * StepScores(),
        "PR-Normed": Outcome() + alpha * Normed(),
        "Clip": Outcome() + ClipDelta(StepScores(), alpha=alpha, delta=False),
        "Delta": Outcome() + ClipDelta(StepScores(), alpha=alpha, clip=False),
        "Clip and Delta": Outcome() + ClipDelta(StepScores(), alpha=alpha),
    }


EXPECTED = [
    Expected("PR: useless steps", "useless steps a solution, weight 0.05", at_least=3.0),
    Expected("Clip and Delta: useless steps", "useless steps a solution, weight 0.05", at_most=0.5),
    Expected("Clip and Delta: success", "share of right solutions, weight 0.05, minus SR's", at_least=-0.02),
    Expected("SR: success", "share of right solutions", at_least=0.95),
    Expected("Clip: success", "share of right solutions, weight 0.05, minus SR's", at_least=-0.02),
    Expected("Clip: useless steps", "useless steps a solution, weight 0.05", at_most=0.5),
    Expected("Delta: useless steps", "useless steps a solution, weight 0.05, minus PR's", at_most=-1.0),
    Expected("PR-Normed: useless steps", "useless steps, weight 0.05, minus those of Clip and Delta", at_least=1.0),
    Expected("PR, weight 0.3: success", "share of right solutions", at_most=0.05),
    Expected("PR, weight 0.3: length", "steps a solution, of 20", at_least=19.0),
    Expected("PR, weight 0.3: summed score", "sum of q, minus that of Clip and Delta", at_least=5.0),
    Expected("Clip, weight 0.6: success", "share of right solutions, minus that with weight 0.05", at_most=-0.5),
    Expected("Clip and Delta, weight 0.6: success", "share of right solutions", at_least=0.95),
    Expected(
        "returns", "largest |return without outcome - alpha min(q - eta, 0)| of a step but the last", at_most=1e-6
    ),
]


@dataclass
class Episodes:
    """What all seeds wrote in one update: rows [seeds * BATCH], columns steps."""

    completions: Completions
    state: Tensor  # [N, H] index of the state that each step was written in


def play(logits: Tensor, generator: torch.Generator) -> Episodes:
    """A batch for each seed."""
    n = len(logits) * BATCH
    who = torch.arange(len(logits)).repeat_interleave(BATCH)
    probabilities = logits.softmax(-1)
    good, bad, going = torch.zeros(n).long(), torch.zeros(n).bool(), torch.ones(n).bool()
    right = torch.zeros(n)
    columns: dict[str, list[Tensor]] = {"action": [], "mask": [], "state": [], "score": []}
    for _ in range(HORIZON):
        state = good.clamp(max=NEEDED) * 2 + bad
        action = torch.multinomial(probabilities[who, state], 1, generator=generator)[:, 0]
        early = (action == ANSWER) & ((good < NEEDED) | bad)
        good = good + (action == GOOD)
        bad = bad | (action == BAD)
        score = torch.where(action == FILLER, 0.95, 0.9).masked_fill(bad, 0.15).masked_fill(early, 0.1)
        for name, value in (("action", action), ("mask", going), ("state", state), ("score", score * going)):
            columns[name].append(value)
        right = torch.where(going & (action == ANSWER) & ~early, 1.0, right)
        going = going & (action != ANSWER)
    action, mask, state, score = (torch.stack(columns[name], 1) for name in columns)
    made = Completions(
        prompt=[""] * n, text=[""] * n, ids=action, mask=mask, step=torch.arange(HORIZON).expand(n, -1).clone(),
        columns={"score": list(score), "right": right.tolist()},
    )  # fmt: skip
    return Episodes(made, state)


def train(reward: Reward, seeds: tuple[int, ...], updates: int) -> dict[str, list[float]]:
    """REINFORCE for all seeds at once; means over the last 20 updates."""
    generator = torch.Generator().manual_seed(seeds[0])
    s, states = len(seeds), 2 * (NEEDED + 1)
    logits, baseline = torch.zeros(s, states, 4), torch.zeros(s, states)
    who = torch.arange(s).repeat_interleave(BATCH)[:, None].expand(-1, HORIZON)
    seen: list[dict[str, Tensor]] = []
    worst = 0.0
    for update in range(updates):
        episodes = play(logits, generator)
        made, mask = episodes.completions, episodes.completions.mask
        scored = reward.evaluate(made)
        value = scored.value if scored.value.ndim == 2 else made.ends() * scored.value[:, None]
        returns = steps_to_go(value, mask)
        worst = max(worst, deviation(reward, made, scored.terms))
        at = (who[mask], episodes.state[mask])
        advantage = returns[mask] - baseline[at]
        chosen = torch.nn.functional.one_hot(made.ids[mask], 4) - logits.softmax(-1)[at]
        logits.index_put_(at, LR / BATCH * advantage[:, None] * chosen, accumulate=True)
        count = torch.zeros(s, states).index_put(at, torch.ones(len(advantage)), accumulate=True)
        error = torch.zeros(s, states).index_put(at, advantage, accumulate=True) / count.clamp(min=1)
        baseline += BASELINE * error
        if update >= updates - 20:
            score = torch.stack(list(made.columns["score"]))  # type: ignore[index]
            fillers, good = (((made.ids == kind) & mask).sum(1).float() for kind in (FILLER, GOOD))
            seen.append({
                "success": torch.tensor(made.columns["right"]), "length": mask.sum(1).float(), "fillers": fillers,
                "useless": fillers + (good - NEEDED).clamp(min=0.0), "summed score": score.sum(1),
            })  # fmt: skip
    means = {k: torch.stack([x[k].view(s, BATCH).mean(1) for x in seen]).mean(0).tolist() for k in seen[0]}
    return means | {"deviation": [worst] * s}


def deviation(reward: Reward, made: Completions, terms: dict[str, Tensor]) -> float:
    """How far returns of Clip and Delta are from the clipped scores, at all steps but the last."""
    found = [m for m in reward.modules() if isinstance(m, ClipDelta) and m.clip and m.delta]
    if not found:
        return 0.0
    returns = steps_to_go(terms[found[0].name], made.mask)
    clipped = found[0].alpha * (torch.stack(list(made.columns["score"])) - found[0].eta).clamp(max=0)  # type: ignore
    return float((returns - clipped)[made.mask & ~made.ends()].abs().max())


def measure(seeds: tuple[int, ...], updates: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """The values of every expectation by seed, and all that was seen."""
    jobs = [(alpha, name) for alpha in (0.05, 0.3) for name in arms(alpha)] + [(0.6, "Clip"), (0.6, "Clip and Delta")]
    runs = {job: train(arms(job[0])[job[1]], seeds, updates) for job in jobs}
    for job, run in runs.items():
        print(*job, {key: round(float(np.mean(v)), 3) for key, v in run.items()}, flush=True)

    def of(alpha: float, name: str, key: str) -> np.ndarray:
        return np.array(runs[alpha, name][key])

    success, both = of(0.05, "SR", "success"), "Clip and Delta"
    useless = {arm: of(0.05, arm, "useless") for arm in arms(0.05)}
    values = {
        **{f"{arm}: useless steps": useless[arm] for arm in ("PR", both, "Clip")},
        "Delta: useless steps": useless["Delta"] - useless["PR"],
        "PR-Normed: useless steps": useless["PR-Normed"] - useless[both],
        **{f"{arm}: success": of(0.05, arm, "success") - success for arm in (both, "Clip")},
        "SR: success": success,
        "PR, weight 0.3: success": of(0.3, "PR", "success"),
        "PR, weight 0.3: length": of(0.3, "PR", "length"),
        "PR, weight 0.3: summed score": of(0.3, "PR", "summed score") - of(0.3, both, "summed score"),
        "Clip, weight 0.6: success": of(0.6, "Clip", "success") - of(0.05, "Clip", "success"),
        f"{both}, weight 0.6: success": of(0.6, both, "success"),
        "returns": np.max([of(alpha, both, "deviation") for alpha in (0.05, 0.3, 0.6)], 0),
    }
    seen = {f"{name}, weight {alpha}": run for (alpha, name), run in runs.items()}
    return {k: list(map(float, v)) for k, v in values.items()}, seen


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=1, help="all seeds run side by side in one process")
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    reported = not args.toy and tuple(args.seeds) == SEEDS
    out = args.out or (RESULTS / "clip_delta.json" if reported else None)
    torch.set_num_threads(1)
    start = time.perf_counter()
    values, seen = measure(tuple(args.seeds), 30 if args.toy else 300)
    method = Path(inspect.getfile(ClipDelta))
    parts = [Path(__file__).parent / "_claim.py", method.parents[2] / "parts" / "step_placement.py"]
    return write(
        out, script=__file__, method=method, parts=parts, seeds=args.seeds, seconds=time.perf_counter() - start,
        checks=[e.verdict(values[e.name]) for e in EXPECTED], seen=seen,
    )  # fmt: skip


if __name__ == "__main__":
    main()
