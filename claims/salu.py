"""Claim of SALU: what hallucination costs sets when a policy abstains, with one switch from abstaining to answering.

Ten bins of evidence with P(answerable) = 0.05, 0.15, ..., 0.95; an answerable question is answered right 9 times in 10.
A softmax policy a bin answers with confidence 0.2, 0.6 or 1, or abstains; it begins biased to answer (+1). 6000 updates
of 8 samples a bin, group-normalised REINFORCE, learning rate 0.1. Rewards are the card's: c for a right answer, -lam c
for any wrong one, 1 for abstaining where there is no answer and -0.5 where there is one. `abstention_reward`,
`abstention_metrics` and `group_advantages` are guerdon's; the table of the policy is local.

Stated before the run, as 95 % intervals over eight seeds (the prototype's three seeds in brackets), for lam = 0, 1, 3:

1. Hallucination on unanswerable questions falls with lam (0.37-0.39, 0.18-0.23, 0.12-0.14).
2. Abstention falls from near 1 in the first bin to near 0 in the last, with one switch (0.5 is crossed once), which
   moves up with lam (bin 4; 5-6; 6-7, counted from 0).
3. Accuracy is highest near lam = 1 (0.69, 0.705, 0.69).
4. Controls: a policy that always abstains has no hallucination and an accuracy of about 0.5; paid for the phrase alone,
   without regard to answerability, the policy has no switch: it abstains as much in the last bin as in the first.
5. `abstention_threshold`: with the flat table and confidence 1, the policy's switch lies in the bin that q* names, for
   L_h = 0, 1, 3 (within one bin).

Second, a tiny Llama on tables with missing rows (Lookup), after supervised training on a mixture with too few
unanswerable questions (`abstention_mixture`, share 0.15): 150 steps of SALU in TextLearner. On held-out questions
hallucination must fall against supervised training alone, while accuracy rises and the coverage of answerable questions
falls by less than 0.15; and hallucination must fall at equal coverage, too, where each model is made to abstain on the
questions with its largest chances of the phrase, such that it answers 9 in 10 answerable ones.

This second part was run three times. Seeds 10-15, 100 steps, without the bounds on accuracy and coverage: held but for
equal coverage, -0.02 [-0.07, 0.02]. Seeds 20-27, 250 steps: all held (-0.04 [-0.06, -0.02]), and its details showed it
to be worth nothing: half trained, the model could not look up, and RL taught it to abstain nearly always (coverage of
answerable questions from 0.96 to 0.28). Hence longer supervised training, the two bounds, and these seeds.

    python claims/salu.py [--toy] [--workers N]
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import torch
from _claim import Expected
from _text import Values, command, supervise
from torch import Tensor

from guerdon.credit import GroupAdvantage
from guerdon.learners import text as learner
from guerdon.learners.descent import Descent
from guerdon.learners.samplers import GroupSampler
from guerdon.learners.text import TextLearner
from guerdon.models.language_model import CausalLM
from guerdon.models.tiny_model import tiny_model
from guerdon.parts import abstention as part
from guerdon.parts import group_advantages as group_part
from guerdon.parts.abstention import abstention_metrics, abstention_mixture, abstention_reward, abstention_threshold
from guerdon.parts.group_advantages import group_advantages
from guerdon.parts.span_scores import Span, over_spans, score_spans
from guerdon.rewards.verifiable import abstention
from guerdon.rewards.verifiable.abstention import SALU
from guerdon.tasks.text import Lookup

LONG = False
SEEDS = tuple(range(30, 38))
CHANCE = torch.arange(10) / 10 + 0.05  # that a question of this bin can be answered
RIGHT, LEVELS, GROUP, LR = 0.9, (0.2, 0.6, 1.0), 8, 0.1
PRICES = (0.0, 1.0, 3.0)

EXPECTED = [
    Expected("hallucination, lam 0", "share of unanswerable questions answered", at_least=0.3, at_most=0.45),
    Expected("hallucination, lam 1", "share of unanswerable questions answered", at_least=0.13, at_most=0.28),
    Expected("hallucination, lam 3", "share of unanswerable questions answered", at_least=0.07, at_most=0.19),
    Expected("hallucination falls", "least fall from one lam to the next", at_least=0.03),
    Expected("abstention, first bin", "least of the three lam", at_least=0.9),
    Expected("abstention, last bin", "largest of the three lam", at_most=0.1),
    Expected("switches", "largest number of crossings of 0.5, of the three lam", at_most=1.0),
    Expected("switch moves up", "bins, lam 3 minus lam 0", at_least=1.0),
    Expected("accuracy", "at lam 1 minus the larger of those at 0 and 3", at_least=0.0),
    Expected("always abstaining: hallucination", "share of unanswerable questions answered", at_most=0.0),
    Expected("always abstaining: accuracy", "share of questions", at_least=0.45, at_most=0.55),
    Expected("paid for the phrase", "|abstention in the last bin minus the first|", at_most=0.05),
    Expected("threshold", "largest distance of the switch from q*, in bins", at_most=1.0),
    Expected("lookup: hallucination", "after RL minus after supervised training alone", at_most=-0.1),
    Expected("lookup: accuracy", "after RL minus after supervised training alone", at_least=0.0),
    Expected("lookup: coverage", "of answerable questions, after RL minus after supervised training", at_least=-0.15),
    Expected("lookup: at equal coverage", "hallucination, after RL minus after supervised training", at_most=0.0),
]


def tabular(seed: int, *, updates: int) -> dict[tuple[str, float], Tensor]:
    """By table and lam, [10, 4]: the chances of each answer and of abstaining in each bin, after training."""
    generator = torch.Generator().manual_seed(seed)
    arms = [("card", lam) for lam in PRICES] + [("flat", lam) for lam in PRICES] + [("phrase", 1.0)]
    logits = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(len(arms) * len(CHANCE), 1)  # all arms side by side
    confidence = torch.tensor([*LEVELS, 0.0])
    bins = torch.arange(len(logits)).repeat_interleave(GROUP)
    answerable = CHANCE.repeat(len(arms))[bins]
    for _ in range(updates):
        p = logits.softmax(1)
        action = torch.multinomial(p, GROUP, replacement=True, generator=generator).flatten()
        chance = torch.rand(2, len(bins), generator=generator)
        u = (chance[0] >= answerable).float()
        abstained = (action == 3).float()
        ok = (chance[1] < RIGHT) * (1 - u) * (1 - abstained)
        drawn = zip(*(x.view(len(arms), -1) for x in (u, ok, abstained, confidence[action])), strict=True)
        reward = torch.cat([pay(table, *of, lam) for (table, lam), of in zip(arms, drawn, strict=True)])
        advantage = group_advantages(reward, bins)
        step = torch.zeros_like(logits).index_put((bins, action), advantage, accumulate=True)
        logits += LR * (step - p * step.sum(1, keepdim=True)) / GROUP
    return dict(zip(arms, logits.softmax(1).view(len(arms), len(CHANCE), 4), strict=True))


def pay(table: str, u: Tensor, ok: Tensor, abstained: Tensor, c: Tensor, lam: float) -> Tensor:
    """The card's simple table, the flat one, or the negative control that pays for the phrase alone."""
    if table == "flat":
        return abstention_reward(u, ok, abstained, torch.ones_like(c), hallucination=lam, flat=True)
    if table == "phrase":
        return abstained
    worth = abstention_reward(u, ok, abstained, c, hallucination=lam)
    wrong = (ok == 0) & (abstained == 0)
    return torch.where(wrong, -lam * c, worth)  # the prototype charges -lam c with and without an answer to be had


