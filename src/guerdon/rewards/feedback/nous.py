"""Nous: a question is worth the bits of uncertainty that the user's answer takes away."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from guerdon.parts.factored_belief import Updated, belief_entropy, check_belief, hard_update, soft_update
from guerdon.parts.progress_difference import progress_difference
from guerdon.parts.step_placement import place_steps, turn_ends
from guerdon.types import About, Completions, Experience, Reward

Answer = Mapping[str, Collection[str] | Mapping[str, float]]
"""What a user's answer says: attribute -> the values it may still have, or -> value -> P(answer | value)."""


class World(NamedTuple):
    """The attributes of a specification with their values, and the belief before any answer."""

    values: dict[str, dict[str, int]]  # attribute -> value -> place
    prior: Tensor  # [M, V], 0 beyond an attribute's own values

    @classmethod
    def of(cls, prior: Mapping[str, Mapping[str, float]]) -> World:
        """A prior by names; raises ValueError for none, negative mass, or an attribute that does not sum to 1."""
        if not prior or not all(prior.values()):
            raise ValueError("a prior needs attributes, and every attribute values")
        values = {name: {value: i for i, value in enumerate(p)} for name, p in prior.items()}
        table = torch.zeros(len(prior), max(map(len, prior.values())), dtype=torch.float64)
        for row, p in zip(table, prior.values(), strict=True):
            row[: len(p)] = torch.tensor(list(p.values()), dtype=torch.float64)
        return cls(values, check_belief(table, "the prior"))

    def update(self, belief: Tensor, answer: Answer, *, floor: float = 0.0) -> Updated:
        """The belief [M, V] after an answer; raises ValueError for an attribute or a value that is not there."""
        allowed, likelihood = torch.ones_like(self.prior, dtype=torch.bool), torch.ones_like(self.prior)
        for name, said in answer.items():
            if name not in self.values:
                raise ValueError(f"there is no attribute {name!r}; there are {', '.join(self.values)}")
            places = self.values[name]
            if unknown := [v for v in said if v not in places]:
                raise ValueError(f"{name} has no value {unknown[0]!r}; it has {', '.join(places)}")
            row = list(self.values).index(name)
            if isinstance(said, Mapping):
                likelihood[row] = 0.0
                for value, p in said.items():
                    likelihood[row, places[value]] = p
            else:
                allowed[row] = False
                allowed[row, [places[v] for v in said]] = True
        hard = hard_update(belief, allowed, self.prior, floor=floor)
        soft = soft_update(hard.belief, likelihood, self.prior)
        return Updated(soft.belief, hard.contradicted | soft.contradicted)


class EntropyReduction(Reward):
    """Pays a turn for the bits that the user's answer to it removed from a factored belief.

        b(A) = prod_j b_j(A_j),   H(b) = sum_j w_j H(b_j) in bits,   r_t = H(b_{t-1}) - H(b_t)

    That is IGPO's difference with the belief's value Phi = -H. A row's sum is H(b_0) - H(b_T); over truthful users, the
    expected r is the mutual information of answer and specification. Float32 [N, L] on the last generated token of
    every turn; a full answer pays H(b_j), at least 0, and one to what is known pays 0; partial or soft answers may pay
    less than 0. A row whose answers are None is not scored (NaN).

    The column `constraints` holds for every row a list with an entry a turn: what the user's answer says of attributes,
    ``{"colour": ["red", "blue"]}`` (the values it may still have) or ``{"colour": {"red": 0.8, "blue": 0.1}}`` (the
    likelihood of the answer; values left out have 0), and {} or None where nothing could be read. It must come from
    the user's answer, never from what the policy guesses. Of a question's attributes the first `at_most` count, for
    otherwise asking for everything at once is best. A contradictory answer starts its attribute anew from the prior on
    what it allows, which may pay less than 0, with a warning.

    "Dialogue as Discovery: Navigating Human Intent Through Principled Inquiry" (Nous), 2025. Reconstructed from the
    abstract and its reviews; contradictions, soft answers, floor, weights and the cap are our choice. Attributes are
    taken as independent: for two that go together the gain is overstated by their mutual information.

    Args:
        prior: attribute -> value -> probability (frequencies in a corpus of specifications). It fixes what can be
            asked, so that entropy cannot be farmed by inventing attributes.
        constraints: column of answers, see above.
        weights: attribute -> weight, at least 0; 1 where a name is missing.
        at_most: attributes a question, or None for any number.
        floor: probability that excluded values keep (1e-3 where a parser errs), see `parts.factored_belief`.

    Raises:
        ValueError: a prior or weight that is none, no steps, another number of answers than turns, an unknown
            attribute or value.
    """

    about: ClassVar[About] = About(
        rewards="questions whose answers tell much about what the user wants",
        paper="Dialogue as Discovery: Navigating Human Intent Through Principled Inquiry (2025)",
        link="https://arxiv.org/abs/2510.27410",
        scores="Completions",
        claim="nous",
        example="EntropyReduction(prior={'colour': {'red': 0.5, 'blue': 0.25, 'green': 0.25}})",
    )

    def __init__(
        self,
        *,
        prior: Mapping[str, Mapping[str, float]],
        constraints: str = "constraints",
        weights: Mapping[str, float] | None = None,
        at_most: int | None = 2,
        floor: float = 0.0,
    ) -> None:
        super().__init__()
        if unknown := set(weights or ()) - set(prior):
            raise ValueError(f"EntropyReduction has weights of {sorted(unknown)}, which the prior has not")
        if (at_most is not None and at_most < 1) or not 0 <= floor < 1:
            raise ValueError(f"EntropyReduction needs at_most >= 1 and 0 <= floor < 1, got {at_most} and {floor}")
        self.prior, self.constraints, self.weights = prior, constraints, weights
        self.at_most, self.floor = at_most, floor

    @functools.cached_property
    def world(self) -> World:
        """The prior as a table."""
        return World.of(self.prior)

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        assert isinstance(experience, Completions)
        ends = turn_ends(experience, self.name)
        rows = experience.column(self.constraints, self.name)
        counts = ends.sum(1).tolist()
        gains = torch.zeros(len(rows), max(counts, default=0), dtype=torch.float64)
        for row, (answers, turns) in enumerate(zip(rows, counts, strict=True)):
            if answers is None:
                gains[row] = torch.nan
                continue
            if len(answers) != turns:
                raise ValueError(
                    f"{self.name}: row {row} has {turns} turns and {len(answers)} entries in {self.constraints!r}: "
                    "give one a turn, {} where the answer says nothing"
                )
            gains[row, :turns] = self.gains(answers)
        return place_steps(gains.float().to(ends.device), ends)

    def gains(self, answers: Sequence[Answer | None]) -> Tensor:
        """[T] bits that each answer of one dialogue removed."""
        belief, contradictions = self.world.prior, 0
        weight = torch.tensor([(self.weights or {}).get(n, 1.0) for n in self.world.values], dtype=torch.float64)
        value = [-belief_entropy(belief, weight)]
        for answer in answers:
            kept = dict(list((answer or {}).items())[: self.at_most])
            try:
                belief, contradicted = self.world.update(belief, kept, floor=self.floor)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from error
            contradictions += int(contradicted.sum())
            value.append(-belief_entropy(belief, weight))
        if contradictions:
            warnings.warn("a user's answer contradicts earlier ones: its attribute begins anew", stacklevel=2)
        return progress_difference(torch.stack(value)[None])[0]
