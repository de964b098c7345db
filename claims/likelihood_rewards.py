"""Claim of likelihood rewards: log-probability works for answers of any length, probability for short ones alone.

A bandit of chains with exact scores. Ten chains z of a softmax policy; each token of the reference has probability q_z
= e^th_z / (e^th_z + 49) after chain z (a vocabulary of 50), th ~ N(0, 0.1), th_3 larger by 1; the reference is T equal
tokens. 300 steps of 4 chains, leave-one-out baseline, both terms of the gradient, norm clipped to 1, learning rate 0.5.
Rewards, their supervised term, baselines and JEPO's credit are guerdon's; the bandit is local.

Measured is the policy's expected log-probability of a reference token, in nats; it begins near -3.9, ln(1/50). Stated
before the run, for the mean over six seeds (the prototype's three seeds in brackets):

1. T = 1: every kind learns, logarithms to the end (logprob -0.013, prob -0.9 to -3.3).
2. T = 30: logprob gains more than 3 nats (-0.005), avg_logprob and JEPO too; prob stays where it was (-3.8).
3. Controls. Without the supervised term nothing can exceed the chain that was best at first. Dividing by the group's
   deviation hides the flat line: at T = 10, with rewards of 1e-17, prob then finds chain 3 as if there was a signal.
   (At T = 30 such rewards are 0 in float32.)

Second, a tiny Llama on questions with hidden chains (LatentChain, 8 questions, 4 chains, answers of 3 digits; in 30 %
of the references one digit is replaced by a random one), after supervised training on random chains: 100 steps of
AnswerLikelihood in TextLearner. Logprob must end with a lower perplexity of held-out references than prob, and a greedy
success (an own answer equal to the reference before noise) within 3 points of it or better; base RL (exact match) is
shown beside them.

    python claims/likelihood_rewards.py [--toy] [--workers N]
"""

from __future__ import annotations

from typing import Any

import torch
from _chains import Arm, prepare, train
from _claim import Expected
from _text import Values, command
from torch import Tensor

from guerdon.credit import GroupAdvantage, jepo
from guerdon.credit.jepo import jepo_advantages
from guerdon.parts import group_advantages as group_part
from guerdon.parts import span_scores
from guerdon.parts.group_advantages import group_advantages
from guerdon.rewards.likelihood import likelihood
from guerdon.rewards.likelihood.likelihood import AnswerLikelihood, likelihood_loss, likelihood_reward
from guerdon.rewards.verifiable import ExactMatch

LONG = False
SEEDS = tuple(range(10, 16))
CHAINS, GROUP, STEPS, LR = 10, 4, 300, 0.5
NATS, GAIN = "expected log-prob of a reference token", "gain over the start"

EXPECTED = [
    Expected("logprob, T=1", NATS, at_least=-0.05),
    Expected("prob, T=1", GAIN, at_least=0.3),
    Expected("avg_prob, T=1", GAIN, at_least=0.3),
    Expected("logprob, T=30", NATS, at_least=-0.05),
    Expected("logprob, T=30, gain", GAIN, at_least=3.0),
    Expected("avg_logprob, T=30", GAIN, at_least=3.0),
    Expected("jepo, T=30", GAIN, at_least=3.0),
    Expected("avg_prob, T=30", GAIN, at_least=0.3),
    Expected("prob, T=30", "largest change of it", at_most=0.15),
    Expected("logprob without +R, T=30", f"{NATS}, minus the best chain's at first", at_most=1e-5),
    Expected("prob, T=10", "change of the chance of chain 3", at_most=0.05),
    Expected("prob over its deviation, T=10", "change of the chance of chain 3 (hides the flat line)", at_least=0.5),
    Expected("perplexity", "of held-out references, logprob over prob", at_most=0.99),
    Expected("greedy success", "logprob minus prob", at_least=-0.03),
]


