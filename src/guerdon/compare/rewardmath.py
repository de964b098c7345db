"""RewardMATH: one right solution of a problem against nine wrong ones from different models.

Kim et al., "Evaluating Robustness of Reward Models for Mathematical Reasoning", 2024, https://arxiv.org/abs/2410.01729.
A model must lead all nine at once: accuracy, accuracy with ties, MRR and the mean share of pairs won.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.parts.one_to_many import METRICS, Scores, accuracy
from guerdon.parts.questions import Question
from guerdon.parts.step_aggregators import Aggregator, aggregate_lists

RIGHT = "human_to_GPT-4"
"""What `solution_reference` calls the right solution."""


def read_scores(
    rows: Sequence[Mapping[str, Any]], *, how: Aggregator | None = None, where: str = "RewardMATH"
) -> list[tuple[str, Scores]]:
    """Problem and scores of each row {problem, solution_reference, score} of a score file of the authors.

    Args:
        rows: in their order; two of the public files hold two problems twice.
        how: makes one number of the step scores of a process reward model; None for files with one number a solution.
        where: the file, for messages.

    Raises:
        ValueError: a field is missing, the lists differ in length, no right or no wrong solution is there, step scores
            come without `how` or numbers with it, or a number is NaN or (a step's) outside of 0..1.
    """
    found = []
    for i, row in enumerate(rows):
        if missing := [name for name in ("problem", "solution_reference", "score") if name not in row]:
            raise ValueError(f"{where}, row {i} has no {' and no '.join(missing)}")
        names, values = row["solution_reference"], row["score"]
        if len(names) != len(values):
            raise ValueError(f"{where}, row {i}: {len(names)} solutions and {len(values)} scores")
        if any(isinstance(v, list) for v in values) != (how is not None):
            raise ValueError(f"{where}, row {i}: {'numbers need no' if how else 'step scores need an'} aggregator")
        try:
            numbers = aggregate_lists(values, how) if how else [float(v) for v in values]
            right = [v for v, name in zip(numbers, names, strict=True) if name == RIGHT]
            scores = Scores(right, [v for v, name in zip(numbers, names, strict=True) if name != RIGHT])
            accuracy(scores)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}, row {i}: {error}") from error
        found.append((row["problem"], scores))
    return found


def joined(tables: Mapping[str, Sequence[tuple[str, Scores]]]) -> dict[str, list[Scores]]:
    """Each table's scores of the problems that all of them hold, in one order; of a problem twice in one, its first."""
    by: dict[str, dict[str, Scores]] = {name: {} for name in tables}
    for name, table in tables.items():
        for problem, scores in table:
            by[name].setdefault(problem, scores)
    shared = [problem for problem in next(iter(by.values())) if all(problem in table for table in by.values())]
    return {name: [table[problem] for problem in shared] for name, table in by.items()}


def summary(scores: Sequence[Scores]) -> dict[str, float]:
    """In percent: accuracy, accuracy with ties, MRR and the mean share of pairs won."""
    return {name: 100 * float(np.mean([metric(s) for s in scores])) for name, metric in METRICS.items()}


def read_problems(rows: Sequence[Mapping[str, Any]], where: str = "RewardMATH") -> list[Question]:
    """Questions of the benchmark file, one row a solution: {problem_id, problem, eval_solution (steps), solution_type}.

    Steps are joined by line breaks. The pairwise file (eval_solution_A, eval_solution_B, chosen_position) is read too.

    Raises:
        ValueError: a field is missing, or a problem has no right or no wrong solution.
    """
    prompts: dict[str, str] = {}
    answers: dict[str, tuple[dict[str, None], dict[str, None]]] = {}  # right and wrong, each once, in order
    for i, row in enumerate(rows):
        pairwise = "chosen_position" in row
        needed = ("eval_solution_A", "eval_solution_B") if pairwise else ("eval_solution", "solution_type")
        if missing := [name for name in ("problem_id", "problem", *needed) if name not in row]:
            raise ValueError(f"{where}, row {i} has no {' and no '.join(missing)}")
        key = str(row["problem_id"])
        prompts[key] = row["problem"]
        right, wrong = answers.setdefault(key, ({}, {}))
        if pairwise:
            chosen, other = ("A", "B") if row["chosen_position"] == "A" else ("B", "A")
            right[_joined(row[f"eval_solution_{chosen}"])] = None
            wrong[_joined(row[f"eval_solution_{other}"])] = None
        else:
            (right if row["solution_type"] == "chosen" else wrong)[_joined(row["eval_solution"])] = None
    return [
        Question(f"{where}, problem {key}", prompts[key], tuple(right), tuple(wrong), "RewardMATH")
        for key, (right, wrong) in answers.items()
    ]


def _joined(steps: str | list[str]) -> str:
    return steps if isinstance(steps, str) else "\n".join(steps)
