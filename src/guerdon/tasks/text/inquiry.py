"""The inquiry game: find out what a user wants by asking about one or two attributes at a time."""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

from guerdon.tasks.text.splits import Row, Split, random_of

ATTRIBUTES = (
    "colour", "shape", "size", "font", "layout", "border", "shadow", "arrow", "label", "legend",
    "axis", "grid", "title", "icon", "margin", "texture", "symbol", "caption", "panel", "scale",
)  # fmt: skip


class Reply(NamedTuple):
    """What the user says to a question, and what it rules out: attribute -> the values it may still have."""

    text: str
    constraints: dict[str, set[str]]


class Inquiry:
    """A specification of attributes is drawn from a known prior; an oracle user who knows it answers questions.

    Row: `prompt` (an under-specified request that lists the attributes), `specification` (attribute -> value),
    `answer` (the specification in words, as ``colour=v3 shape=v0``). The attributes, their `domains` and `prior` are
    the task's own, drawn from `task_seed`; beliefs and their entropy are the business of whoever asks.

    Prior probabilities are Dirichlet draws whose skew differs between attributes, so that some say little and some say
    much: with domains of 2 to 16 values their entropies lie between almost 0 and 4 bits.

    Args:
        attributes: how many, at most 20.
        smallest: size of the smallest domain.
        largest: size of the largest domain.
        most: attributes that one question may name; the user answers the first ones.
        coupled: make the last attribute a copy of the first one, which the product of the priors does not know.
        task_seed: of domains and priors.
    """

    def __init__(
        self,
        *,
        attributes: int = 12,
        smallest: int = 2,
        largest: int = 16,
        most: int = 2,
        coupled: bool = False,
        task_seed: int = 0,
    ) -> None:
        if not 1 <= attributes <= len(ATTRIBUTES) or not 2 <= smallest <= largest or most < 1:
            raise ValueError(
                f"1 <= attributes <= {len(ATTRIBUTES)}, 2 <= smallest <= largest and most >= 1 are needed, "
                f"got {attributes}, {smallest}, {largest}, {most}"
            )
        if coupled and attributes < 2:
            raise ValueError("coupled needs two attributes")
        self.attributes, self.smallest, self.largest = attributes, smallest, largest
        self.most, self.coupled, self.task_seed = most, coupled, task_seed
        random = Random(f"priors {task_seed}")
        self.prior: dict[str, dict[str, float]] = {}
        for name in ATTRIBUTES[:attributes]:
            size, concentration = random.randint(smallest, largest), 10 ** random.uniform(-1, 1)
            weights = [random.gammavariate(concentration, 1.0) + 1e-9 for _ in range(size)]
            self.prior[name] = {f"v{i}": w / sum(weights) for i, w in enumerate(weights)}
        if coupled:
            first, *_, last = self.prior
            self.prior[last] = dict(self.prior[first])

    @property
    def domains(self) -> dict[str, list[str]]:
        """The values of each attribute."""
        return {name: list(p) for name, p in self.prior.items()}

    def rows(self, n: int, seed: int = 0, *, split: Split = "train") -> list[Row]:
        """`n` users with their specifications, drawn from the prior."""
        random = random_of(seed, split)
        return [self._row(random) for _ in range(n)]

    def _row(self, random: Random) -> Row:
        specification = {a: random.choices(list(p), list(p.values()))[0] for a, p in self.prior.items()}
        if self.coupled:
            first, *_, last = specification
            specification[last] = specification[first]
        return {
            "prompt": f"Draw a diagram. Ask about: {', '.join(self.prior)}.",
            "answer": " ".join(f"{a}={v}" for a, v in specification.items()),
            "specification": specification,
        }

    def ask(self, specification: dict[str, str], question: str) -> Reply:
        """The oracle's reply: the value of the first `most` attributes that the question names, as whole words."""
        named = re.findall(rf"\b({'|'.join(self.prior)})\b", question.lower())
        asked = list(dict.fromkeys(named))[: self.most]
        if not asked:
            return Reply("I do not know what you mean.", {})
        said = " ".join(f"The {a} is {specification[a]}." for a in asked)
        return Reply(said, self.read(said))

    def read(self, reply: str) -> dict[str, set[str]]:
        """What a reply rules out. Raises ValueError for a value that an attribute does not have."""
        constraints = {}
        for name, value in re.findall(r"\bThe (\w+) is (\w+)\.", reply):
            if name in self.prior:
                if value not in self.prior[name]:
                    raise ValueError(f"{name} has no value {value!r}; it has {', '.join(self.prior[name])}")
                constraints[name] = {value}
        return constraints
