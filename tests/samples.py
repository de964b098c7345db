"""Small experience for tests: made from a seed, with every kind of step in it."""

from __future__ import annotations

import dataclasses
import functools
from itertools import pairwise
from typing import Any

import numpy as np
import table_model
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.parts.caption_table import CaptionTable
from guerdon.types import Completions, Label, Labels, Rollout, Spec

TEXTS = [
    "You see here 5 gold pieces.", "The door opens.", "You hear a door open.", "You kill the newt!", "It's a wall.",
    "You descend the stairs.", "This door is locked.", "You find a hidden passage.", "Never mind.", "You feel hungry.",
    "Welcome to experience level 2.",
]  # fmt: skip


def table() -> CaptionTable:
    """A caption table with TEXTS as ids 1, 2, ..."""
    captions = CaptionTable()
    for text in TEXTS:
        captions.intern(text)
    return captions


def spec(num_envs: int = 4, captions: CaptionTable | None = None) -> Spec:
    """What the samples' task looks like."""
    return Spec(
        observation_space=spaces.Dict({"obs": spaces.Box(-np.inf, np.inf, (3,), np.float32)}),
        action_space=spaces.Discrete(4),
        captions=captions or table(),
        num_envs=num_envs,
    )


def rollout(steps: int = 8, num_envs: int = 4, seed: int = 0) -> Rollout:
    """A rollout [T, B] in NEXT_STEP form: column 0 is terminated at step 2, column 1 truncated at step 3."""
    g = torch.Generator().manual_seed(seed)
    shape, longer = (steps, num_envs), (steps + 1, num_envs)
    flags = {name: torch.zeros(shape, dtype=torch.bool) for name in ("terminated", "truncated")}
    valid = torch.ones(shape, dtype=torch.bool)
    for column, (name, step) in enumerate([("terminated", 2), ("truncated", 3)][:num_envs]):
        if step < steps:
            flags[name][step, column] = True
        if step + 1 < steps:
            valid[step + 1, column] = False  # the fake step that only resets
    made = Rollout(
        obs=TensorDict({"obs": torch.randn(*longer, 3, generator=g)}, longer),
        action=torch.randint(4, shape, generator=g),
        extrinsic=torch.randn(shape, generator=g).masked_fill(~valid, 0.0),
        valid=valid,
        log_prob=-torch.rand(shape, generator=g),
        caption=torch.randint(len(TEXTS) + 1, longer, generator=g, dtype=torch.int32),
        caption_count=torch.ones(longer, dtype=torch.int32),
        **flags,
    )
    return recount(made)


def recount(r: Rollout) -> Rollout:
    """The rollout with its caption counts made right: sights in this episode, the reset message included."""
    count = torch.ones_like(r.caption)
    for column in range(r.shape[1]):
        seen: dict[int, int] = {}
        for t, caption in enumerate(r.caption[:, column].tolist()):
            if t and not r.valid[t - 1, column]:
                seen = {}
            count[t, column] = seen[caption] = seen.get(caption, 0) + 1
    return replace(r, caption_count=count)


def replace(experience: Any, **changes: Any) -> Any:
    """The same experience with some fields changed; the others are copied."""
    copied = {k: v.clone() if isinstance(v, (Tensor, TensorDict)) else v for k, v in fields(experience)}
    return type(experience)(**(copied | changes))


def fields(experience: Any) -> list[tuple[str, Any]]:
    """Name and value of each of its fields."""
    return [(f.name, getattr(experience, f.name)) for f in dataclasses.fields(type(experience))]