def summary(policy: Tensor, seed: int) -> dict[str, Any]:
    """Metrics of a policy on a hundred thousand questions, and where it switches."""
    generator = torch.Generator().manual_seed(seed + 1)
    bins = torch.randint(len(CHANCE), (100_000,), generator=generator)
    chance = torch.rand(3, len(bins), generator=generator)
    u, abstained = chance[0] >= CHANCE[bins], chance[1] < policy[bins, 3]
    found = abstention_metrics(u, (chance[2] < RIGHT) & ~u & ~abstained, abstained)
    quiet = policy[:, 3] > 0.5
    return found._asdict() | {
        "abstention": [round(float(p), 4) for p in policy[:, 3]],
        "crossings": int((quiet[1:] != quiet[:-1]).sum()),
        "switch": int(quiet.sum()),
    }


def lookup(seed: int, toy: bool) -> dict[str, Any]:
    """Supervised training alone, and SALU after it, on held-out tables."""
    task = Lookup(entries=2, largest=4)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789 ,.?"
    model = tiny_model(seed=seed, width=48, layers=2, characters=letters, max_length=48)
    mixture = abstention_mixture(task.rows(200 if toy else 20_000, seed), 200 if toy else 10_000, seed=seed, share=0.15)
    supervise(model, mixture, steps=5 if toy else 2500, seed=seed)
    reward = SALU(confidence="likelihood", hallucination=1.0)
    seen = {"supervised": answers(model, task, reward, seed, toy)}
    policy = CausalLM(copy.deepcopy(model.module), model.tokenizer, max_length=48)
    trained = TextLearner(
        policy, reward, credit=GroupAdvantage(spread="group"), descent=Descent(lr=5e-4), prompts=12, seed=seed,
        sampler=GroupSampler(n=8, max_tokens=9),
    )  # fmt: skip
    for _ in trained.train(task.rows(4096, seed + 1), 3 if toy else 150):
        pass
    return seen | {"after": answers(policy, task, reward, seed, toy)}


