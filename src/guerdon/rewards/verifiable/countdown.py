"""Countdown: reach a number from given ones. Hard to find, easy to check."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.answers import extract_answer
from guerdon.types import About, Completions, Reward

_SIGNS = str.maketrans({"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "\N{MINUS SIGN}": "-"})


class Countdown(Reward):
    """Pays 1 for an expression that makes the target out of the given numbers, and 0 for anything else.

        r = 1[value(e) = target and e uses the numbers as often as they are given]

    e is the left side of the answer ("(3 + 4) * 2" or "(3 + 4) * 2 = 14"), written with + - * / and parentheses, worked
    out in exact fractions; division by zero is wrong. [N] float32, 0 or 1. Nothing is evaluated as code.

    The generation-verification asymmetry of "How Far Can Unsupervised RLVR Scale LLM Training?", 2026; the task is that
    of Gandhi et al., "Stream of Search", 2024.

    Args:
        numbers: column with the numbers of each row: a sequence, or a text with integers in it.
        target: column with the number to reach.
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
        use_all: every number must be used; False: none more often than it is given.
    """

    about: ClassVar[About] = About(
        rewards="an expression that reaches the target",
        paper="How Far Can Unsupervised RLVR Scale LLM Training? (2026)",
        link="https://arxiv.org/abs/2603.08660",
        scores="Completions",
        example="Countdown(numbers='answer', target='answer', use_all=False)",
    )

    def __init__(
        self,
        *,
        numbers: str = "numbers",
        target: str = "target",
        how: str | Sequence[str] = ("<answer>", "boxed"),
        use_all: bool = True,
    ) -> None:
        super().__init__()
        self.numbers, self.target, self.how, self.use_all = numbers, target, how, use_all

    def score(self, experience: Completions, **_: object) -> Tensor:
        given = [_read_numbers(n, self.name) for n in experience.column(self.numbers, self.name)]
        targets = [Fraction(str(t)) for t in experience.column(self.target, self.name)]
        values = [
            (answer := extract_answer(text, self.how)) is not None
            and solves(answer, numbers, target, use_all=self.use_all)
            for text, numbers, target in zip(experience.text, given, targets, strict=True)
        ]
        return torch.tensor(values, device=experience.ids.device).float()


def solves(answer: str, numbers: Iterable[int], target: Fraction | int, *, use_all: bool = True) -> bool:
    """Whether `answer` makes `target` out of `numbers`; see `Countdown`. False for what is no such expression."""
    try:
        value, used = work_out(answer.partition("=")[0])
    except (ValueError, ZeroDivisionError):
        return False
    there = Counter(numbers)
    return value == target and (used == there if use_all else used <= there)


def work_out(expression: str) -> tuple[Fraction, Counter[int]]:
    """The exact value of an expression of whole numbers, + - * / and parentheses, and how often it has each number.

    Raises ValueError for anything else or more than 1000 characters, ZeroDivisionError where it divides by 0.
    """
    if len(expression) > 1000:
        raise ValueError(f"an expression of {len(expression)} characters")
    try:
        tree = ast.parse(expression.strip().translate(_SIGNS), mode="eval")
        used: Counter[int] = Counter()
        return _value(tree.body, used), used
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{expression!r} is no expression") from error


def _value(node: ast.expr, used: Counter[int]) -> Fraction:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            used[number] += 1
            return Fraction(number)
        case ast.BinOp(left, ast.Add(), right):
            return _value(left, used) + _value(right, used)
        case ast.BinOp(left, ast.Sub(), right):
            return _value(left, used) - _value(right, used)
        case ast.BinOp(left, ast.Mult(), right):
            return _value(left, used) * _value(right, used)
        case ast.BinOp(left, ast.Div(), right):
            return _value(left, used) / _value(right, used)
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand, used)
    raise ValueError(f"{ast.unparse(node)!r} is not made of whole numbers, + - * / and parentheses")


def _read_numbers(numbers: str | Iterable[int], name: str) -> list[int]:
    found = re.findall(r"\d+", numbers) if isinstance(numbers, str) else list(numbers)
    if not found:
        raise ValueError(f"{name} was given a row without numbers")
    return [int(n) for n in found]
