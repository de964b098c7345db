"""Where completions come from: which questions are next, and how they are answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from guerdon.types import Completions, LanguageModel, Scored

Row = dict[str, Any]


class Sampler(Protocol):
    """Answers to questions, with their groups, tokens and sampling log-probabilities.

    It may give answers that it kept, with the log-probabilities under the policy that wrote them, beside new ones: with
    a method ``observe(completions, scored, advantage)`` it is shown every batch after credit. State that a resumed run
    needs belongs into ``state_dict`` and ``load_state_dict``.
    """

    @property
    def temperature(self) -> float:
        """At which `log_prob` is meant."""
        ...

    def __call__(self, rows: Sequence[Row], policy: LanguageModel, generator: torch.Generator) -> Completions: ...


class Filter(Protocol):
    """Weights [N] >= 0 of scored completions; 0 drops one. May have ``state_dict`` and ``load_state_dict``."""

    def __call__(self, completions: Completions, scored: Scored) -> Tensor: ...


class Questions:
    """Rows in an order drawn anew for each pass through them, for ever; its state is how many were taken.

    Args:
        rows: at least one, each with a "prompt" and the same columns.
        seed: of the orders.
    """

    def __init__(self, rows: Sequence[Row], *, seed: int = 0) -> None:
        if not rows:
            raise ValueError("there are no questions to train on")
        for i, row in enumerate(rows):
            if row.keys() != rows[0].keys() or "prompt" not in row:
                raise ValueError(
                    f"question {i} has {sorted(row)}, the first one {sorted(rows[0])}: "
                    "each needs a 'prompt', and all the same columns"
                )
        self.rows, self.seed, self.taken = list(rows), seed, 0
        self._pass, self._order = -1, []

    def take(self, n: int) -> list[Row]:
        """The next `n`; none comes again before all were there."""
        found = []
        for number in range(self.taken, self.taken + n):
            turn, place = divmod(number, len(self.rows))
            if turn != self._pass:
                generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn)
                self._pass, self._order = turn, torch.randperm(len(self.rows), generator=generator).tolist()
            found.append(self.rows[self._order[place]])
        self.taken += n
        return found


class GroupSampler:
    """`n` answers of the policy to each question, as groups; the row's other entries become columns.

    Args:
        n: answers a question.
        max_tokens: of an answer, at most.
        temperature: of the softmax they are drawn from; the learner's log-probabilities are meant at it.
        stop: texts that end an answer.
    """

    def __init__(
        self, *, n: int = 8, max_tokens: int = 256, temperature: float = 1.0, stop: Sequence[str] = ()
    ) -> None:
        if n < 1 or max_tokens < 1 or temperature <= 0:
            raise ValueError(
                f"n >= 1, max_tokens >= 1 and temperature > 0 are needed, got {n}, {max_tokens}, {temperature}; "
                "answers without chance in them teach nothing"
            )
        self.n, self.max_tokens, self.temperature, self.stop = n, max_tokens, temperature, tuple(stop)

    def __call__(self, rows: Sequence[Row], policy: LanguageModel, generator: torch.Generator) -> Completions:
        """Raises ContextOverflow if a prompt and `max_tokens` do not fit into the policy's context."""
        seed = int(torch.randint(2**62, (), generator=generator))
        made = policy.generate(
            [row["prompt"] for row in rows],
            n=self.n, max_tokens=self.max_tokens, temperature=self.temperature, stop=self.stop, seed=seed,
        )  # fmt: skip
        asked = [rows[i] for i in made.group.tolist()]  # type: ignore[union-attr]
        made.columns = {name: [row[name] for row in asked] for name in rows[0] if name != "prompt"}
        return made
