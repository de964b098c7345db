"""What experience is: a value that moves left to right, from a task to a reward to a learner.

Every class below checks its shapes when it is made, so that a mistake dies at the door with a name on it.

Shape letters: ``T`` steps, ``B`` environments (or batch rows), ``N`` completions, items or pairs, ``L`` tokens,
``K`` denoising or generation steps, ``*`` any further dimensions. ``T+1`` is one more than ``T``.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import Annotated, Any

import torch
from tensordict import TensorDict, tensorclass
from torch import Tensor
from torch.utils._pytree import tree_map

from guerdon.types.labels import FIRST, TIE, Label


def _shape_checks(cls: type) -> list[tuple[str, list[str]]]:
    """The fields of `cls` whose annotation names a shape, with that shape's words."""
    checks = []
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        for part in (hint, *typing.get_args(hint)):
            if typing.get_origin(part) is Annotated:
                checks.append((name, typing.get_args(part)[1].split()))
    return checks


def _check_shapes(experience: Any) -> None:
    """Raises ValueError if a tensor field's leading dimensions disagree with its annotation or with another field."""
    cls = type(experience)
    if "_shape_words" not in cls.__dict__:
        cls._shape_words = _shape_checks(cls)
    sizes: dict[str, tuple[int, str]] = {}
    for name, words in cls._shape_words:
        value = getattr(experience, name)
        if value is None:
            continue
        shape = tuple(value.shape) if isinstance(value, Tensor) else tuple(value.batch_size)
        open_ended = words[-1] == "*"
        dims = words[:-1] if open_ended else words
        if isinstance(value, Tensor) and (len(shape) < len(dims) or (len(shape) > len(dims) and not open_ended)):
            raise ValueError(f"{cls.__name__}.{name} must have shape [{', '.join(words)}], got {list(shape)}")
        for dim, size in zip(dims, shape, strict=False):
            letter, _, more = dim.partition("+")
            base = size - int(more or 0)
            known, owner = sizes.setdefault(letter, (base, name))
            if known != base:
                raise ValueError(
                    f"{cls.__name__}.{name} must have shape [{', '.join(words)}], got {list(shape)}: "
                    f"{letter} is {known} in {owner}, but {base} here"
                )


