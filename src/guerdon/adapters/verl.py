"""verl: rewards as its `compute_score`.

No file of your own is needed:

    reward.custom_reward_function.path=pkg://guerdon.adapters.verl
    reward.custom_reward_function.name=compute_score            # or compute_score_async
    '+reward.custom_reward_function.reward_kwargs.reward="ExactMatch()"'

verl calls for one response at a time, so that rewards which compare the answers to one prompt cannot be used here, and
it has one number a response, so that values of tokens and steps are summed. Its own reward managers do not say what the
prompt was; that of `guerdon.adapters.verl_manager` does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from guerdon.adapters.one_row import name_of, number, report, score, score_soon, scorer
from guerdon.parts.scorer import Score
from guerdon.types import LanguageModel


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward: Any,
    prompt: Any = None,
    answer: str = "answer",
    unscored: float | None = None,
    **further: Any,
) -> dict[str, float]:
    """{"score", each term of the reward, "not_scored"} of one response, as verl's reward managers ask for it.

    Args:
        data_source: the column "data_source".
        solution_str: the response.
        ground_truth: the column named by `answer`.
        extra_info: further columns.
        reward: an expression such as "ExactMatch()", ``module:function``, or what `score_function` holds.
        prompt: a text or messages; by default what `extra_info` has as "prompt" or "question".
        answer: see `ground_truth`.
        unscored: pay for a response that the reward does not score; None raises NoScore.
        **further: the address and tokenizer of verl's own reward model, which are not used.

    Raises:
        NoScore: see `unscored`.
        ValueError: the expression cannot be read, or the reward lacks a column.
    """
    found = score(scorer(reward), _row(data_source, solution_str, ground_truth, extra_info, prompt, answer))
    return _result(found, reward, unscored)


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward: Any,
    prompt: Any = None,
    answer: str = "answer",
    unscored: float | None = None,
    **further: Any,
) -> dict[str, float]:
    """`compute_score`, awaited: for rewards that wait for a server."""
    row = _row(data_source, solution_str, ground_truth, extra_info, prompt, answer)
    return _result(await score_soon(scorer(reward), row), reward, unscored)


def score_function(
    reward: Any, *, model: LanguageModel | None = None, asynchronous: bool = False, **options: Any
) -> Callable[..., Any]:
    """One reward as verl's function, for a file of your own.

    The file says ``compute_score = score_function(ExactMatch())``. Picklable if the reward and the model are. `options`
    are keywords of `compute_score`.
    """
    made = reward if isinstance(reward, str) and model is None else scorer(reward, model=model).function
    return functools.partial(compute_score_async if asynchronous else compute_score, reward=made, **options)


def _row(data_source: str, response: str, truth: Any, extra: Mapping[str, Any] | None, prompt: Any, answer: str) -> Any:
    columns = dict(extra or {})
    asked = prompt if prompt is not None else columns.get("prompt", columns.get("question", ""))
    asked = asked if isinstance(asked, str) else [dict(message) for message in asked]  # verl keeps arrays of messages
    columns.pop("group", None)
    return {**columns, "data_source": data_source, "prompt": asked, "completion": response, answer: truth}


def _result(found: Score, reward: Any, unscored: float | None) -> dict[str, float]:
    return {**report(found), "score": number(found, name_of(scorer(reward)), unscored)}
