"""The reward contract and its algebra: ``0.1 * Extrinsic() + 0.4 * ONI() + Stream(RND(), gamma=0.99)``."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from guerdon.types.experience import Chain, Completions, Experience, Labels, Pairs, Rollout
from guerdon.types.labels import Item
from guerdon.types.protocols import Spec

V = TypeVar("V")


@dataclass(frozen=True)
class About:
    """What the catalogue prints of a method: a reward, or a credit or filter."""

    rewards: str  # what it pays for, or does, in a few words
    paper: str  # "Title (authors or group, year)"
    link: str = ""
    scores: str = "Rollout"  # "Rollout", "Completions", "Pairs", "Chain" or "any"
    claim: str = ""  # stem of its script under claims/; empty for plain tools
    example: str = ""  # an expression that makes one, where `Name()` alone cannot; docs show it, contract tests use it


class Scored(NamedTuple):
    """One evaluation of a reward: its value, the named terms whose sum it is, and every stage on the way there."""

    value: Tensor
    terms: dict[str, Tensor]
    stages: dict[str, Tensor]

    def then(self, name: str, value: Tensor) -> Scored:
        """What a wrapper called `name` makes of it: one term, and both what went in and what came out as stages."""
        return Scored(value, {name: value}, self.stages | {f"{name}/in": self.value, f"{name}/out": value})


class Reward(nn.Module):
    """The one base class of every reward: subclass it, give it keyword arguments, and write `score`.

    The constructor remembers its keywords under their own names and does nothing else: the keywords are the
    configuration, and ``repr(reward)`` is an expression that makes the reward again. `build` makes networks and
    buffers. `score` is pure for a fixed state; `observe` and `update` are where state may change. Every hook but
    `score` reaches the rewards this one is made of, so a wrapper writes only what it changes.

    NaN means "not scored", 0.0 means "scored zero". Padding and invalid steps are 0.0. Infinities and wrong shapes
    are errors that name the reward. State lives in buffers, parameters and `get_extra_state` (plain values only).
    """

    about: ClassVar[About]
    needs: ClassVar[frozenset[str]] = frozenset()  # what a learner must hand to `score`: "policy", "reference", ...
    reads_captions: ClassVar[bool] = False  # whether rollouts must carry caption ids and counts
    episodic: ClassVar[bool] = False  # whether a score belongs to its place in an episode: no replayed single steps

    def __init__(self) -> None:
        super().__init__()  # nn.Module's own takes any argument: then a method without keywords would, too

    @property
    def name(self) -> str:
        """What logs call this reward."""
        return type(self).__name__

    @property
    def parts(self) -> list[Reward]:
        """The rewards this one is made of."""
        return [child for child in self.children() if isinstance(child, Reward)]

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        """Makes networks and buffers; called once, by the learner or adapter, before anything else."""
        for part in self.parts:
            part.build(spec, device=device, generator=generator)

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        """[T, B] for a Rollout; [N] (a whole answer) or [N, L] (tokens, steps) for Completions. Does not detach."""
        if type(self).evaluate is Reward.evaluate:
            raise NotImplementedError(f"{self.name} defines neither score nor evaluate")
        return self.evaluate(experience, **needed).value

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        """`score`, checked, with its terms and stages from the same tensors. Wrappers write this instead of `score`."""
        missing = self.needs - needed.keys()
        if missing:
            raise ValueError(f"{self.name} needs {', '.join(sorted(missing))} to score, and was handed none")
        scores = self.about.scores if hasattr(self, "about") else "any"
        if scores not in ("any", type(experience).__name__):
            raise TypeError(f"{self.name} scores a {scores}, not a {type(experience).__name__}")
        handed = {key: needed[key] for key in self.needs}
        value = check_score(self.score(experience, **handed), experience, self.name)
        return Scored(value, {self.name: value}, {self.name: value})

    def terms(self, experience: Experience, **needed: Any) -> dict[str, Tensor]:
        """What `score` sums, by name."""
        return self.evaluate(experience, **needed).terms

    def observe(self, rollout: Rollout) -> None:
        """Advances episodic memory, filters and running statistics; once per collected rollout, after `score`."""
        for part in self.parts:
            part.observe(rollout)

    def questions(self, rollout: Rollout) -> list[Item]:
        """What this reward would like a judge to be asked after this rollout; the newest last."""
        return [item for part in self.parts for item in part.questions(rollout)]

    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Learns from experience, comparisons or labels, and returns what to log."""
        return _merge([part.update(experience) for part in self.parts])

    def loss(self, experience: Experience, policy: Any) -> Tensor | None:
        """A term for the learner's own objective, or None."""
        losses = [x for part in self.parts if (x := part.loss(experience, policy)) is not None]
        return sum(losses[1:], losses[0]) if losses else None

    def config(self) -> dict[str, Any]:
        """The keywords this reward was made with."""
        return {key: getattr(self, key) for key in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        parameters, config = inspect.signature(type(self)).parameters, self.config()
        given = {k: v for k, v in config.items() if isinstance(v, nn.Module) or v != parameters[k].default}
        by_name = {k for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
        shown = [f"{k}={v!r}" if k in by_name else repr(v) for k, v in given.items()]
        module, name = type(self).__module__, type(self).__name__
        own = "" if module.partition(".")[0] == "guerdon" else f"{module}:"  # as the expression parser finds it
        return f"{own}{name}({', '.join(shown)})"

    def __add__(self, other: Reward) -> Sum:
        return Sum(self, other)

    def __radd__(self, other: Any) -> Reward:
        return self if isinstance(other, int) and other == 0 else Sum(other, self)  # sum([...]) starts with 0

    def __mul__(self, other: Reward | float) -> Product:
        return Product(self, other)

    def __rmul__(self, other: float) -> Product:
        return Product(other, self)


class Sum(Reward):
    """The sum of rewards. Unscored (NaN) terms are skipped; where every term is unscored the sum is too."""

    def __init__(self, *rewards: Any) -> None:
        super().__init__()
        adopted = [as_reward(r) for r in rewards]
        self.rewards = nn.ModuleList(p for r in adopted for p in (r.rewards if isinstance(r, Sum) else [r]))

    @property
    def name(self) -> str:
        return "+".join(part.name for part in self.parts)

    @property
    def parts(self) -> list[Reward]:
        return list(self.rewards)  # type: ignore[arg-type]

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        scored = [part.evaluate(experience, **needed) for part in self.parts]
        terms = _merge([s.terms for s in scored])
        values = _stack([s.value for s in scored], experience)
        value = torch.where(values.isnan().all(0), torch.nan, values.nan_to_num(nan=0.0).sum(0))
        return Scored(value, terms, _merge([s.stages for s in scored]))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


class Product(Reward):
    """The product of rewards and numbers. A product with an unscored (NaN) factor is unscored."""

    def __init__(self, *factors: Any) -> None:
        super().__init__()
        self.weight = 1.0
        rewards: list[Reward] = []
        for factor in factors:
            if isinstance(factor, (int, float)) and not isinstance(factor, bool):
                self.weight *= factor
            elif isinstance(factor, Product):
                self.weight *= factor.weight
                rewards.extend(factor.parts)
            else:
                rewards.append(as_reward(factor))
        if not rewards or not math.isfinite(self.weight):
            raise ValueError(f"a product needs a reward and a finite weight, got {factors!r}")
        self.rewards = nn.ModuleList(rewards)

    @property
    def name(self) -> str:
        return "*".join(part.name for part in self.parts)

    @property
    def parts(self) -> list[Reward]:
        return list(self.rewards)  # type: ignore[arg-type]

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        scored = [part.evaluate(experience, **needed) for part in self.parts]
        stages = _merge([s.stages for s in scored])
        if len(scored) == 1:  # a weight: each term keeps its name
            terms = {name: self.weight * term for name, term in scored[0].terms.items()}
            value = self.weight * scored[0].value
            return Scored(value, terms, stages | {f"{self.weight:g}*{name}": term for name, term in terms.items()})
        value = self.weight * _stack([s.value for s in scored], experience).prod(0)
        return Scored(value, {self.name: value}, stages | {self.name: value})

    def loss(self, experience: Experience, policy: Any) -> Tensor | None:
        """What its one reward adds to the objective, weighted as its score is; of several factors, as they are."""
        added = super().loss(experience, policy)
        return added if added is None or len(self.parts) > 1 else self.weight * added

    def __repr__(self) -> str:
        shown = [f"({p!r})" if isinstance(p, Sum) else repr(p) for p in self.parts]
        weighted = self.weight != 1 or len(shown) == 1  # 1.0 * X() is no X(): the names in its state differ
        return " * ".join([repr(self.weight)] * weighted + shown)


class Stream(Reward):
    """A term with a discount, a horizon and a value head of its own: ``Stream(RND(), gamma=0.99, episodic=False)``.

    With `episodic` False the return runs on across the ends of episodes. Without `name` it is the inner reward's.
    `gamma` None means the learner's own discount.
    """

    def __init__(self, reward: Any, *, name: str | None = None, gamma: float | None = None, episodic: bool = True):
        super().__init__()
        self.reward = as_reward(reward)
        self.stream_name, self.gamma, self.episodic = name, gamma, episodic  # type: ignore[misc]

    @property
    def name(self) -> str:
        return self.stream_name or self.reward.name

    def config(self) -> dict[str, Any]:
        return {"reward": self.reward, "name": self.stream_name, "gamma": self.gamma, "episodic": self.episodic}

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        return self.reward.evaluate(experience, **needed)


class Adopted(Reward):
    """A reward made of any object with a ``score(experience)``; what else it has of the contract is used too."""

    _HOOKS = ("build", "observe", "questions", "update", "loss")

    def __init__(self, obj: Any) -> None:
        super().__init__()
        self.obj = obj
        for hook in self._HOOKS:
            if hasattr(obj, hook):
                object.__setattr__(self, hook, getattr(obj, hook))
        object.__setattr__(self, "needs", frozenset(getattr(obj, "needs", ())))

    @property
    def name(self) -> str:
        return getattr(self.obj, "name", type(self.obj).__name__)

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        return self.obj.score(experience, **needed)

    def get_extra_state(self) -> Any:
        """The state of what is adopted; a module among a module's children has saved itself."""
        own = not isinstance(self.obj, nn.Module) and hasattr(self.obj, "state_dict")
        return self.obj.state_dict() if own else None

    def set_extra_state(self, state: Any) -> None:
        if state is not None:
            self.obj.load_state_dict(state)

    def __repr__(self) -> str:
        return repr(self.obj)


def as_reward(obj: Any) -> Reward:
    """`obj` itself if it is a Reward; else an adopted one, if it has a ``score``. Raises TypeError otherwise."""
    if isinstance(obj, Reward):
        return obj
    if callable(getattr(obj, "score", None)) and not isinstance(obj, type):
        return Adopted(obj)
    hint = f"; write {obj.__name__}() with parentheses" if isinstance(obj, type) else ""
    raise TypeError(f"{obj!r} is not a reward: it needs a score(experience) method{hint}")


def streams(reward: Reward) -> list[Stream]:
    """`reward` as streams: each Stream among its terms is one of its own, all other terms share one named "reward"."""
    parts = reward.parts if isinstance(reward, Sum) else [reward]
    own = [part for part in parts if isinstance(part, Stream)]
    rest = [part for part in parts if not isinstance(part, Stream)]
    found = ([Stream(rest[0] if len(rest) == 1 else Sum(*rest), name="reward")] if rest else []) + own
    for inner in (m for s in found for m in s.reward.modules()):
        if isinstance(inner, Stream):
            raise ValueError(
                f"the Stream {inner.name} must be a term of its own: write Stream(0.5 * X()), not 0.5 * Stream(X())"
            )
    names = [s.name for s in found]
    if len(set(names)) != len(names):
        raise ValueError(f"streams need different names, got {names}: pass Stream(..., name=...)")
    return found


def check_score(value: Any, experience: Experience, name: str) -> Tensor:
    """`value` as a checked score of `experience`: float32, right shape, no infinity, 0 where there is padding."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}.score must return a tensor, got {type(value).__name__}")
    if isinstance(experience, Rollout):
        allowed, valid = [experience.shape], experience.valid
    elif isinstance(experience, Completions):
        allowed, valid = [experience.shape[:1], experience.shape], experience.mask if value.ndim == 2 else None
    elif isinstance(experience, Chain):
        allowed, valid = [(experience.states.shape[1],)], None
    else:
        raise TypeError(f"{name} cannot score a {type(experience).__name__}")
    if tuple(value.shape) not in allowed:
        wanted = " or ".join(str(list(shape)) for shape in allowed)
        raise ValueError(f"{name}.score must have shape {wanted}, got {list(value.shape)}")
    value = value.float()
    if valid is not None:
        value = value.masked_fill(~valid.bool(), 0.0)
    if bool(value.isinf().any()):
        raise ValueError(f"{name}.score is infinite at {int(value.isinf().sum())} of {value.numel()} places")
    return value


def _stack(values: list[Tensor], experience: Experience) -> Tensor:
    """Values side by side; an answer's [N] beside tokens' [N, L] stands on the answer's last valid token."""
    if not any(v.ndim == 2 for v in values) or not isinstance(experience, Completions):
        return torch.stack(values)
    last = experience.ends()
    return torch.stack([v if v.ndim == 2 else torch.where(last, v[:, None], 0.0) for v in values])


def _merge(tables: list[dict[str, V]]) -> dict[str, V]:
    """One table of all entries; a name that comes again gets a number."""
    merged: dict[str, V] = {}
    for table in tables:
        for name, value in table.items():
            unique, n = name, 2
            while unique in merged:
                unique, n = f"{name}.{n}", n + 1
            merged[unique] = value
    return merged
