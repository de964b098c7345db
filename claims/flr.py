"""Claim of FLR: what a user is likely to say next tells good responses from bad ones, and policies can learn from it.

Everything the claim is about comes from guerdon: FLR, its reductions, pair mining, DPO, the simulated users of
`guerdon.tasks.text.FollowUps`. A response is made of steps ("mix", "fold") or of vagueness ("maybe", "stuff"); a user
answers a good one kindly with probability 0.8, a bad one with 0.3, and every fifth time says something about neither. A
tiny Llama learns from 5000 dialogues to say what the user says; there are no labels. Then, on other responses of the
same words, of which half are good, each of five seeds (as the 95 % bootstrap interval of the mean over seeds):

1. Accuracy on 300 pairs of a good and a bad response to the same request; that of Bayes is 1, as the words give the
   quality away. FLR is above 0.9; the positive follow-ups alone are not much worse.
2. Controls: without the response 0.5, exactly. A scorer before training, and one that learned from shuffled responses,
   set good and bad responses apart by less than a fifth of what the trained one does. (Their accuracy, stated at first,
   says little: noise that puts 25 good above 25 bad texts is the same in all pairs. In a pilot on seed 100 it was 0.42
   and 0.33.)
3. The scorer is calibrated: P(positive | positive or negative) is near 0.8 for good and 0.3 for bad responses.
4. The authors' script in place of the likelihood, `first_position_logits`: its accuracy is no more than FLR's.
5. A policy that writes the 50 responses equally often; 8 of its responses to each of 48 requests, temperature 0.7; the
   best against the worst by FLR, for DPO. The probability that it gives to good responses rises by 0.2 or more. With
   the two lists swapped it falls by 0.2 or more.
6. Flattery: a second scorer learns from users whom praise makes kind every second time, whatever they were told. How
   much praise before a response raises FLR is reported, as a share of what quality does; it is above 0.

A first run, on seeds 0 to 4, trained scorers for 600 steps. All held but one: after bad responses the scorer's
P(positive) was 0.364 [0.318, 0.404], which is not below 0.4. The fault was ours: on three other seeds it came to 0.29
to 0.32 on responses seen in training after 1500 steps, from 0.33 to 0.34 after 600. So scorers train for 1500 steps
here, on new seeds; no bound was changed.

    python claims/flr.py [--toy] [--workers 2]
"""

from __future__ import annotations

import random
from typing import Any

import torch
from _claim import Expected
from _text import Values, command, supervise
from torch import Tensor

from guerdon.learners import descent, dpo
from guerdon.models import language_model
from guerdon.models.language_model import CausalLM
from guerdon.models.tiny_model import tiny_model
from guerdon.parts import pair_mining, span_scores
from guerdon.rewards.feedback import flr
from guerdon.rewards.feedback.flr import FLR, first_position_logits, follow_up_score
from guerdon.tasks.text import follow_ups
from guerdon.tasks.text.follow_ups import NEGATIVE, POSITIVE, PRAISE, FollowUps
from guerdon.types import Completions

LONG = False
SEEDS = (5, 6, 7, 8, 9)
FIT: dict[str, Any] = {"batch": 32, "lr": 6e-3}  # of the scorers and the policy
TURN = "\n"  # between request, response and follow-up

GIVEN = "on held-out pairs of a good and a bad response"
GAP = "mean FLR of good minus bad responses, over that of the trained scorer"
EXPECTED = [
    Expected("FLR", f"accuracy {GIVEN} (Bayes: 1)", at_least=0.9),
    Expected("positive follow-ups only", f"accuracy {GIVEN}", at_least=0.8),
    Expected("without the response", f"accuracy {GIVEN}", at_least=0.5, at_most=0.5),
    Expected("untrained scorer", f"{GAP} (control)", at_least=-0.2, at_most=0.2),
    Expected("shuffled responses", f"{GAP} (control)", at_least=-0.2, at_most=0.2),
    Expected("calibration: good", "P(positive) of the scorer after good responses; the users': 0.8", 0.7, 0.9),
    Expected("calibration: bad", "P(positive) of the scorer after bad responses; the users': 0.3", 0.2, 0.4),
    Expected("first-position logits", "accuracy of FLR minus theirs", at_least=0.0),
    Expected("DPO on mined pairs", "probability of good responses, after minus before", at_least=0.2),
    Expected("DPO, lists swapped", "probability of good responses, after minus before", at_most=-0.2),
    Expected("flattery", "FLR of bad responses with praise minus without, over good minus bad", at_least=0.0),
]


