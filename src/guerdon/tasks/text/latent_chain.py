"""A question, a chain of hidden thought, an answer: small enough that the right chain is known."""

from __future__ import annotations

import string
from random import Random

from guerdon.tasks.text.splits import Row, Split, random_of


class LatentChain:
    """x -> one of `chains` chain letters -> an answer of digits that depends on the chain alone.

        prompt "Q3:"    solution "c=815"    answer "815"    chain "c"

    Which chain is right for a question and which answer a chain leads to is drawn from `task_seed`. A policy trained on
    `demonstrations`, whose chains are random, knows the answer of each chain and nothing of which chain is right; a
    reward for the likelihood of the answer can teach it that. With `unpredictable`, that share of the references has
    one digit replaced by another, drawn anew each time: a synonym that nobody can foresee.

    Columns: `answer` (the reference), `true_answer` (before a digit was replaced), `chain`, `solution`. There are as
    many questions as `questions`, so that the splits hold the same ones, in other orders.

    Args:
        questions: how many there are.
        chains: how many chain letters there are, at most 26.
        length: digits of an answer.
        unpredictable: share of references with one unforeseeable digit.
        task_seed: of the hidden tables.
    """

    def __init__(
        self,
        *,
        questions: int = 8,
        chains: int = 8,
        length: int = 3,
        unpredictable: float = 0.0,
        task_seed: int = 0,
    ) -> None:
        if questions < 1 or length < 1 or not 2 <= chains <= 26:
            raise ValueError(f"questions >= 1, length >= 1, 2 <= chains <= 26; got {questions}, {length}, {chains}")
        if not 0 <= unpredictable <= 1:
            raise ValueError(f"unpredictable is a share, got {unpredictable}")
        if chains > 10**length:
            raise ValueError(f"{chains} chains need different answers: make length at least {len(str(chains - 1))}")
        self.questions, self.chains, self.length = questions, chains, length
        self.unpredictable, self.task_seed = unpredictable, task_seed
        random = Random(f"tables {task_seed}")
        self.letters = list(string.ascii_lowercase[:chains])
        codes = random.sample(range(10**length), chains)
        self.answers = {z: str(code).zfill(length) for z, code in zip(self.letters, codes, strict=True)}
        self.right = [random.choice(self.letters) for _ in range(questions)]

    def rows(self, n: int, seed: int = 0, *, split: Split = "train") -> list[Row]:
        """`n` questions with their right chains and references."""
        random = random_of(seed, split)
        return [self._row(random, x, self.right[x]) for x in self._questions(random, n)]

    def demonstrations(self, n: int, seed: int = 0, *, split: Split = "train") -> list[Row]:
        """`n` questions with random chains and the answers these lead to: what a policy can learn to write first."""
        random = random_of(seed, split)
        return [self._row(random, x, random.choice(self.letters), faithful=True) for x in self._questions(random, n)]

    def _questions(self, random: Random, n: int) -> list[int]:
        return [random.randrange(self.questions) for _ in range(n)]

    def _row(self, random: Random, x: int, chain: str, *, faithful: bool = False) -> Row:
        true = answer = self.answers[chain]
        if not faithful and random.random() < self.unpredictable:
            at = random.randrange(self.length)
            other = random.choice([d for d in string.digits if d != true[at]])
            answer = true[:at] + other + true[at + 1 :]
        prompt = f"Q{x}:"
        return {
            "prompt": prompt,
            "answer": answer,
            "true_answer": true,
            "chain": chain,
            "solution": f"{chain}={true}",
        }
