"""What a reward model sees: experience to vectors, before a head makes one number of each."""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from guerdon.models.actions import ActionCode
from guerdon.models.observation_net import ObservationInput, ObservationNet, next_obs
from guerdon.models.seeded import seeded
from guerdon.models.sentence_encoder import PACKAGED, SentenceEncoder
from guerdon.parts.length_batches import length_batches
from guerdon.types import Completions, Experience, Reward, Rollout, Spec

STORE_BYTES = 2**30
"""What a `FeatureStore` may hold before it begins to forget."""


class RewardEncoder(nn.Module):
    """Experience to features [N, D] of Completions, or [T, B, D] of a Rollout, differentiable where it can learn.

    Like a reward it is made with keywords that it only remembers, and built once. An encoder of your own needs
    `build`, which sets `size`, and `forward`.
    """

    size: int  # D, known once built
    place: Tensor  # of no dimension, where the features are computed
    learns: bool = True  # whether any of it is trained
    lr: float = 1e-3  # a step size that suits what learns
    head_bias: bool = True  # whether a linear head on it has an offset
    reader: str = "RewardEncoder"  # whose encoder it is, for errors

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None,
        reader: str = "RewardEncoder",
    ) -> None:  # fmt: skip
        """Makes networks; called once, by the reward."""
        raise NotImplementedError

    def forward(self, experience: Experience) -> Tensor:
        raise NotImplementedError

    def observe(self, experience: Experience) -> None:
        """Takes experience that is about to be learned from into running statistics, if there are any."""

    def check(self, experience: Experience) -> None:
        """Raises what reading this experience would raise; what is computed once is computed now."""
        if not self.learns:
            self(experience)

    def lengths(self, experience: Experience) -> list[int] | None:
        """Tokens of each completion, where those cost most and memory is short; None where rows cost about the same."""

    config, __repr__ = Reward.config, Reward.__repr__