def reward(*, swapped: bool = False, **options: Any) -> FLR:
    lists = (NEGATIVE, POSITIVE) if swapped else (POSITIVE, NEGATIVE)
    return FLR(categories=("user",), follow_ups={"user": lists}, turn=TURN, **options)


def completions(prompts: list[str], texts: list[str]) -> Completions:
    """Completions that are only read as text."""
    n = len(texts)
    return Completions(
        prompt=[p + TURN for p in prompts], text=texts, ids=torch.zeros(n, 1, dtype=torch.long),
        mask=torch.ones(n, 1, dtype=torch.bool),
    )  # fmt: skip


def scorer(task: FollowUps, seed: int, *, dialogues: int, steps: int, shuffled: bool = False) -> CausalLM:
    """A model that learned what users say after a response."""
    rows = task.rows(dialogues, seed=seed)
    responses = [row["response"] for row in rows]
    if shuffled:
        random.Random(seed).shuffle(responses)
    spoken = [
        {"prompt": row["prompt"] + TURN + response + TURN, "solution": row["follow_up"]}
        for row, response in zip(rows, responses, strict=True)
    ]
    model = tiny_model(seed=seed, max_length=256)
    supervise(model, spoken, steps=steps, seed=seed, **FIT)
    return model


@torch.no_grad()
def scores(made: FLR, model: CausalLM, requests: list[str], texts: list[str]) -> Tensor:
    return made.score(completions(requests, texts), reference=model)


@torch.no_grad()
def raw_scores(model: CausalLM, requests: list[str], texts: list[str]) -> Tensor:
    """What the authors' script would say: the difference of means of `first_position_logits`."""
    found = []
    for request, text in zip(requests, texts, strict=True):
        sides = []
        for said in (POSITIVE, NEGATIVE):
            values = []
            for f in said:
                ids = model.encode(request + TURN + text + TURN + f)
                span = model.split("." + f, 1, 1 + len(f))[1]
                logits = model.module(input_ids=torch.tensor([ids])).logits[0]
                values.append(first_position_logits(logits, torch.tensor(span)))
            sides.append(torch.stack(values))
        found.append(follow_up_score(sides[0], sides[1]))
    return torch.stack(found)


def accuracy(good: Tensor, bad: Tensor) -> float:
    """Share of pairs in which the good response scores more; a tie counts half."""
    return float(((good > bad).float() + 0.5 * (good == bad).float()).mean())


@torch.no_grad()
def positive_share(model: CausalLM, requests: list[str], texts: list[str]) -> float:
    """P(positive) / (P(positive) + P(negative)) of the scorer, over whole follow-ups, on average."""
    dialogues = [(r + TURN, t) for r, t in zip(requests, texts, strict=True)]
    said = [*POSITIVE, *NEGATIVE]
    mean = reward().log_likelihoods(dialogues, said, model)
    total = (mean * torch.tensor([len(f) for f in said])).exp()  # one token a character
    return float((total[:, : len(POSITIVE)].sum(1) / total.sum(1)).mean())


@torch.no_grad()
def quality(policy: CausalLM, task: FollowUps, requests: list[str]) -> float:
    """The probability that the policy, choosing among the task's responses, chooses a good one."""
    end = policy.tokenizer.eos_token_id
    shares = []
    for request in requests:
        start = request + TURN
        pieces = [policy.split(start + r, len(start), len(start) + len(r)) for r in task.responses]
        found = policy.score([before for before, _ in pieces], [[*span, end] for _, span in pieces])
        chosen = (found.log_prob * found.mask).sum(1).softmax(0)
        shares.append(float(chosen[torch.tensor(task.quality).bool()].sum()))
    return sum(shares) / len(shares)


def preferred(policy: CausalLM, model: CausalLM, task: FollowUps, seed: int, toy: bool, *, swapped: bool) -> float:
    """What DPO on pairs mined by FLR adds to the quality of (a copy of) the policy."""
    learner = tiny_model(seed=seed, max_length=256)
    learner.module.load_state_dict(policy.module.state_dict())
    requests = sorted({row["prompt"] for row in task.rows(100, seed=seed, split="test")})
    before = quality(learner, task, requests)
    asked = [requests[i % len(requests)] + TURN for i in range(6 if toy else 48)]
    made = learner.generate(asked, n=4 if toy else 8, temperature=0.7, max_tokens=40, seed=seed)
    with torch.no_grad():
        value = reward(swapped=swapped).score(made, reference=model)
    mined = pair_mining.mine_pairs(value, made.group)
    trainer = dpo.DPO(learner, batch=8, epochs=1 if toy else 3, descent=descent.Descent(lr=3e-4), seed=seed)
    for _ in trainer.train(pair_mining.pairs_of(made, mined)):
        pass
    return quality(learner, task, requests) - before