def answers(model: CausalLM, task: Lookup, reward: SALU, seed: int, toy: bool) -> dict[str, float]:
    """The metrics on held-out questions, one sample each, and hallucination at equal coverage."""
    rows = task.rows(32 if toy else 500, seed, split="test")
    made = model.generate([row["prompt"] for row in rows], max_tokens=9, seed=seed)
    made.columns = {"answer": [row["answer"] for row in rows]}
    right, abstained = reward.outcomes(made)
    u = torch.tensor([row["unanswerable"] for row in rows])
    phrase = [Span(task.abstain, 0, len(task.abstain))] * len(rows)
    with torch.no_grad():
        quiet = over_spans(score_spans(model, made.prompt, phrase), "sum_logp", empty=math.nan, name="claim")
    threshold = quiet[u == 0].quantile(0.9)
    found = abstention_metrics(u, right * (u == 0), abstained)._asdict()
    return found | {"at equal coverage": float((quiet[u == 1] <= threshold).float().mean())}


def one_seed(seed: int, toy: bool) -> tuple[Values, dict[str, Any]]:
    """Everything that a seed gives."""
    torch.set_num_threads(1)
    updates = 300 if toy else 6000
    policies = tabular(seed, updates=updates)
    runs, flat = ({lam: summary(policies[table, lam], seed) for lam in PRICES} for table in ("card", "flat"))
    phrase = policies["phrase", 1.0][:, 3]
    silent = summary(torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(len(CHANCE), 1), seed)
    off = []
    for lam in PRICES:  # q = RIGHT * a and m = (1 - RIGHT) * a at P(answerable) = a; answer where q > q*(m)
        pays = [RIGHT * a > abstention_threshold(hallucination=lam, m=(1 - RIGHT) * a) for a in CHANCE.tolist()]
        off.append(abs(flat[lam]["switch"] - pays.index(True)))
    text = lookup(seed, toy)
    hallucination = [runs[lam]["hallucination"] for lam in PRICES]
    accuracy = [runs[lam]["accuracy"] for lam in PRICES]
    values = {f"hallucination, lam {lam:g}": h for lam, h in zip(PRICES, hallucination, strict=True)} | {
        "hallucination falls": min(a - b for a, b in pairwise(hallucination)),
        "abstention, first bin": min(r["abstention"][0] for r in runs.values()),
        "abstention, last bin": max(r["abstention"][-1] for r in runs.values()),
        "switches": float(max(r["crossings"] for r in runs.values())),
        "switch moves up": float(runs[3.0]["switch"] - runs[0.0]["switch"]),
        "accuracy": accuracy[1] - max(accuracy[0], accuracy[2]),
        "always abstaining: hallucination": silent["hallucination"],
        "always abstaining: accuracy": silent["accuracy"],
        "paid for the phrase": abs(float(phrase[-1] - phrase[0])),
        "threshold": float(max(off)),
        "lookup: hallucination": text["after"]["hallucination"] - text["supervised"]["hallucination"],
        "lookup: accuracy": text["after"]["accuracy"] - text["supervised"]["accuracy"],
        "lookup: coverage": text["supervised"]["needless"] - text["after"]["needless"],
        "lookup: at equal coverage": text["after"]["at equal coverage"] - text["supervised"]["at equal coverage"],
    }
    values = {name: 0.0 if math.isnan(value) else value for name, value in values.items()} if toy else values
    return values, {"table": runs, "flat": flat, "lookup": text}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    return command(
        argv, script=__file__, doc=__doc__, expected=EXPECTED, one_seed=one_seed, seeds=SEEDS, method=abstention,
        parts=(part, group_part, learner),
    )  # fmt: skip


if __name__ == "__main__":
    main()
