"""OpenRLHF: rewards as the `reward_func` of the file that ``--reward.remote_url`` names.

The whole file is

    from guerdon.adapters.openrlhf import reward_function

    reward_func = reward_function("ExactMatch()")

and ``python -m guerdon.adapters.openrlhf "ExactMatch()" reward.py`` writes it. OpenRLHF calls for one response at a
time, so that rewards which compare the answers to one prompt cannot be used this way; `guerdon serve` speaks to it
over HTTP.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.one_row import name_of, number, report, score, scorer
from guerdon.types import LanguageModel

ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "</s>", "<eos>")
"""End-of-text tokens of common models, which OpenRLHF leaves in its texts."""


def reward_function(
    reward: Any,
    *,
    model: LanguageModel | None = None,
    answer: str | None = "answer",
    unscored: float | None = None,
    ends: Sequence[str] = ENDS,
) -> Callable[..., dict[str, Any]]:
    """``reward_func(queries, prompts, labels)`` -> {"rewards", "scores", "extra_logs"}, tensors of one entry a query.

    Rewards are not clipped, and "scores" are the same numbers: OpenRLHF's dynamic filtering looks at these.

    OpenRLHF catches what a reward function raises, writes it to its log and goes on without a reward for that
    response; look there for "Failed to fetch reward".

    Args:
        reward: a reward, an expression such as "ExactMatch()", a scoring function, or its ``module:function``.
        model: a language model, for rewards that need one.
        answer: the column that a label is; None: each label is a JSON object of columns.
        unscored: pay for a response that the reward does not score; None raises NoScore.
        ends: what is cut from the end of a response.

    Raises:
        ValueError: the expression cannot be read, or the reward needs a model.
    """
    made = scorer(reward, model=model)
    name = name_of(made)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any) -> dict[str, Any]:
        values, logs = [], []
        for query, prompt, label in zip(queries, prompts, labels, strict=True):
            columns = json.loads(label) if answer is None else {answer: label}
            found = score(made, {**columns, "prompt": prompt, "completion": response(query, prompt, ends)})
            values.append(number(found, name, unscored))
            logs.append(report(found))
        rewards = torch.tensor(values, dtype=torch.float32)
        extra: dict[str, Tensor] = {k: torch.tensor([log[k] for log in logs]) for k in logs[0]} if logs else {}
        return {"rewards": rewards, "scores": rewards, "extra_logs": extra}

    return reward_func


def response(query: str, prompt: str, ends: Sequence[str] = ENDS) -> str:
    """What follows the prompt in a query. Raises ValueError if the prompt does not stand in it."""
    _, found, text = query.partition(prompt)
    if not found:
        raise ValueError(
            "the prompt is not in the query, so that the response cannot be told apart; was it too long for "
            f"--data.max_len? The query begins with {query[:60]!r}, the prompt with {prompt[:60]!r}"
        )
    for end in ends:
        text = text.removesuffix(end)
    return text


def write(reward: str, file: Path) -> Path:
    """Writes the file for ``--reward.remote_url``. Raises ValueError if the reward cannot be read or needs a model."""
    scorer(reward)
    if file.suffix != ".py":
        raise ValueError(f"{file}: OpenRLHF takes a reward for a file only if its name ends in .py")
    lines = "from guerdon.adapters.openrlhf import reward_function\n\nreward_func = reward_function({!r})\n"
    fresh = file.with_suffix(".new")
    fresh.write_text(lines.format(reward))
    os.replace(fresh, file)
    return file


if __name__ == "__main__":
    import tyro

    print(write(*tyro.cli(tuple[str, Path], prog="python -m guerdon.adapters.openrlhf")))
