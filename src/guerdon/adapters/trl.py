"""TRL: rewards as its `reward_funcs`.

    trainer = trl.GRPOTrainer(..., reward_funcs=[reward_func(MathAnswer())])

Rewards that look into the live model, per-token credit and rewards with a loss of their own need the trainer in
`guerdon.adapters.trl_trainer`; it takes the same functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import torch

from guerdon.adapters.trl_rows import rows
from guerdon.parts.reward_scorer import totals
from guerdon.types import Completions, Experience, LanguageModel, Reward, Scored, Spec, as_reward
from guerdon.types.protocols import Prompt


def reward_func(
    reward: Any,
    *,
    tokenizer: Any = None,
    name: str | None = None,
    asynchronous: bool = False,
    seed: int = 0,
    **models: LanguageModel,
) -> Callable[..., Any]:
    """`reward` as a function that TRL calls: picklable, named, NaN given as None. It is built here, once.

    A dataset's columns arrive as `Completions.columns`. Neighbouring rows with equal prompts are a group. A reward of
    tokens or steps is summed over each completion; one unscored token leaves its completion unscored. TRL's metrics get
    the mean of each term over the rows that it scored and the share of rows without a score, its table of completions
    each term.

    Args:
        reward: one that scores Completions.
        tokenizer: the trainer's. With it texts are read off the tokens and prompts are tokenised.
        name: what TRL calls it; the reward's own by default.
        asynchronous: score in a thread that TRL awaits, so that rewards which wait for a server wait together.
        seed: of what the reward draws when it is built.
        **models: by the names in the reward's needs: ``reference=CausalLM(...)``; also ``policy=``, where a server has
            it. The trainer in `guerdon.adapters.trl_trainer` hands in its own model as the policy.

    Raises:
        TypeError: no reward.
        ValueError: the reward needs a model that is not here.
    """
    function = RewardFunc(as_reward(reward), tokenizer, models, name)
    function.reward.build(Spec(tokenizer=tokenizer), generator=torch.Generator().manual_seed(seed))
    return InThread(function) if asynchronous else function


class RewardFunc:
    """What `reward_func` makes; the trainer of `trl_trainer` calls its two halves apart."""

    def __init__(self, reward: Reward, tokenizer: Any, models: dict[str, LanguageModel], name: str | None) -> None:
        self.reward, self.tokenizer, self.models = reward, tokenizer, models
        self.__name__ = name or reward.name
        self.needs = frozenset(n for part in reward.modules() if isinstance(part, Reward) for n in part.needs)
        if missing := self.needs - models.keys() - {"policy"}:
            given = ", ".join(f"{n}=CausalLM(...)" for n in sorted(missing))
            raise ValueError(f"{reward.name} needs {', '.join(sorted(missing))}: reward_func(..., {given})")

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        *,
        trainer_state: Any = None,
        log_extra: Callable[[str, list], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        environments: Any = None,
        **columns: Sequence[Any],
    ) -> list[float | None]:
        """Scores a batch as TRL lays it out. Raises ValueError for counts that disagree, or if the policy is needed."""
        if lacking := self.needs - self.models.keys():
            raise ValueError(
                f"{self.__name__} needs the {', '.join(sorted(lacking))}: train with guerdon.adapters.trl_trainer's "
                "GRPOTrainer, which hands it over, or name a server: reward_func(..., policy=RemoteLM(...))"
            )
        if self.needs and any(not isinstance(c, str) and len(c) > 1 for c in completions):
            raise ValueError(
                f"{self.__name__} asks a model about tokens, and these completions have several messages: train with "
                "guerdon.adapters.trl_trainer's GRPOTrainer, which knows which tokens the policy wrote"
            )
        made = rows(prompts, completions, completion_ids, columns, tokenizer=self.tokenizer)
        return self.report(self.evaluate(made), made, log_extra, log_metric)

    @torch.no_grad()
    def evaluate(self, completions: Completions, **models: LanguageModel) -> Scored:
        """The reward's value and terms."""
        return self.reward.evaluate(completions, **(self.models | models))

    def report(
        self, scored: Scored, completions: Completions, log_extra: Callable | None, log_metric: Callable | None
    ) -> list[float | None]:
        """What TRL wants returned, after it was told each term."""
        values = totals(scored.value, completions)
        for term, value in scored.terms.items():
            each = totals(value, completions)
            known = [v for v in each if v is not None]
            if log_extra:
                log_extra(f"{self.__name__}/{term}", each)
            if log_metric and known:
                log_metric(f"{self.__name__}/{term}", sum(known) / len(known))
        if log_metric and values:
            log_metric(f"{self.__name__}/not_scored", values.count(None) / len(values))
        return values


class InThread:
    """A function called in a thread: what TRL takes for asynchronous by its `__call__` (since 1.16)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    async def __call__(self, **given: Any) -> Any:
        return await asyncio.to_thread(self.function, **given)


class Given(Reward):
    """What was scored already, for the algebra of rewards."""

    def __init__(self, scored: Scored) -> None:
        super().__init__()
        self.scored = scored

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        return self.scored
