"""Arithmetic with a written chain: each step on the page, the answer behind a mark."""

from __future__ import annotations

import operator
from random import Random
from typing import Any

from guerdon.tasks.text.splits import Row, Split, draw

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
FILLERS = ("well", "so", "now", "ok", "let me see", "hm", "right", "then")


class Arithmetic:
    r"""Sums (or differences, products) from left to right, modulo `modulus`, with the running result written down.

        prompt "3+4+8="    solution "3+4=7 7+8=5 #### 5"    answer "5"

    Columns: `answer`; `solution`, a right worked answer, for supervised training; `terms`, the numbers. With `filler`,
    a row draws a rate in [0, filler] and each step of its solution is preceded by a filler word with that probability:
    noise of style, which says nothing about the result. About a fifth of the questions are held out for "test".

    Args:
        terms: numbers in a question.
        largest: of the numbers, which begin at 0.
        modulus: of every result; None keeps whole numbers.
        operations: drawn from these: "+", "-", "+-" or "*".
        filler: largest rate of filler words.
        mark: what stands before and after the answer, such as ("\boxed{", "}").
    """

    def __init__(
        self,
        *,
        terms: int = 3,
        largest: int = 9,
        modulus: int | None = 10,
        operations: str = "+",
        filler: float = 0.0,
        mark: tuple[str, str] = ("#### ", ""),
    ) -> None:
        if terms < 2 or largest < 1 or (modulus is not None and modulus < 2):
            raise ValueError(
                f"terms >= 2, largest >= 1 and modulus >= 2 (or None) are needed, got {terms}, {largest}, {modulus}"
            )
        if operations not in ("+", "-", "+-", "*"):  # what is the same from left to right and by precedence
            raise ValueError(f"operations is '+', '-', '+-' or '*', not {operations!r}")
        if not 0 <= filler <= 1:
            raise ValueError(f"filler is a probability, got {filler}")
        self.terms, self.largest, self.modulus, self.operations = terms, largest, modulus, operations
        self.filler, self.mark = filler, mark

    def rows(self, n: int, seed: int = 0, *, split: Split = "train") -> list[Row]:
        """`n` questions."""
        return draw(self._row, n, seed, split)

    def _row(self, random: Random) -> Row:
        numbers = [random.randint(0, self.largest) for _ in range(self.terms)]
        signs = [random.choice(self.operations) for _ in numbers[1:]]
        question = str(numbers[0]) + "".join(f"{s}{x}" for s, x in zip(signs, numbers[1:], strict=True)) + "="
        result, steps = self._reduce(numbers[0]), []
        for sign, number in zip(signs, numbers[1:], strict=True):
            after = self._reduce(_OPERATIONS[sign](result, number))
            steps.append(f"{result}{sign}{number}={after}")
            result = after
        steps.append(f"{self.mark[0]}{result}{self.mark[1]}")
        rate = random.uniform(0, self.filler)
        written = " ".join(w for s in steps for w in ([random.choice(FILLERS)] * (random.random() < rate) + [s]))
        return {"prompt": question, "answer": str(result), "solution": written, "terms": numbers}

    def _reduce(self, value: int) -> Any:
        return value if self.modulus is None else value % self.modulus
