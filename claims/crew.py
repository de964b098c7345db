r"""Claim of CRew: confidence in the final answer tells right from wrong, and CRew-DPO makes it tell them better.

Synthetic arithmetic modulo 10, "3+4+8=" -> "qav zzo 3+4=7 hie 7+8=\boxed{5}": a running sum, and up to six filler words
of random letters, each there at a rate that the solution draws from [0, 1]. A tiny Llama (80 000 parameters) is trained
from scratch on right solutions, until 60 % of what it samples is right, and then writes 16 solutions to each of 150
held-out questions at temperature 1. Scores of a solution: (i) CRew, the mean probability of its answer's tokens after
its own rationale; (ii) the mean log-probability of all its tokens (perplexity); (iii) a random number; and, as
controls, (iv) the mean probability of all its tokens and (v) CRew's answer tokens without the rationale.

Pilots on other seeds settled the design. With the last step written out, as the card can be read, the box only copies
it, and confidence in a copy says nothing (AUC 0.52, perplexity 0.95): here its result stands in the box alone. With
fillers from a list of six words perplexity was not dominated by them, and beat CRew (0.77 against 0.65): a model's own
slips are unlikely tokens, wherever in the solution they are. Hence the random letters, with which CRew was ahead on one
pilot seed (0.77 against 0.62) and behind on the other (0.65 against 0.76). The card's margin is kept all the same.

Stated before the run, as 95 % intervals of the mean over seeds:

1. AUC of right against wrong solutions, among those that give an answer: (i) exceeds (ii) by at least 0.05, since
   filler dominates perplexity; (iii) is 0.5; (iv) does not reach (i); (v) lies well below (i).
2. Best-of-16 by (i) is right more often than a random pick; the vote weighted by (i) is no worse than the majority.
3. One round of CRew-DPO (pairs from training questions, one a question with the largest gap in confidence): the gap in
   mean confidence between right and wrong solutions of the held-out questions, rescored, grows; by more than with pairs
   of random right and wrong solutions (plain DPO); and shrinks with chosen and rejected swapped.

The first reported run (seeds 10-14) did not hold: (i) exceeded (ii) by only 0.03 [-0.03, 0.10], and best-of-16 lost
0.16 [0.10, 0.22] against a random pick. Two of its seeds, looked into, say why: among solutions whose rationale is
right, (i) has an AUC of 0.95 and 0.98 (perplexity 0.55 and 0.57); whether the rationale is right it does not see (0.51
and 0.52), since the answer follows confidently from a false one, and 90 of 96 wrong picks of best-of-16 were of that
kind. Point 3 held: 0.019 [0.006, 0.034], and 0.007 [0.000, 0.014] more than plain DPO. This run, on other seeds, keeps
every bound and adds two:

4. AUC among solutions whose rationale is right: (i) exceeds (ii) by at least 0.2. Between right solutions and those
   with a wrong rationale, (i) is 0.5 (within 0.1): what CRew cannot see.

In closed form: with two possible answers of known chances, CRew equals them.

    python claims/crew.py [--toy] [--workers N]
"""

from __future__ import annotations

import copy
import random
import re
import string
from typing import Any

import torch
from _claim import Expected
from _text import Values, command, supervise
from sklearn.metrics import roc_auc_score
from torch import Tensor

from guerdon.learners import dpo
from guerdon.learners.descent import Descent
from guerdon.learners.dpo import DPO
from guerdon.models.language_model import CausalLM
from guerdon.models.tiny_model import tiny_model
from guerdon.parts import pair_mining, span_scores
from guerdon.parts.answers import extract_answer, find_answer, majority, rows_of_groups
from guerdon.parts.pair_mining import Mined, pairs_of
from guerdon.parts.span_scores import Span, over_spans, score_spans
from guerdon.rewards.likelihood import CRew, crew
from guerdon.rewards.likelihood.crew import answer_confidence, best_of_n, confidence_gap_pairs, weighted_vote
from guerdon.rewards.verifiable import ExactMatch
from guerdon.tasks.text import Arithmetic, Row
from guerdon.types import Completions

LONG = False
SEEDS = (20, 21, 22, 23, 24)
N = 16
LETTERS = string.ascii_lowercase + "0123456789 +=\\{}"
AUC, GAP = "AUC of right against wrong solutions", "mean confidence of right minus wrong solutions"

