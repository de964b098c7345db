"""Nous: a question is worth the bits of uncertainty that the user's answer takes away."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
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

    def encode(self, answers: Sequence[Answer]) -> tuple[Tensor, Tensor]:
        """What each of N answers allows, [N, M, V] bool, and its likelihood, [N, M, V]; all and ones where silent.

        Raises ValueError for an attribute or a value that is not there.
        """
        shape = (len(answers), *self.prior.shape)
        allowed, likelihood = np.ones(shape, bool), np.ones(shape)
        rows = {name: i for i, name in enumerate(self.values)}
        for n, answer in enumerate(answers):
            for name, said in answer.items():
                if name not in rows:
                    raise ValueError(f"there is no attribute {name!r}; there are {', '.join(rows)}")
                places = self.values[name]
                if unknown := [v for v in said if v not in places]:
                    raise ValueError(f"{name} has no value {unknown[0]!r}; it has {', '.join(places)}")
                at = [places[v] for v in said]
                if isinstance(said, Mapping):
                    likelihood[n, rows[name]] = 0.0
                    likelihood[n, rows[name], at] = list(said.values())
                else:
                    allowed[n, rows[name]] = False
                    allowed[n, rows[name], at] = True
        return torch.from_numpy(allowed), torch.from_numpy(likelihood)

    def update(self, belief: Tensor, allowed: Tensor, likelihood: Tensor, *, floor: float = 0.0) -> Updated:
        """The belief [..., M, V] after answers as `encode` gives them; errors of `hard_update` and `soft_update`."""
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
        before: column of answers heard before a row's first turn, in the same form, for rows that are single questions
            in the midst of a dialogue (several to a state make a group, online or stored); None is none.
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
        before: str | None = None,
        weights: Mapping[str, float] | None = None,
        at_most: int | None = 2,
        floor: float = 0.0,
    ) -> None:
        super().__init__()
        if unknown := set(weights or ()) - set(prior):
            raise ValueError(f"EntropyReduction has weights of {sorted(unknown)}, which the prior has not")
        if (at_most is not None and at_most < 1) or not 0 <= floor < 1:
            raise ValueError(f"EntropyReduction needs at_most >= 1 and 0 <= floor < 1, got {at_most} and {floor}")
        self.prior, self.constraints, self.before, self.weights = prior, constraints, before, weights
        self.at_most, self.floor = at_most, floor

    @functools.cached_property
    def world(self) -> World:
        """The prior as a table."""
        return World.of(self.prior)

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        assert isinstance(experience, Completions)
        ends = turn_ends(experience, self.name)
        rows, counts = experience.column(self.constraints, self.name), ends.sum(1).tolist()
        earlier = experience.column(self.before, self.name) if self.before else [[]] * len(rows)
        for row, (answers, turns) in enumerate(zip(rows, counts, strict=True)):
            if answers is not None and len(answers) != turns:
                raise ValueError(
                    f"{self.name}: row {row} has {turns} turns and {len(answers)} entries in {self.constraints!r}: "
                    "give one a turn, {} where the answer says nothing"
                )
        dialogues = [[*(heard or ()), *(answers or ())] for heard, answers in zip(earlier, rows, strict=True)]
        every = self.gains(dialogues)
        gains = torch.zeros(len(rows), max(counts, default=0), dtype=every.dtype)
        for row, (heard, turns) in enumerate(zip(earlier, counts, strict=True)):
            start = len(heard or ())
            gains[row, :turns] = every[row, start : start + turns] if rows[row] is not None else torch.nan
        return place_steps(gains.float().to(ends.device), ends)

    def gains(self, dialogues: Sequence[Sequence[Answer | None]]) -> Tensor:
        """[N, T] bits that each answer of N dialogues removed; 0 after a dialogue's end."""
        world, turns = self.world, max(map(len, dialogues), default=0)
        belief = world.prior.expand(len(dialogues), *world.prior.shape)
        weight = torch.tensor([(self.weights or {}).get(n, 1.0) for n in world.values], dtype=torch.float64)
        value, contradicted = [-belief_entropy(belief, weight)], torch.tensor(False)
        for turn in range(turns):
            heard = [self._counted(d[turn]) if turn < len(d) else {} for d in dialogues]
            try:
                updated = world.update(belief, *world.encode(heard), floor=self.floor)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from error
            belief, contradicted = updated.belief, contradicted | updated.contradicted.any()
            value.append(-belief_entropy(belief, weight))
        if bool(contradicted):
            warnings.warn("a user's answer contradicts earlier ones: its attribute begins anew", stacklevel=2)
        return progress_difference(torch.stack(value, 1))

    def _counted(self, answer: Answer | None) -> Answer:
        return dict(list((answer or {}).items())[: self.at_most])
