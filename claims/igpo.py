"""Claim of IGPO: paying each turn for what it adds to the belief in the answer teaches what an outcome alone cannot.

A tabular search agent: 4 turns, in each it picks one of 10 documents, of which one is right; the last turn is the
answering one. Its belief in the answer is 0.01 + 0.95 (hits / 4)^2, the outcome is 1 if all four picks are right (1 in
10 000 at the start). One softmax a turn, groups of 8, plain gradient steps of 0.3, 400 updates. Gains, credit, group
statistics and loss are guerdon's; local are the documents. Stated before the run, over 8 seeds (a seed has its own
right documents and draws), as the 95 % bootstrap interval of the mean; success is the policy's own probability of all
four right picks.

1. IGPO, joint and separate, with either kind of gain: success above 0.9. GRPO on the outcome alone: below 0.05, nearly
   all of its groups without any spread.
2. Controls. Gains with their sign turned: away from the right documents in the turns they pay. The last turn's
   advantage on all tokens: no better than GRPO. Beliefs by chance (hits drawn anew, as likely as the policy's own): the
   gain is lost.
3. Ablation. All of the gain, b_(T-1) - b_0, on the last turn before the outcome: still learns, but takes longer to 0.9.

The card asks that gains permuted over turns lose the effect. On seeds 0 to 5 they did not (0.99), and cannot: backward
accumulation credits the first turn with their sum. Beliefs permuted over the rollouts of a group are no null control
either (0.12): gains of all turns share a mean, so that a turn in which many hit lifts all that was picked in it. Both
are shown, without a bound, and chance took their place. No other expectation was changed after that trial.

    python claims/igpo.py [--toy]
"""

from __future__ import annotations

import argparse
import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _claim import RESULTS, Expected, write
from torch import Tensor

from guerdon.credit.igpo import TurnReturns
from guerdon.parts.token_policy_loss import PolicyLoss
from guerdon.rewards.likelihood.information_gain import InformationGain, information_gain
from guerdon.types import Completions, Scored

LONG = False
SEEDS = (10, 11, 12, 13, 14, 15, 16, 17)
TURNS, DOCUMENTS, GROUP, LR = 4, 10, 8, 0.3
LOSS = PolicyLoss(clip_high=0.2, dual_clip=None, aggregation="seq-mean-token-sum")


@dataclass(frozen=True)
class Arm:
    """One way to pay and to credit."""

    credit: TurnReturns
    kind: str = "prob_diff"  # of the gain; "none" is the outcome alone
    change: str = ""  # what a control does to the gains or the advantage


ARMS = {
    "outcome only": Arm(TurnReturns(mode="joint"), "none"),
    "joint": Arm(TurnReturns(mode="joint")),
    "separate": Arm(TurnReturns(mode="separate")),
    "joint, logarithms": Arm(TurnReturns(mode="joint"), "log_prob_diff"),
    "separate, logarithms": Arm(TurnReturns(mode="separate"), "log_prob_diff"),
    "positionwise": Arm(TurnReturns(mode="positionwise")),
    "gains turned": Arm(TurnReturns(mode="separate"), change="sign"),
    "last advantage everywhere": Arm(TurnReturns(mode="separate"), change="last"),
    "beliefs by chance": Arm(TurnReturns(mode="separate"), change="chance"),
    "beliefs permuted over rollouts": Arm(TurnReturns(mode="separate"), change="others"),
    "gains permuted over turns": Arm(TurnReturns(mode="separate"), change="turns"),
    "terminal gain": Arm(TurnReturns(mode="separate"), change="terminal"),
}

SUCCESS = "probability of all four right documents"
EXPECTED = [
    Expected("joint", SUCCESS, at_least=0.9),
    Expected("separate", SUCCESS, at_least=0.9),
    Expected("joint, logarithms", SUCCESS, at_least=0.9),
    Expected("separate, logarithms", SUCCESS, at_least=0.9),
    Expected("outcome only", SUCCESS, at_most=0.05),
    Expected("outcome only: dead groups", "share of updates whose group has no spread", at_least=0.99),
    Expected("gains turned", "mean probability of the right document in turns 1 to 3 (0.1 at first)", at_most=0.05),
    Expected("last advantage everywhere", SUCCESS, at_most=0.05),
    Expected("beliefs by chance", SUCCESS, at_most=0.05),
    Expected("terminal gain", "updates to 0.9 (all of them if never) over those of the gains by turn", at_least=1.1),
]


def completions(picks: Tensor, seeds: int) -> Completions:
    """Rollouts [seeds * G, T]: a token a turn, a group a seed."""
    n = len(picks)
    return Completions(
        prompt=["where?"] * n, text=["..."] * n, ids=picks, mask=torch.ones_like(picks, dtype=torch.bool),
        group=torch.arange(seeds).repeat_interleave(GROUP), step=torch.arange(TURNS).expand(n, -1).clone(),
    )  # fmt: skip