@tensorclass
class Rollout:
    """Control experience, time-major. `obs[t]` leads to `action[t]`, paid as reward t, which leads to `obs[t+1]`.

    Autoreset is Gymnasium's NEXT_STEP: the step after an end ignores its action and has ``valid`` False. Captions are
    aligned with `obs`, so step t is paid for ``caption[t + 1]``; the reset message counts but is never paid.
    A replay batch is a Rollout with T = 1; ragged offline data is padded and `valid` says where.
    """

    obs: Annotated[TensorDict, "T+1 B"]  # one entry a key, [T+1, B, ...]; a plain observation has the key "obs"
    action: Annotated[Tensor, "T B *"]
    extrinsic: Annotated[Tensor, "T B"]  # the task's own reward, raw: before any scaling or clipping
    terminated: Annotated[Tensor, "T B"]
    truncated: Annotated[Tensor, "T B"]
    valid: Annotated[Tensor, "T B"]
    log_prob: Annotated[Tensor, "T B"] | None = None  # of the action under the policy that took it
    caption: Annotated[Tensor, "T+1 B"] | None = None  # int32 ids of a CaptionTable
    caption_count: Annotated[Tensor, "T+1 B"] | None = None  # times this caption was seen this episode, now included
    state: Any = None  # the policy's recurrent state at t = 0, as the policy shapes it
    extra: Annotated[TensorDict, "T+1 B"] | None = None  # goals, skills, latents, poses, infos; aligned with obs

    def __post_init__(self) -> None:
        _check_shapes(self)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, B)."""
        return tuple(self.extrinsic.shape)  # type: ignore[return-value]

    def columns(self, index: Any) -> Rollout:
        """The rollout of the environments that `index` (a slice, or a tensor of integers) picks."""

        def pick(value: Any, dim: int) -> Any:
            return None if value is None else value[(slice(None),) * dim + (index,)]

        fields = ("action", "extrinsic", "terminated", "truncated", "valid", "log_prob", "caption", "caption_count")
        picked = {name: pick(getattr(self, name), 1) for name in fields}
        state = None if self.state is None else tree_map(lambda s: s[index], self.state)
        return Rollout(obs=pick(self.obs, 1), state=state, extra=pick(self.extra, 1), **picked)


@tensorclass
class Completions:
    """Text experience: N = prompts x responses, padded to L tokens. One right among many is a group with a column."""

    prompt: list  # N texts or message lists
    text: list  # N texts
    ids: Annotated[Tensor, "N L"]
    mask: Annotated[Tensor, "N L"]  # True on tokens the policy generated, the end-of-text token included
    group: Annotated[Tensor, "N"] | None = None
    step: Annotated[Tensor, "N L"] | None = None  # step or turn index of each token
    log_prob: Annotated[Tensor, "N L"] | None = None  # under the policy that sampled
    columns: dict | None = None  # name -> N values: answers, documents, chosen or not, ...
    prompt_ids: Annotated[Tensor, "N P"] | None = None  # the tokens before `ids`, as the policy saw them
    prompt_mask: Annotated[Tensor, "N P"] | None = None  # True on them; padding stands on the left

    def __post_init__(self) -> None:
        _check_shapes(self)
        counts = {"prompt": len(self.prompt), "text": len(self.text)}
        counts |= {f"columns[{k!r}]": len(v) for k, v in (self.columns or {}).items()}
        for name, count in counts.items():
            if count != self.ids.shape[0]:
                raise ValueError(f"Completions.{name} has {count} entries for {self.ids.shape[0]} rows of ids")

    @property
    def shape(self) -> tuple[int, int]:
        """(N, L)."""
        return tuple(self.ids.shape)  # type: ignore[return-value]

    def ends(self) -> Tensor:
        """[N, L] bool: the last generated token of each row, where a value for the whole answer stands."""
        return _last_of_runs(self.mask.bool(), torch.zeros_like(self.mask, dtype=torch.long))

    def step_ends(self) -> Tensor:
        """[N, L] bool: the last generated token of each step or turn, where that step's value stands."""
        if self.step is None:
            raise ValueError("these completions have no steps: set Completions.step to the step index of each token")
        return _last_of_runs(self.mask.bool(), self.step)

    def column(self, name: str, reader: str) -> list:
        """The N values of a column; `reader` is who wants it, for the error. Raises ValueError if it is not there."""
        there = self.columns or {}
        if name not in there:
            known = ", ".join(map(repr, there)) or "none"
            raise ValueError(f"{reader} reads the column {name!r} of completions, which have {known}")
        return list(there[name])

    def rows(self, index: Any) -> Completions:
        """The completions that `index` (a tensor of integers or booleans, a list or a slice) picks, in its order."""
        return next(self.picks([index]))

    def picks(self, indices: Iterable[Any]) -> Iterator[Completions]:
        """`rows` of each index; for many of them, as all texts are read once and not anew for each."""
        names = ("ids", "mask", "group", "step", "log_prob", "prompt_ids", "prompt_mask")
        tensors: dict[str, Any] = {n: getattr(self, n) for n in names}
        prompt, text, columns = list(self.prompt), list(self.text), self.columns  # each look makes the list anew
        for index in indices:
            chosen = torch.arange(len(text))[index.cpu() if isinstance(index, Tensor) else index].tolist()
            at = torch.tensor(chosen, dtype=torch.long, device=tensors["ids"].device)
            picked: dict[str, Any] = {n: None if v is None else v[at] for n, v in tensors.items()}
            kept = None if columns is None else {k: [v[i] for i in chosen] for k, v in columns.items()}
            yield Completions(
                prompt=[prompt[i] for i in chosen], text=[text[i] for i in chosen], columns=kept, **picked
            )