def one_seed(seed: int, toy: bool) -> tuple[Values, dict[str, Any]]:
    """One seed of everything."""
    torch.set_num_threads(1)
    dialogues, steps, number = (200, 20, 20) if toy else (5000, 1500, 300)
    learned, other = FollowUps(task_seed=2 * seed), FollowUps(task_seed=2 * seed + 1)
    lots = random.Random(seed)
    by_quality = [[r for r, q in zip(other.responses, other.quality, strict=True) if q == good] for good in (1, 0)]
    requests = [row["prompt"] for row in other.rows(number, seed=seed, split="test")]
    good, bad = ([lots.choice(responses) for _ in range(number)] for responses in by_quality)

    def measured(made: FLR, model: CausalLM, *, blind: bool = False) -> float:
        sides = (["" for _ in side] if blind else side for side in (good, bad))
        return accuracy(*(scores(made, model, requests, side) for side in sides))

    def gap(model: CausalLM) -> float:
        high, low = (scores(reward(), model, requests, side) for side in (good, bad))
        return float((high - low).mean())

    untrained = tiny_model(seed=seed, max_length=256)
    model = scorer(learned, seed, dialogues=dialogues, steps=steps)
    mixed = scorer(learned, seed, dialogues=dialogues, steps=steps // 2, shuffled=True)
    kind = FollowUps(task_seed=2 * seed, praise=0.3, flattered=0.5)
    flattered = scorer(kind, seed, dialogues=dialogues, steps=steps)
    praised = scores(reward(), flattered, requests, [f"{PRAISE} {r}" for r in bad])
    plain_good, plain_bad = (scores(reward(), flattered, requests, side) for side in (good, bad))
    few = slice(0, 10 if toy else 60)
    raw = accuracy(*(raw_scores(model, requests[few], side[few]) for side in (good, bad)))
    policy = tiny_model(seed=seed + 100, max_length=256)
    written = [{"prompt": p + TURN, "solution": r} for p in sorted(set(requests)) for r in other.responses]
    loss = supervise(policy, written, steps=20 if toy else 600, seed=seed, **FIT)
    measured_flr = measured(reward(), model)
    values = {
        "FLR": measured_flr,
        "positive follow-ups only": measured(reward(reduce="pos_only"), model),
        "without the response": measured(reward(), model, blind=True),
        "untrained scorer": gap(untrained) / gap(model),
        "shuffled responses": gap(mixed) / gap(model),
        "calibration: good": positive_share(model, requests[few], good[few]),
        "calibration: bad": positive_share(model, requests[few], bad[few]),
        "first-position logits": measured_flr - raw,
        "DPO on mined pairs": preferred(policy, model, other, seed, toy, swapped=False),
        "DPO, lists swapped": preferred(policy, model, other, seed, toy, swapped=True),
        "flattery": float((praised - plain_bad).mean() / (plain_good - plain_bad).mean()),
    }
    seen = {
        "untrained scorer, accuracy": measured(reward(), untrained),
        "shuffled responses, accuracy": measured(reward(), mixed),
        "first-position logits, accuracy": raw,
        "log-sum-exp, accuracy": measured(reward(reduce="log_sum_exp"), model),
        "negative only, accuracy": measured(reward(reduce="neg_only"), model),
        "FLR, good minus bad": float((plain_good - plain_bad).mean()),
        "FLR, praised bad minus bad": float((praised - plain_bad).mean()),
        "praised bad above plain good": float((praised > plain_good).float().mean()),
        "quality before": quality(policy, other, sorted(set(requests))),
        "policy's loss, nats a token": loss,
    }
    return values, seen


if __name__ == "__main__":
    command(
        None, script=__file__, doc=__doc__, expected=EXPECTED, one_seed=one_seed, seeds=SEEDS, method=flr,
        parts=(span_scores, pair_mining, dpo, follow_ups, language_model),
    )  # fmt: skip