class Features(RewardEncoder):
    """Named numbers as they are: columns of Completions, or entries of a Rollout's observations, in the given order.

    A step of a Rollout is seen as what it led to, index t + 1. With `low` and `high` the numbers are brought to 0..1,
    and one outside is an error, as is a missing or unfinite one: nothing is imputed.

    Args:
        names: of columns or observations.
        low: smallest value that there is.
        high: largest.
        width: numbers in each entry of a column; 1 for plain numbers.
    """

    learns = False

    def __init__(
        self, names: Sequence[str] = (), *, low: float | None = None, high: float | None = None, width: int = 1
    ) -> None:
        super().__init__()
        if (low is None) != (high is None) or (low is not None and high is not None and not low < high):
            raise ValueError(f"Features takes both low and high, low below high, or neither; got {low} and {high}")
        self.names, self.low, self.high, self.width = list(names), low, high, width

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None,
        reader: str = "Features",
    ) -> None:  # fmt: skip
        if not self.names:
            raise ValueError(f"{reader}'s Features need the names of at least one column or observation")
        self.reader, self.size = reader, self.width * len(self.names)
        self.register_buffer("place", torch.zeros((), device=device), persistent=False)
        known = spec.observation_space.spaces if isinstance(spec.observation_space, spaces.Dict) else {}
        if all(name in known for name in self.names):
            if strange := [name for name in self.names if known[name].shape is None]:
                raise TypeError(f"{reader}'s Features cannot read {strange[0]!r} of {known[strange[0]]}")
            self.size = sum(int(np.prod(known[name].shape)) for name in self.names)  # type: ignore[arg-type]

    def forward(self, experience: Experience) -> Tensor:
        if isinstance(experience, Rollout):
            x = torch.cat([self._obs(experience, name) for name in self.names], -1)
            x = torch.where(experience.valid.bool()[..., None], x, 0.0 if self.low is None else self.low)
        elif isinstance(experience, Completions):
            x = torch.cat([self._column(experience, name) for name in self.names], -1)
        else:
            raise TypeError(
                f"{self.reader}'s Features read Completions and Rollouts, not a {type(experience).__name__}"
            )
        return self._scaled(x)

    def _obs(self, rollout: Rollout, name: str) -> Tensor:
        if name not in list(rollout.obs.keys()):
            raise ValueError(self._unknown(name, list(rollout.obs.keys()), "observations have"))
        return (
            rollout.obs[name][1:].float().flatten(2) if rollout.obs[name].ndim > 2 else rollout.obs[name][1:, :, None]
        )

    def _column(self, completions: Completions, name: str) -> Tensor:
        there = completions.columns or {}
        if name not in there:
            raise ValueError(self._unknown(name, list(there), "completions have"))
        values = there[name]
        try:
            if all(isinstance(v, (int, float)) for v in values):
                x = torch.tensor(values, dtype=torch.float32)[:, None]
            else:
                x = torch.stack([torch.as_tensor(v, dtype=torch.float32).reshape(-1) for v in values])
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{self.reader}: the column {name!r} holds something else than numbers: {error}") from None
        if x.shape[1] != self.width:
            raise ValueError(f"{self.reader}: the column {name!r} has {x.shape[1]} numbers a row, not {self.width}")
        return x.to(self.place.device)

    def _unknown(self, name: str, known: list[str], whose: str) -> str:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"{self.reader} reads {name!r}, but {whose} {', '.join(known) or 'none'}{hint}"

    def _scaled(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.size:
            raise ValueError(f"{self.reader}: {', '.join(self.names)} have {x.shape[-1]} numbers, not {self.size}")
        if bool((~x.isfinite()).any()):
            column = int((~x.isfinite()).flatten(0, -2).any(0).nonzero()[0])
            name = self.names[column * len(self.names) // x.shape[-1]]
            raise ValueError(f"{self.reader}: the feature {name!r} is NaN or infinite somewhere; leave such rows out")
        if self.low is None or self.high is None:
            return x
        if bool(((x < self.low) | (x > self.high)).any()):
            bad = float(x[(x < self.low) | (x > self.high)][0])
            raise ValueError(f"{self.reader}: a feature is {bad:g}, outside {self.low:g}..{self.high:g}")
        return (x - self.low) / (self.high - self.low)


class Observations(RewardEncoder):
    """What each step of a Rollout led to, and the action that led there, through an `ObservationNet`: [T, B, `size`].

    Args:
        keys: of the observations; None for all.
        actions: whether the action is seen, too.
        hidden: dense layers (64, 64: as small as PEBBLE-style reward models of control get by with; our choice).
        size: of the features.
        standardise: numbers become (x - mean) / std of what was learned from, see `ObservationInput`.
    """

    def __init__(
        self, *, keys: Sequence[str] | None = None, actions: bool = True, hidden: Sequence[int] = (64,), size: int = 64,
        standardise: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.keys, self.actions, self.hidden, self.size = keys, actions, hidden, size
        self.standardise = standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None,
        reader: str = "Observations",
    ) -> None:  # fmt: skip
        self.reader = reader
        self.given = ObservationInput(
            spec.observation_space, keys=self.keys, standardise=self.standardise, reader=reader
        )
        self.code = ActionCode(spec.action_space, reader=reader) if self.actions else None
        if self.code:
            self.given.width += self.code.size  # the network takes the action as further numbers
        with seeded(generator):
            self.net = ObservationNet(self.given, self.size, hidden=self.hidden)
        self.to(device)

    def forward(self, experience: Experience) -> Tensor:
        if not isinstance(experience, Rollout):
            raise TypeError(
                f"{self.reader}'s Observations read Rollouts, not {type(experience).__name__}; for texts write "
                "encoder=Embeddings() or encoder=Transformer(model=...)"
            )
        x = self.given(next_obs(experience.obs, self.given.keys))
        if self.code:
            action = self.code(experience.action.flatten(0, 1))
            x = x | {"numbers": torch.cat([x["numbers"], action], -1) if "numbers" in x else action}
        return torch.relu(self.net(x)).view(*experience.shape, self.size)

    def observe(self, experience: Experience) -> None:
        if isinstance(experience, Rollout):
            self.given.observe(next_obs(experience.obs, self.given.keys), experience.valid.bool().flatten())


class Embeddings(RewardEncoder):
    """Texts by a frozen sentence encoder: e(text), and with `prompt` also e(prompt) * e(text), [N, D or 2 D].

    e is the embedding times sqrt(D), so that its entries are about 1 and heads learn with their usual step size.
    The product lets a linear head ask whether answer and prompt agree in a direction; e(prompt) by itself would cancel
    in any comparison of two answers to it. Each text is embedded once and kept, see `FeatureStore`; rewards with the
    same model share what is kept.

    Args:
        model: as `SentenceEncoder` takes it.
        prompt: False looks at the text alone.
        truncate: a text of more tokens than the encoder reads (256 of all-MiniLM-L6-v2) is an error that names the row;
            True cuts it there, and counts it in `truncated`.
    """

    learns = False

    def __init__(self, *, model: str = PACKAGED, prompt: bool = True, truncate: bool = False) -> None:
        super().__init__()
        self.model, self.prompt, self.truncate = model, prompt, truncate
        self.truncated = 0

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None,
        reader: str = "Embeddings",
    ) -> None:  # fmt: skip
        self.reader = reader
        self.register_buffer("place", torch.zeros((), device=device), persistent=False)
        self.size = shared_encoder(self.model, str(self.place.device)).size * (2 if self.prompt else 1)

    def forward(self, experience: Experience) -> Tensor:
        if not isinstance(experience, Completions):
            raise TypeError(f"{self.reader}'s Embeddings read Completions, not a {type(experience).__name__}")
        texts = list(experience.text)
        e = self._embed(texts, "text")
        if not self.prompt:
            return e
        return torch.cat([e, e * self._embed([plain(p) for p in experience.prompt], "prompt")], -1)

    def _embed(self, texts: list[str], what: str) -> Tensor:
        shared = shared_encoder(self.model, str(self.place.device))
        found, lengths = shared(texts)
        long = (lengths > shared.encoder.max_length).nonzero().flatten().tolist()
        if long and not self.truncate:
            raise ValueError(
                f"{self.reader}: the {what} of row {long[0]} has {int(lengths[long[0]])} tokens, and {self.model} "
                f"reads {shared.encoder.max_length} ({len(long)} such rows): shorten them, or let "
                "Embeddings(truncate=True) cut them there"
            )
        self.truncated += len(long)
        return found * shared.size**0.5


class FeatureStore:
    """Vectors by key, computed when first asked for; over 1 GiB the oldest are forgotten. Pickles empty."""

    def __init__(self) -> None:
        self.kept: dict[Any, Tensor] = {}

    def __call__(self, keys: Sequence[Any], compute: Callable[[list[Any]], Tensor]) -> Tensor:
        """[n, D] for n keys; `compute` makes those of the keys that are new."""
        new = list(dict.fromkeys(key for key in keys if key not in self.kept))
        if new or not keys:
            made = compute(new)
            self.kept.update(zip(new, made.unbind(0), strict=True))
            if not keys:
                return made
        found = torch.stack([self.kept[key] for key in keys])
        for key in list(itertools.islice(self.kept, max(0, len(self.kept) - STORE_BYTES // found[0].nbytes))):
            del self.kept[key]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": {}}


class SharedEncoder:
    """A sentence encoder whose texts are embedded once, in batches of like length."""

    def __init__(self, model: str, device: str) -> None:
        self.encoder, self.store = SentenceEncoder(model, device=device), FeatureStore()
        self.size = int(self.encoder([""]).shape[1])

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings [n, D], and how many tokens each text has before it is cut, [n]."""
        found = self.store(texts, self._compute)
        return found[:, :-1], found[:, -1]

    def _compute(self, texts: list[str]) -> Tensor:
        lengths = self.encoder.lengths(texts)
        made = torch.zeros(len(texts), self.size + 1, device=self.encoder.device)
        made[:, -1] = torch.tensor(lengths, dtype=torch.float32)
        for rows in length_batches([min(n, self.encoder.max_length) for n in lengths], 8192):
            made[rows, :-1] = self.encoder([texts[i] for i in rows])
        return made


@functools.lru_cache(maxsize=4)
def shared_encoder(model: str, device: str) -> SharedEncoder:
    """The one sentence encoder of this process with that model, on that device."""
    return SharedEncoder(model, device)


def plain(prompt: Any) -> str:
    """A prompt as one text: messages one after the other, by what they say."""
    return prompt if isinstance(prompt, str) else "\n".join(str(message.get("content", "")) for message in prompt)