def _last_of_runs(mask: Tensor, run: Tensor) -> Tensor:
    """Where a token of `mask` is the last of its row, or the next one of `mask` belongs to another run."""
    length = mask.shape[1]
    place = torch.arange(length, device=mask.device).expand_as(mask)
    following = torch.where(mask, place, length).flip(1).cummin(1).values.flip(1)  # the first of `mask` from here on
    following = torch.cat([following[:, 1:], following.new_full((len(mask), 1), length)], 1)
    next_run = run.gather(1, following.clamp(max=length - 1)) if length else run
    return mask & ((following == length) | (next_run != run))


@tensorclass
class Pairs:
    """Comparisons: `first` and `second` are two Rollouts' segments, two Completions, or two lists of captions."""

    first: Any
    second: Any
    label: Annotated[Tensor, "N"]  # FIRST, SECOND or TIE
    weight: Annotated[Tensor, "N"] | None = None
    columns: dict | None = None  # user, margin, sample id

    def __post_init__(self) -> None:
        _check_shapes(self)
        if bool(((self.label < FIRST) | (self.label > TIE)).any()):
            raise ValueError("Pairs.label must be FIRST (0), SECOND (1) or TIE (2)")

    def rows(self, index: Any) -> Pairs:
        """The pairs that `index` (a tensor of integers or booleans, a list or a slice) picks, in its order."""
        return next(self.picks([index]))

    def picks(self, indices: Iterable[Any]) -> Iterator[Pairs]:
        """`rows` of each index; for many of them, as all texts are read once and not anew for each."""
        places = torch.arange(len(self.label))
        rows = (places[index.cpu() if isinstance(index, Tensor) else index] for index in indices)
        for_first, for_second, for_rest = tee(rows, 3)
        firsts, seconds = _picked(self.first, for_first), _picked(self.second, for_second)
        for at, first, second in zip(for_rest, firsts, seconds, strict=True):
            chosen, on = at.tolist(), at.to(self.label.device)
            columns = None if self.columns is None else {k: [v[i] for i in chosen] for k, v in self.columns.items()}
            weight = None if self.weight is None else self.weight[on]
            yield Pairs(first=first, second=second, label=self.label[on], weight=weight, columns=columns)


def _picked(side: Any, rows: Iterable[Tensor]) -> Iterator[Any]:
    """Those rows of one side of pairs, index by index."""
    if isinstance(side, Completions):
        return side.picks(rows)
    if isinstance(side, Rollout):
        return (side.columns(at.to(side.extrinsic.device)) for at in rows)
    return ([side[i] for i in at.tolist()] for at in rows)


@tensorclass
class Labels:
    """A batch of `Label`: `value` is NaN where there is a `reason` instead."""

    item: list
    value: Annotated[Tensor, "N"]
    reason: list
    judge: list
    prompt: list
    weight: Annotated[Tensor, "N"]

    def __post_init__(self) -> None:
        _check_shapes(self)

    @classmethod
    def from_rows(cls, rows: Sequence[Label]) -> Labels:
        """Stacks rows; an unlabelled one becomes NaN and keeps its reason."""
        value = torch.tensor([math.nan if r.value is None else float(r.value) for r in rows])
        weight = torch.tensor([r.weight for r in rows])
        names = ("item", "reason", "judge", "prompt")
        return cls(value=value, weight=weight, **{n: [getattr(r, n) for r in rows] for n in names})

    def rows(self) -> Iterator[Label]:
        """The batch as `Label` rows again."""
        columns = (self.item, self.value.tolist(), self.reason, self.judge, self.prompt, self.weight.tolist())
        for item, value, reason, judge, prompt, weight in zip(*columns, strict=True):
            kept = item if isinstance(item, str) else (item[0], item[1])
            yield Label(kept, None if math.isnan(value) else value, reason, judge, prompt, weight)


@tensorclass
class Chain:
    """A generation chain (denoising, unmasking, decoding): K moves between K+1 states."""

    states: Annotated[Tensor, "K+1 B *"]
    times: Annotated[Tensor, "K+1"]
    log_prob: Annotated[Tensor, "K B"] | None = None
    condition: Any = None
    group: Annotated[Tensor, "B"] | None = None
    parent: Annotated[Tensor, "K B"] | None = None  # index of the state each move came from, after resampling
    columns: dict | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)


Experience = Rollout | Completions | Chain