def bandit(kind: str, length: int, seed: int, *, steps: int, supervised: bool = True, divide: bool = False) -> dict:
    """One run: the expected log-prob of a token at start and end, the best chain's at start, the chance of chain 3."""
    generator = torch.Generator().manual_seed(seed)
    answer = 0.1 * torch.randn(CHAINS, generator=generator)
    answer[3] += 1
    chain = torch.zeros(CHAINS, requires_grad=True)
    answer.requires_grad_()
    group, mask = torch.zeros(GROUP, dtype=torch.long), torch.ones(GROUP, length, dtype=torch.bool)

    def token() -> Tensor:
        return answer - torch.logaddexp(answer, torch.full_like(answer, 49.0).log())

    def expected() -> float:
        return float((chain.softmax(0) * token()).sum().detach())

    start, best = expected(), float(token().max().detach())
    for _ in range(steps):
        z = torch.multinomial(chain.softmax(0).detach(), GROUP, replacement=True, generator=generator)
        reward = likelihood_reward(token()[z][:, None].expand(GROUP, length), mask, kind)  # type: ignore[arg-type]
        if kind == "jepo":
            advantage = jepo_advantages(reward.detach(), group)
        else:
            how = {"spread": "group", "eps": 1e-30} if divide else {"spread": "none", "baseline": "leave-one-out"}
            advantage = group_advantages(reward.detach(), group, **how)  # type: ignore[arg-type]
        loss = -(advantage * chain.log_softmax(0)[z]).mean()
        if supervised:
            loss = loss + likelihood_loss(reward, group, kind)  # type: ignore[arg-type]
        grads = torch.autograd.grad(loss, [chain, answer], allow_unused=True)
        norm = torch.sqrt(sum((g.square().sum() for g in grads if g is not None), torch.zeros(())))
        with torch.no_grad():
            for parameter, grad in zip((chain, answer), grads, strict=True):
                if grad is not None:
                    parameter -= LR * grad / norm.clamp(min=1)
    return {"start": start, "end": expected(), "best": best, "chain 3": float(chain.softmax(0)[3].detach())}


def one_seed(seed: int, toy: bool) -> tuple[Values, dict[str, Any]]:
    """Everything that a seed gives."""
    torch.set_num_threads(1)
    steps = 60 if toy else STEPS
    runs = {
        f"{kind}, T={length}": bandit(kind, length, seed, steps=steps)
        for length, kinds in (
            (1, ("prob", "avg_prob", "logprob")), (10, ("prob",)),
            (30, ("prob", "avg_prob", "logprob", "avg_logprob", "jepo")),
        )
        for kind in kinds
    }  # fmt: skip
    bare = runs["logprob without +R, T=30"] = bandit("logprob", 30, seed, steps=steps, supervised=False)
    hidden = runs["prob over its deviation, T=10"] = bandit("prob", 10, seed, steps=steps, divide=True)
    gain = {name: run["end"] - run["start"] for name, run in runs.items()}
    values = {
        "logprob, T=1": runs["logprob, T=1"]["end"],
        "logprob, T=30": runs["logprob, T=30"]["end"],
        "logprob, T=30, gain": gain["logprob, T=30"],
        "prob, T=30": abs(gain["prob, T=30"]),
        "logprob without +R, T=30": bare["end"] - bare["best"],
        "prob, T=10": abs(runs["prob, T=10"]["chain 3"] - 1 / CHAINS),
        "prob over its deviation, T=10": hidden["chain 3"] - 1 / CHAINS,
    }
    values |= {
        name: gain[name] for name in ("prob, T=1", "avg_prob, T=1", "avg_logprob, T=30", "jepo, T=30", "avg_prob, T=30")
    }

    ready = prepare(seed, unpredictable=0.3, chains=4, toy=toy)
    plain = GroupAdvantage(baseline="leave-one-out", spread="none")
    arms = {
        "logprob": Arm(AnswerLikelihood(kind="logprob", tags=ready.tags, closing=True), plain, chain_only=True),
        "prob": Arm(AnswerLikelihood(kind="prob", tags=ready.tags, closing=True), plain, chain_only=True),
        "exact match": Arm(ExactMatch(how="number"), plain),
    }
    model = {name: train(ready, arm, seed, steps=5 if toy else 100) for name, arm in arms.items()}
    values["perplexity"] = model["logprob"]["perplexity"] / model["prob"]["perplexity"]
    values["greedy success"] = model["logprob"]["success"] - model["prob"]["success"]
    return values, {"bandit": runs, "model": model, "before": ready.before}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    return command(
        argv, script=__file__, doc=__doc__, expected=EXPECTED, one_seed=one_seed, seeds=SEEDS, method=likelihood,
        parts=(span_scores, group_part, jepo),
    )  # fmt: skip


if __name__ == "__main__":
    main()