EXPECTED = [
    Expected("closed form", "largest |CRew - p| of two answers", at_most=1e-6),
    Expected("accuracy of the model", "share of right solutions before DPO", at_least=0.45, at_most=0.9),
    Expected("CRew minus perplexity", AUC, at_least=0.05),
    Expected("random", AUC, at_least=0.45, at_most=0.55),
    Expected("CRew minus whole solution", f"{AUC} (mean probability of all tokens)", at_least=0.0),
    Expected("CRew minus without rationale", AUC, at_least=0.05),
    Expected("right rationale: CRew minus perplexity", f"{AUC}, of those whose rationale is right", at_least=0.2),
    Expected("wrong rationale: CRew", "AUC of right solutions against those", at_least=0.4, at_most=0.6),
    Expected("best of 16 minus random pick", "accuracy", at_least=0.0),
    Expected("weighted vote minus majority", "accuracy", at_least=-0.01),
    Expected("CRew-DPO", f"change of {GAP}", at_least=0.0),
    Expected("CRew-DPO minus plain DPO", f"change of {GAP}", at_least=0.0),
    Expected("CRew-DPO, swapped", f"change of {GAP} (control)", at_most=0.0),
]


def styled(task: Arithmetic, n: int, seed: int) -> list[Row]:
    """Training rows whose solutions leave the result of the last step to the answer and are full of filler."""
    chance = random.Random(seed)
    rows = task.rows(n, seed)
    for row in rows:
        rate, (a, b, c) = chance.random(), row["terms"]
        words = ["".join(chance.choices(string.ascii_lowercase, k=3)) for _ in range(6) if chance.random() < rate]
        cut, total = chance.randint(0, len(words)), (a + b) % 10
        last = f"{total}+{c}=\\boxed{{{row['answer']}}}"
        row["solution"] = " ".join([*words[:cut], f"{a}+{b}={total}", *words[cut:], last])
    return rows


def taught(task: Arithmetic, seed: int, toy: bool) -> CausalLM:
    """A model trained until 60 % of its solutions to questions it was trained on are right."""
    model = tiny_model(seed=seed, width=64, layers=2, characters=LETTERS, max_length=80, spread=0.05)
    rows = styled(task, 100 if toy else 8000, seed)
    for more in range(1 if toy else 30):
        supervise(model, rows, steps=60, batch=32, seed=1000 * seed + more)
        if more > 3 and solve(model, rows[:16], seed)[1].float().mean() >= 0.6:
            break
    return model


def solve(model: CausalLM, rows: list[Row], seed: int) -> tuple[Completions, Tensor]:
    """N solutions of each question, and which are right."""
    made = model.generate([row["prompt"] for row in rows], n=N, max_tokens=50, seed=seed)
    made.columns = {"answer": [row["answer"] for row in rows for _ in range(N)]}
    return made, ExactMatch(how="boxed").score(made).bool()


@torch.no_grad()
def scores_of(model: CausalLM, made: Completions, seed: int) -> dict[str, Tensor]:
    """[rows] of each score; NaN where a solution has no answer."""
    whole = score_spans(model, made.prompt, [Span(t, 0, len(t)) if t else None for t in made.text])
    answers = [find_answer(text, "boxed") for text in made.text]
    bare = ["" if at is None else f"\\boxed{{{t[slice(*at)]}}}" for t, at in zip(made.text, answers, strict=True)]
    return {
        "CRew": answer_confidence(model, made.prompt, made.text),
        "perplexity": over_spans(whole, "mean_logp", empty=torch.nan, name="claim"),
        "random": torch.rand(len(made.text), generator=torch.Generator().manual_seed(seed)),
        "whole solution": over_spans(whole, "mean_prob", empty=torch.nan, name="claim"),
        "without rationale": answer_confidence(model, made.prompt, bare),
    }


def right_rationales(made: Completions, rows: list[Row]) -> Tensor:
    """Which solutions add the right numbers up to the last step."""
    found = []
    for text, row in zip(made.text, [row for row in rows for _ in range(N)], strict=True):
        a, b, c = row["terms"]
        total = (a + b) % 10
        steps = re.findall(r"(\d)\+(\d)=(\d|\\boxed)", text)
        found.append(steps == [(str(a), str(b), str(total)), (str(total), str(c), "\\boxed")])
    return torch.tensor(found)


def gap(confidence: Tensor, right: Tensor) -> float:
    """Mean confidence of right minus wrong solutions that have an answer."""
    scored = ~confidence.isnan()
    return float(confidence[right & scored].mean() - confidence[~right & scored].mean())


def random_pairs(right: Tensor, group: Tensor, confidence: Tensor, seed: int) -> list[Mined]:
    """A right and a wrong solution of each question that has both, whatever their confidence: plain DPO."""
    generator, pairs = torch.Generator().manual_seed(seed), []
    for rows in rows_of_groups(group, len(right)):
        usable = [i for i in rows if not confidence[i].isnan()]
        sides = [[i for i in usable if bool(right[i]) == wanted] for wanted in (True, False)]
        if all(sides):
            won, lost = (side[int(torch.randint(len(side), (), generator=generator))] for side in sides)
            pairs.append(Mined(won, lost, 0.0))
    return pairs


