"""verifiers: rewards as rubric functions (classic) and as task rewards (v1).

rubric = vf.Rubric(funcs=[rubric_function(ExactMatch())], weights=[1.0])     # classic

class Sums(vf.Task):                                                         # v1
right = vf.reward(task_reward(ExactMatch()))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guerdon.adapters.one_row import name_of, number, report, score_soon, scorer
from guerdon.parts.scorer import Score, Scorer
from guerdon.types import LanguageModel


def rubric_function(
    reward: Any,
    *,
    model: LanguageModel | None = None,
    name: str | None = None,
    answer: str = "answer",
    group: bool = False,
    unscored: float | None = None,
) -> Callable[..., Any]:
    """A function for the classic ``Rubric(funcs, weights, parser)``; entries of `info` are columns of the reward.

    The completion is what the assistant's messages say; each of several is a step. verifiers turns what a reward
    function raises into 0.0 and a line in its log: a completion without a score, too, unless `unscored` says what it
    is worth.

    Args:
        reward: a reward, an expression such as "ExactMatch()", a scoring function, or its ``module:function``.
        model: a language model, for rewards that need one.
        name: what the rubric calls it.
        answer: the column that the answer is.
        group: score the rollouts of one prompt together, for rewards that compare them.
        unscored: pay for a completion that the reward does not score; None raises NoScore.
    """
    made = scorer(reward, model=model)
    called = name or name_of(made)

    async def one(prompt: Any, completion: Any, answer: Any, info: Any) -> float:
        found = await score_soon(made, _row(prompt, completion, info, {column: answer}))
        return number(found, called, unscored)

    async def many(prompts: list, completions: list, answers: list, infos: list) -> list[float]:
        together = zip(prompts, completions, infos, answers, strict=True)
        rows = [_row(p, c, info, {column: a, "group": 0}) for p, c, info, a in together]
        return [number(found, called, unscored) for found in await _together(made, rows)]

    column, function = answer, many if group else one
    function.__name__ = called
    return function


def task_reward(
    reward: Any,
    *,
    model: LanguageModel | None = None,
    name: str | None = None,
    terms: bool = False,
    unscored: float | None = None,
) -> Callable[..., Any]:
    """A function for v1's ``vf.reward``: the fields of the task's data are columns of the reward.

    The completion is what the assistant said; each of several messages is a step. A completion without a score raises,
    which v1 puts into the trace as an error; `unscored` gives it a value instead.

    Args:
        reward: see `rubric_function`.
        model: see `rubric_function`.
        name: what the trace calls it.
        terms: give each term of the reward instead of the sum; v1 adds them up.
        unscored: see `rubric_function`.
    """
    made = scorer(reward, model=model)
    called = name or name_of(made)

    async def of_trace(self: Any, trace: Any) -> Any:
        data = trace.task.data
        columns = {k: v for k, v in data.model_dump().items() if k not in ("prompt", "completion", "group")}
        said = [m.content or "" for m in trace.assistant_messages]
        found = await score_soon(made, {**columns, "prompt": data.prompt_text, "completion": _steps(said)})
        value = number(found, called, unscored)
        if not terms or found.value is None:
            return value
        return {k: v for k, v in report(found).items() if k != "not_scored"}

    of_trace.__name__ = called
    return of_trace


async def _together(made: Scorer, rows: Sequence[Any]) -> list[Score]:
    if made.takes_many:
        answer = made.call(rows)
        return made.read(await answer if made.awaits else answer, len(rows))
    return [await score_soon(made, row) for row in rows]


def _row(prompt: Any, completion: Any, info: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(completion, str):
        completion = _steps([_text(message) for message in completion if _role(message) == "assistant"])
    asked = prompt if isinstance(prompt, str) else [{"role": _role(m), "content": _text(m)} for m in prompt]
    columns = info if isinstance(info, Mapping) else {}
    return {**columns, **more, "prompt": asked, "completion": completion}


def _steps(said: list[str]) -> str | list[str]:
    """What several messages say is several steps."""
    return said if len(said) > 1 else "".join(said)


def _role(message: Any) -> str:
    return message["role"] if isinstance(message, Mapping) else message.role


def _text(message: Any) -> str:
    content = message["content"] if isinstance(message, Mapping) else message.content
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part if isinstance(part, Mapping) else part.model_dump() for part in content]
    return "".join(part.get("text") or "" for part in parts)