def pay(arm: Arm, made: Completions, hit: Tensor, chance: Tensor, generator: torch.Generator) -> Scored:
    """Gains of turns 1 to T-1 and the outcome on the last; `chance` is how likely each hit was."""
    outcome = hit.all(1).float()
    if arm.kind == "none":
        return Scored(outcome, {"outcome": outcome}, {})
    if arm.change == "chance":
        hit = torch.rand(hit.shape, generator=generator) < chance
    hits = torch.cat([torch.zeros(len(hit), 1), hit.float().cumsum(1)[:, :-1]], 1)  # before each turn
    belief = 0.01 + 0.95 * (hits / TURNS) ** 2
    if arm.change == "others":
        shifted = torch.rand(len(hit) // GROUP, GROUP, generator=generator).argsort(1)
        belief = belief.view(-1, GROUP, TURNS).gather(1, shifted[..., None].expand(-1, -1, TURNS)).view(-1, TURNS)
    gain = information_gain(belief, made.step_ends(), kind=arm.kind)  # type: ignore[arg-type]
    if arm.change == "sign":
        gain = -gain
    if arm.change == "turns":
        order = torch.rand(len(gain), TURNS - 1, generator=generator).argsort(1)
        gain = torch.cat([gain[:, :-1].gather(1, order), gain[:, -1:]], 1)
    if arm.change == "terminal":
        gain = torch.zeros_like(gain).index_copy(1, torch.tensor([TURNS - 2]), gain.sum(1, keepdim=True))
    value = gain + made.ends() * outcome[:, None]
    return Scored(value, {"gain": gain, "outcome": outcome}, {})


def train(arm: Arm, seeds: tuple[int, ...], updates: int) -> dict[str, list[float]]:
    """All seeds at once: they share nothing but the tensor they stand in."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    right = torch.stack([torch.randint(DOCUMENTS, (TURNS,), generator=g) for g in generators])
    logits = torch.zeros(len(seeds), TURNS, DOCUMENTS, requires_grad=True)
    dead, first = torch.zeros(len(seeds)), torch.full((len(seeds),), float(updates))
    for update in range(updates):
        probabilities = logits.detach().softmax(-1)
        picks = torch.cat(
            [torch.multinomial(p, GROUP, True, generator=g).T for p, g in zip(probabilities, generators, strict=True)]
        )
        made = completions(picks, len(seeds))
        hit, chance = picks == right.repeat_interleave(GROUP, 0), chances(logits, right).repeat_interleave(GROUP, 0)
        scored = pay(arm, made, hit, chance, generators[0])
        advantage = arm.credit(made, scored)
        if arm.change == "last":
            advantage = advantage[:, -1:].expand(-1, TURNS)
        dead += (advantage.reshape(len(seeds), -1) == 0).all(1)
        table = logits.log_softmax(-1).repeat_interleave(GROUP, 0)
        log_prob = table.gather(2, picks[..., None])[..., 0]
        loss, _ = LOSS(log_prob, None, advantage, made.mask, global_rows=GROUP)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits.data -= LR * gradient
        found = chances(logits, right)
        first = torch.where((found.prod(1) > 0.9) & (first == updates), float(update + 1), first)
    found = chances(logits, right)
    return {
        "success": found.prod(1).tolist(), "right in turns 1 to 3": found[:, :-1].mean(1).tolist(),
        "dead groups": (dead / updates).tolist(), "updates to 0.9": first.tolist(),
    }  # fmt: skip


def chances(logits: Tensor, right: Tensor) -> Tensor:
    """[seeds, T]: the probability of the right document."""
    return logits.detach().softmax(-1).gather(2, right[..., None])[..., 0]


def measure(seeds: tuple[int, ...], updates: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """The values of every expectation by seed, and all that was seen."""
    runs = {name: train(arm, seeds, updates) for name, arm in ARMS.items()}
    for name, run in runs.items():
        print(name, {key: round(float(np.mean(v)), 4) for key, v in run.items()}, flush=True)
    values = {name: run["success"] for name, run in runs.items()}
    values["outcome only: dead groups"] = runs["outcome only"]["dead groups"]
    values["gains turned"] = runs["gains turned"]["right in turns 1 to 3"]
    by_turn, late = (np.array(runs[n]["updates to 0.9"]) for n in ("separate", "terminal gain"))
    values["terminal gain"] = list(map(float, late / by_turn))
    return values, {"runs": runs}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=1, help="all seeds run side by side in one process")
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    reported = not args.toy and tuple(args.seeds) == SEEDS
    out = args.out or (RESULTS / "igpo.json" if reported else None)
    torch.set_num_threads(1)
    start = time.perf_counter()
    values, seen = measure(tuple(args.seeds), 60 if args.toy else 400)
    method, here = Path(inspect.getfile(InformationGain)), Path(__file__).parent
    package = method.parents[2]
    names = ("progress_difference", "step_placement", "group_advantages", "token_policy_loss")
    parts = [here / "_claim.py", package / "credit" / "igpo.py", *(package / "parts" / f"{n}.py" for n in names)]
    return write(
        out, script=__file__, method=method, parts=parts, seeds=args.seeds, seconds=time.perf_counter() - start,
        checks=[e.verdict(values[e.name]) for e in EXPECTED], seen=seen,
    )  # fmt: skip


if __name__ == "__main__":
    main()
