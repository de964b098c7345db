"""Skywork-Reward-V2, stage 1: a model's errors on human-verified pairs say which pairs to have labelled next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.parts.curation import NO_ANSWER, nearest, retrieval_budget, retrieve
from guerdon.parts.preference_strength import chosen_lead, pair_scores
from guerdon.types import TIE, About, Pairs, Reward

Fit = Callable[[Pairs, Pairs, int], Reward]
"""Gives a new reward, fitted to the first pairs, at the checkpoint that does best on the second, with this seed."""

Ask = Callable[[Pairs, Pairs, Tensor], Tensor]
"""Labels [n] FIRST, SECOND, TIE or NO_ANSWER of n pairs, given verified pairs and which of them [n, shots] are near."""


class ErrorDrivenCuration:
    """Grows a training set out of a pool of unverified comparisons, round by round.

        fit on silver -> p on gold -> fetch neighbours of what it gets wrong -> humans label some, judges the rest

    Gold pairs are verified by humans; they test the model and are shown to judges as examples, and are never trained
    on. Silver ones are labelled by judges. A pair on which those asked are undecided is dropped [reconstructed], one
    on which they contradict its old label gets the new one. `verified` and `trained` give both sets at any time. Liu et
    al., "Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy", 2025.

    Args:
        pairs: all comparisons, with their labels as they are now; those of `gold` are the humans'.
        embedding: [N, E] of each pair: what was asked, and what is known of it (task, objectivity, ...).
        gold: rows verified by humans, at least one.
        silver: rows to begin training with.
        pool: unverified rows; None for all the rest.
        k_max: neighbours fetched for a pair that the model gets wrong (8: the paper); see `retrieval_budget`.
        human_share: of the fetched pairs that humans label (our choice: the paper gives numbers of pairs, not shares).
        shots: examples shown with a question (our choice).
        seed: of fits and draws.

    Raises:
        ValueError: no gold pairs or a tie among them, an embedding of another shape, or rows in two sets.
    """

    about: ClassVar[About] = About(
        rewards="comparisons near those that a reward model gets wrong, labelled anew",
        paper="Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy (2025)",
        link="https://arxiv.org/abs/2507.01352",
        claim="skywork_v2",
    )

    def __init__(
        self, pairs: Pairs, embedding: Tensor, *, gold: Tensor, silver: Tensor, pool: Tensor | None = None,
        k_max: int = 8, human_share: float = 0.1, shots: int = 4, seed: int = 0,
    ) -> None:  # fmt: skip
        n = len(pairs.label)
        if embedding.ndim != 2 or len(embedding) != n or not bool(embedding.isfinite().all()):
            raise ValueError(f"{n} pairs need a finite embedding [{n}, E], got {list(embedding.shape)}")
        if not len(gold) or bool((pairs.label[gold] == TIE).any()):
            raise ValueError("there must be pairs verified by humans, each with a winner, to see where a model errs")
        if not 0 <= human_share <= 1:
            raise ValueError(f"a share lies in 0..1, got {human_share}")
        taken = torch.zeros(n, dtype=torch.long)
        for rows in (gold, silver):
            taken[rows] += 1
        pool = (taken == 0).nonzero()[:, 0] if pool is None else pool
        taken[pool] += 1
        if bool((taken > 1).any()) or len({*gold.tolist()}) < len(gold):
            raise ValueError("a row is in two of gold, silver and pool, or twice in one: then gold would be trained on")
        self.pairs, self.embedding, self.label = pairs, embedding, pairs.label.clone()
        self.gold, self.silver, self.pool = gold, silver, pool
        self.k_max, self.human_share, self.shots, self.seed = k_max, human_share, shots, seed
        self.rounds = 0
        self.rng = torch.Generator().manual_seed(seed)

    @property
    def verified(self) -> Pairs:
        """The gold pairs, as humans labelled them."""
        return self._rows(self.gold)

    @property
    def trained(self) -> Pairs:
        """The silver pairs, as judges labelled them."""
        return self._rows(self.silver)

    def round(
        self, fit: Fit, judge: Ask, human: Ask | None = None, *, limit: int | None = None
    ) -> tuple[Reward, dict[str, float]]:
        """One round; gives the model of its beginning, and what was done.

        Args:
            fit: trains a model.
            judge: labels what becomes silver.
            human: labels what becomes gold; None leaves all to `judge`.
            limit: most pairs to have labelled, drawn from those fetched; None for all.
        """
        model = fit(self.trained, self.verified, self.seed + self.rounds)
        lead = chosen_lead(pair_scores([model], self.verified)[0].cpu(), self.label[self.gold])
        p = lead.double().sigmoid()
        rows = self.pool[self.fetch(retrieval_budget(p, k_max=self.k_max))]
        rows = rows[torch.randperm(len(rows), generator=self.rng)[:limit]]
        humans = round(self.human_share * len(rows)) if human else 0
        logs = {"gold accuracy": float((p > 0.5).double().mean()), "fetched": float(len(rows))}
        before, gold = self.label.clone(), self.gold
        self.pool = self.pool[~torch.isin(self.pool, rows)]
        labelled = [self._ask(part, gold, ask) for part, ask in ((rows[:humans], human), (rows[humans:], judge))]
        self.gold, self.silver = torch.cat([gold, labelled[0]]), torch.cat([self.silver, labelled[1]])
        kept = torch.cat(labelled)
        self.rounds += 1
        return model, logs | {
            "humans": float(len(labelled[0])), "judged": float(len(labelled[1])),
            "dropped": float(len(rows) - len(kept)), "changed": float((before != self.label)[kept].sum()),
            "gold": float(len(self.gold)), "silver": float(len(self.silver)), "pool": float(len(self.pool)),
        }  # fmt: skip

    def fetch(self, budget: Tensor) -> Tensor:
        """Places in the pool of the nearest neighbours of each gold pair, as many as `budget` [G] says, each once."""
        return retrieve(self.embedding[self.gold], self.embedding[self.pool], budget)

    def add(self, rows: Tensor) -> None:
        """Puts further rows of the pairs into the pool. Raises ValueError if one is in a set already."""
        if bool(torch.isin(rows, torch.cat([self.gold, self.silver, self.pool])).any()):
            raise ValueError("some of these rows are gold, silver or in the pool already")
        self.pool = torch.cat([self.pool, rows])

    def state_dict(self) -> dict[str, Any]:
        """Sets, labels, round and chance, as tensors and numbers."""
        names = ("gold", "silver", "pool", "label", "rounds")
        return {name: getattr(self, name) for name in names} | {"rng": self.rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken, on the same pairs."""
        self.rng.set_state(state["rng"])
        for name in ("gold", "silver", "pool", "label", "rounds"):
            setattr(self, name, state[name])

    def _ask(self, rows: Tensor, gold: Tensor, ask: Ask | None) -> Tensor:
        """The rows that got a winner, whose label is now that."""
        if not len(rows) or ask is None:
            return rows
        near = nearest(self.embedding[rows], self.embedding[gold], self.shots)
        label = ask(self._rows(rows), self._rows(gold), near).cpu().long()
        if label.shape != rows.shape or not bool(((label >= NO_ANSWER) & (label <= TIE)).all()):
            raise ValueError(f"{len(rows)} pairs need as many labels FIRST, SECOND, TIE or NO_ANSWER")
        decided = (label != TIE) & (label != NO_ANSWER)
        self.label[rows[decided]] = label[decided]
        return rows[decided]

    def _rows(self, rows: Tensor) -> Pairs:
        made = self.pairs.rows(rows)
        return Pairs(
            first=made.first, second=made.second, label=self.label[rows], weight=made.weight, columns=made.columns
        )
