"""Written rows as Completions: for files, servers and trainers that hand over texts instead of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from guerdon.parts.completions_from_tokens import completions_from_tokens
from guerdon.types.experience import Completions
from guerdon.types.protocols import LanguageModel

RESERVED = ("prompt", "completion", "group")
"""What is no column of the completions."""

END = 256
"""The end of a text whose tokens are its bytes."""


def completions_from_text(rows: Sequence[Mapping[str, Any]], *, model: LanguageModel | None = None) -> Completions:
    """Completions of rows {"prompt", "completion", further columns}.

    "prompt" is a text or messages; "completion" is a text, a list of texts (one a step, in order), or one message of
    the assistant. Rows with the same "group" are answers to one prompt; without that column, those with the same
    prompt. All other keys become columns.

    With `model` the tokens are its own: prompt and completion are tokenised as one text (``model.split``), and no
    end-of-text token is added, since a text does not say whether its writer had ended. Without one, `ids` are the
    completion's UTF-8 bytes and `END` (so that an empty one, too, has a token where a value can stand), and there are
    no `prompt_ids`: enough for rewards that read texts.

    Raises:
        ValueError: rows have different columns, or one has no "prompt" or "completion" of these kinds.
    """
    columns = list(rows[0]) if rows else []
    for i, row in enumerate(rows):
        if set(row) != set(columns):
            raise ValueError(f"row {i} has the columns {sorted(row)}, row 0 has {sorted(columns)}; score them apart")
    steps = [written_steps(row) for row in rows]
    prompts = [row["prompt"] for row in rows]
    group: dict[Any, int] = {}
    numbers = [group.setdefault(repr(row.get("group", row["prompt"])), len(group)) for row in rows]
    tokens = [_bytes(s) if model is None else _model_tokens(model, p, s) for p, s in zip(prompts, steps, strict=True)]
    made = completions_from_tokens(
        prompts,
        ["".join(s) for s in steps],
        [t for _, t, _ in tokens],
        prompt_ids=None if model is None else [before for before, _, _ in tokens],
        group=torch.tensor(numbers, dtype=torch.long),
        columns={name: [row[name] for row in rows] for name in columns if name not in RESERVED},
    )
    made.step = torch.zeros_like(made.ids)
    for i, (_, _, step) in enumerate(tokens):
        made.step[i, : len(step)] = torch.tensor(step, dtype=torch.long)
    return made


def written_steps(row: Mapping[str, Any]) -> list[str]:
    """The completion of a row as texts, one a step. Raises ValueError if it, or the prompt, is none."""
    prompt, completion = row.get("prompt"), row.get("completion")
    if not (isinstance(prompt, str) or _are_messages(prompt)):
        raise ValueError('"prompt" must be a text or a list of messages {"role", "content"}')
    if isinstance(completion, str):
        return [completion]
    if isinstance(completion, list) and completion and all(isinstance(s, str) for s in completion):
        return completion
    if isinstance(completion, list) and len(completion) == 1 and _are_messages(completion):
        return [completion[0]["content"]]
    raise ValueError('"completion" must be a text, a list of texts (one a step), or one message {"role", "content"}')


def _are_messages(value: Any) -> bool:
    """Whether this is a list of at least one message whose content is a text."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(m, Mapping) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
            for m in value
        )
    )


def _bytes(steps: list[str]) -> tuple[list[int], list[int], list[int]]:
    """Tokens before, tokens of the completion, and the step of each: bytes."""
    written = [s.encode("utf-8", "surrogatepass") for s in steps]
    step = [k for k, w in enumerate(written) for _ in w]
    return [], [*b"".join(written), END], [*step, max(len(steps) - 1, 0)]


def _model_tokens(model: LanguageModel, prompt: Any, steps: list[str]) -> tuple[list[int], list[int], list[int]]:
    """Likewise in tokens of `model`; one that reaches from a step into the next belongs to the earlier."""
    rendered, text = model.render(prompt), "".join(steps)
    if not text:
        return model.encode(rendered), [], []
    before, ids = model.split(rendered + text, len(rendered), len(rendered) + len(text))
    step, end = [], len(rendered)
    for k, written in enumerate(steps):
        end += len(written)
        if written:
            upto = len(model.split(rendered + text, len(rendered), end)[1])
            step += [k] * (upto - len(step))
    return before, ids, step