def after_dpo(model: CausalLM, made: Completions, pairs: list[Mined], seed: int) -> CausalLM:
    """The model after one round of DPO from itself on these pairs."""
    policy = CausalLM(copy.deepcopy(model.module), model.tokenizer, max_length=model.max_length)
    for _ in DPO(policy, batch=16, epochs=2, seed=seed, descent=Descent(lr=1e-4)).train(pairs_of(made, pairs)):
        pass
    return policy


def closed_form() -> float:
    """The largest difference between CRew and the chances that the model's own distribution gives to two answers."""
    model = tiny_model(seed=0, characters="0123456789 +=\\{}bdexo", max_length=40)
    prefix, _ = model.split("1+1=\\boxed{2}", 11, 12)
    tokens = [model.split(f"1+1=\\boxed{{{d}}}", 11, 12)[1] for d in "27"]
    with torch.no_grad():
        p = model.score([prefix] * 2, tokens).log_prob[:, 0].exp()
        c = answer_confidence(model, ["1+1="] * 2, ["\\boxed{2}", "\\boxed{7}"])
    return float((p - c).abs().max())


def one_seed(seed: int, toy: bool) -> tuple[Values, dict[str, Any]]:
    """Everything that a seed gives."""
    torch.set_num_threads(1)
    task = Arithmetic(terms=3)
    model = taught(task, seed, toy)
    questions = task.rows(12 if toy else 150, seed, split="test")
    held, right = solve(model, questions, seed)
    scores = scores_of(model, held, seed)
    if toy and not bool(right.any()):
        right[::3] = True  # too little was learnt to be right by chance; the rest must run all the same
    assert held.group is not None
    stated = ~scores["CRew"].isnan()
    sound = right_rationales(held, questions)
    if toy:  # where everything may be of one kind
        sound[1::2], sound[0::2] = True, False
        right[1] = True

    def aucs(among: Tensor) -> dict[str, float]:
        rows = stated & among
        return {name: float(roc_auc_score(right[rows], s[rows])) for name, s in scores.items()}

    auc, given, against = aucs(stated), aucs(sound), aucs(right | ~sound)
    confidence = CRew().score(held, reference=model).detach()
    answers = [extract_answer(text, "boxed") for text in held.text]
    gold = held.column("answer", "claim")[::N]
    best = float(right[best_of_n(confidence, held.group)].float().mean())
    votes = {
        "weighted": [vote.answer for vote in weighted_vote(answers, confidence, held.group)],
        "majority": [majority([answers[i] for i in rows]).answer for rows in rows_of_groups(held.group, len(answers))],
    }
    accuracy = {name: sum(a == b for a, b in zip(v, gold, strict=True)) / len(gold) for name, v in votes.items()}

    made, correct = solve(model, task.rows(12 if toy else 300, seed + 1), seed + 1)
    if toy and not bool(correct.any()):
        correct[::3] = True
    with torch.no_grad():
        sure = answer_confidence(model, made.prompt, made.text)
    assert made.group is not None
    mined = confidence_gap_pairs(sure, correct, made.group)
    arms = {
        "CRew-DPO": mined,
        "plain DPO": random_pairs(correct, made.group, sure, seed),
        "swapped": [Mined(p.rejected, p.chosen, -p.gap) for p in mined],
    }
    before, gaps = gap(scores["CRew"], right), {}
    solved = {}
    for name, pairs in arms.items():
        judge = after_dpo(model, made, pairs, seed)
        gaps[name] = gap(scores_of(judge, held, seed)["CRew"], right) - before
        solved[name] = float(solve(judge, questions, seed)[1].float().mean())
    values = {
        "closed form": closed_form(),
        "accuracy of the model": float(right.float().mean()),
        "random": auc["random"],
        **{f"CRew minus {n}": auc["CRew"] - auc[n] for n in ("perplexity", "whole solution", "without rationale")},
        "right rationale: CRew minus perplexity": given["CRew"] - given["perplexity"],
        "wrong rationale: CRew": against["CRew"],
        "best of 16 minus random pick": best - float(right.float().mean()),
        "weighted vote minus majority": accuracy["weighted"] - accuracy["majority"],
        "CRew-DPO": gaps["CRew-DPO"],
        "CRew-DPO minus plain DPO": gaps["CRew-DPO"] - gaps["plain DPO"],
        "CRew-DPO, swapped": gaps["swapped"],
    }
    seen = {
        "auc": auc,
        "auc, right rationale": given,
        "auc, wrong rationale": against,
        "best of 16": best,
        "votes": accuracy,
        "gap before": before,
        "pairs": len(mined),
    }
    return values, seen | {"accuracy after": solved, "change of gap": gaps}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    return command(
        argv, script=__file__, doc=__doc__, expected=EXPECTED, one_seed=one_seed, seeds=SEEDS, method=crew,
        parts=(span_scores, pair_mining, dpo),
    )  # fmt: skip


if __name__ == "__main__":
    main()