def completions(rows: int = 6, length: int = 5, seed: int = 0) -> Completions:
    """Completions [N, L] in groups of two, row n with n % L + 1 valid tokens."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(length) <= (torch.arange(rows) % length)[:, None]
    return Completions(
        prompt=[f"prompt {n // 2}" for n in range(rows)],
        text=[f"answer {n}" for n in range(rows)],
        ids=torch.randint(100, (rows, length), generator=g),
        mask=mask,
        group=torch.arange(rows) // 2,
        log_prob=-torch.rand(rows, length, generator=g),
    )


PROMPTS = {"1+1=": "2", "2+3=": "5", "4+4=": "8", "half of 7?": "3.5"}
RESPONSES = [
    "<think>I count.</think> <answer>{}</answer>", "<think>No</think><answer> 7</answer>", r"So it is \boxed{{{}}}.",
    r"<think>Add them.</think><answer>\boxed{{{}}}</answer> ", "I do not know.", "<answer>{}", "", "#### {}",
]  # fmt: skip
STEP_WORDS = (">", ".")  # what ends a step of a response


@functools.cache
def language_model(role: str = "policy") -> table_model.TableModel:
    """The model that a reward is handed for its need `role`."""
    return table_model.TableModel(seed={"policy": 0, "reference": 1, "proxy": 2}[role])


def solutions(rows: int = 6, seed: int = 0) -> Completions:
    """Written solutions that agree with `language_model`: text and tokens, well-formed and not, in groups of two.

    Columns: "answer", the right one; "unanswerable", 1 for the last question; "reasoning", one of somebody else's;
    "constraints", what a user's answers to the steps say of a colour.
    """
    g = torch.Generator().manual_seed(seed)
    prompts = [list(PROMPTS)[n // 2 % len(PROMPTS)] for n in range(rows)]
    forms = [RESPONSES[int(i)] for i in torch.randint(len(RESPONSES), (rows,), generator=g)]
    said = [PROMPTS[p] if right else "9" for p, right in zip(prompts, torch.rand(rows, generator=g) < 0.6, strict=True)]
    texts = [form.format(answer) for form, answer in zip(forms, said, strict=True)]
    made = table_model.completions(
        prompts, texts, model=language_model(),
        answer=[PROMPTS[p] for p in prompts],
        unanswerable=[int(p == list(PROMPTS)[-1]) for p in prompts],
        reasoning=[f"<think>{p}{PROMPTS[p]}</think>" for p in prompts],
    )  # fmt: skip
    ends = torch.stack([made.ids == ord(word) for word in STEP_WORDS]).any(0) & made.mask
    made.step = ends.long().cumsum(1) - ends.long()
    heard = [{"colour": ["red", "blue"]}, {}, {"colour": {"red": 0.9, "blue": 0.1, "green": 0.1}}]
    made.columns["constraints"] = [(heard * turns)[:turns] for turns in made.step_ends().sum(1).tolist()]
    return made


def labels() -> Labels:
    """An answer to every caption and to some pairs, one of each without a label."""
    rows = [Label(text, float(len(text) % 2)) for text in TEXTS[:-1]]
    pairs = [Label((a, b), float(len(a) % 3)) for a, b in pairwise(TEXTS)]
    nothing = [Label(TEXTS[-1], None, "unparseable"), Label((TEXTS[0], TEXTS[-1]), None, "timeout")]
    return Labels.from_rows(rows + pairs + nothing)


def mask_of(experience: Any) -> Tensor:
    """Where it is not padding."""
    return experience.mask.bool() if isinstance(experience, Completions) else experience.valid.bool()


def padded(experience: Any, columns: int = 1) -> Any:
    """Two more steps and so many more columns (tokens for Completions), all invalid and full of rubbish."""
    if isinstance(experience, Completions):
        wide = {
            k: torch.nn.functional.pad(v, (2, 0) if "prompt" in k else (0, 2), value=0 if v.dtype == torch.bool else 7)
            for k, v in fields(experience)
            if isinstance(v, Tensor) and v.ndim == 2
        }
        return replace(experience, **wide)

    def pad(x: Tensor, rubbish: float) -> Tensor:
        longer = x.new_full((x.shape[0] + 2, x.shape[1] + columns, *x.shape[2:]), rubbish)
        longer[: x.shape[0], : x.shape[1]] = x
        return longer

    rubbish = {"action": 0, "extrinsic": 1e3, "log_prob": -9.0, "caption": 3, "caption_count": 0}
    rubbish |= dict.fromkeys(("terminated", "truncated", "valid"), False)
    obs = pad(experience.obs["obs"], 1e3)
    return Rollout(
        obs=TensorDict({"obs": obs}, obs.shape[:2]), **{k: pad(getattr(experience, k), v) for k, v in rubbish.items()}
    )


def replayed(r: Rollout) -> Rollout:
    """Every step on its own: [1, T * B]."""
    steps, columns = r.shape

    def both(x: Tensor) -> Tensor:
        return torch.stack([x[:-1].flatten(0, 1), x[1:].flatten(0, 1)])

    per_step = ("action", "extrinsic", "terminated", "truncated", "valid", "log_prob")
    return Rollout(
        obs=TensorDict({k: both(v) for k, v in r.obs.items()}, (2, steps * columns)),
        caption=both(r.caption),
        caption_count=both(r.caption_count),
        **{k: getattr(r, k).flatten(0, 1)[None] for k in per_step},
    )
