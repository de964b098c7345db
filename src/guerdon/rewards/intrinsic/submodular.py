"""SubmodularReward: what a step adds to a set function of all that the episode has visited."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from guerdon.parts.episodes import RunningEpisodes, Visits
from guerdon.parts.marginal_gain import Coverage, SetFunction, State, check_items, where
from guerdon.types import About, Reward, Rollout, Spec


class SubmodularReward(Reward):
    """Pays the marginal gains of a set function F along an episode: the reward of submodular reinforcement learning.

        r_t = F({s_0, ..., s_{t+1}}) - F({s_0, ..., s_t}),        which sum to F(episode) - F({s_0})

    A place gains less the more is known of its surroundings, and with coverage nothing twice: an agent paid so spreads
    out, where one paid F({s}) parks on the best spot. [T, B] float32, in F's unit, at least 0 if F is monotone.
    Terminal observations are paid, invalid steps are 0. The set belongs to its environment, runs on over rollouts and
    begins anew with s_0 of each episode. Not Markov in the state: give a critic time, or show what is covered.

    Prajapat, Mutny, Zeilinger and Krause, "Submodular Reinforcement Learning", 2023. Pays the gains of the paper's
    formula; the authors' tabular script pays the whole prefix F(s_0 .. s_{t+1}) at each step.

    Args:
        function: F, see `guerdon.parts.marginal_gain` and `set_functions`; None is coverage of `cells`.
        key: the observation that tells where the agent is; None takes the only one.
        cells: a grid over the observed numbers, such as (30, 30): the item is the cell. Numbers outside lie in the
            outermost cells. A Discrete observation is an item as it is; `cells` then only says how items lie.
        radius: of the disc that a visit covers, in cells between centres (0: the cell alone). Without `function` only.
        low, high: the grid's corners, numbers or one for each axis; None takes the space's bounds.
        axes: which entries of the observed vector span the grid, or are the point that F is given; None takes all.
        items: in place of all these, called with the observations (TensorDict [T+1, B]) for the items [T+1, B, ...].

    Raises:
        ValueError: the options do not fit the observation space; a position of another shape, or not finite; an item
            outside F's ground set; another number of environments than it was built for; a gain that is NaN or
            infinite, with the items of the episode so far.
    """

    about: ClassVar[About] = About(
        rewards="what a step adds to all that the episode has covered, collected or measured",
        paper="Submodular Reinforcement Learning (Prajapat et al., 2023)",
        link="https://arxiv.org/abs/2307.13372",
        claim="subpo",
        example="SubmodularReward(cells=(4, 4, 4), low=-2.0, high=2.0, radius=1.0)",
    )
    episodic: ClassVar[bool] = True

    def __init__(
        self,
        *,
        function: SetFunction | None = None,
        key: str | None = None,
        cells: Sequence[int] | None = None,
        radius: float = 0.0,
        low: float | Sequence[float] | None = None,
        high: float | Sequence[float] | None = None,
        axes: Sequence[int] | None = None,
        items: Callable[[Any], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if function is not None and radius:
            raise ValueError(
                "radius is of the coverage that SubmodularReward makes itself: leave it out with function="
            )
        self.function, self.key, self.cells, self.radius = function, key, cells, radius
        self.low, self.high, self.axes, self.items = low, high, axes, items

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        space = None if self.items is not None else self._place(spec.observation_space)
        grid = self.cells
        if isinstance(space, spaces.Discrete):
            grid = (int(space.n),) if grid is None else grid
            if math.prod(grid) != space.n:
                raise ValueError(
                    f"{self.name}: cells={grid} are {math.prod(grid)}, observation {self.key!r} has {space.n}"
                )
        self.shape = None if space is None else space.shape
        self.start = int(space.start) if isinstance(space, spaces.Discrete) else None
        self.grid = self._corners(space) if self.start is None and grid is not None and space is not None else None
        if self.function is None and grid is None:
            raise ValueError(f"{self.name} needs a function=, or cells= to cover, such as cells=(30, 30)")
        made = Coverage.discs(tuple(grid), radius=self.radius) if self.function is None else self.function  # type: ignore[arg-type]
        self.measure: SetFunction = made.to(device) if isinstance(made, nn.Module) else made
        self.episodes = RunningEpisodes(spec.num_envs, self.name).to(device)
        self.memory = nn.Module()
        for name, value in self.measure.reset(spec.num_envs).items():
            self.memory.register_buffer(name, value)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        return self._walk(experience)[0]

    def observe(self, rollout: Rollout) -> None:
        for name, value in self._walk(rollout)[1].items():
            self.memory.get_buffer(name).copy_(value)
        self.episodes.advance(rollout)

    def value(self) -> Tensor:
        """F of each environment's set as it is now, [B] float64: of the last episode where one has just ended."""
        return self.measure.value(dict(self.memory.named_buffers()))

    @torch.no_grad()
    def _walk(self, rollout: Rollout) -> tuple[Tensor, State]:
        """The gains [T, B] of a rollout, and the sets after it."""
        visits = self.episodes.visits(rollout)
        items, valid = self._items(rollout, visits), rollout.valid.bool()
        state, empty = dict(self.memory.named_buffers()), self.measure.reset(len(self.episodes.ended))
        gains = torch.zeros(valid.shape, dtype=torch.float64, device=valid.device)
        running = torch.zeros_like(visits.episode[0])
        for t, (there, episode) in enumerate(zip(visits.there, visits.episode, strict=True)):
            state = where(episode == running, state, empty)
            running = episode
            if t > 0:
                gains[t - 1] = torch.where(valid[t - 1], self.measure.gain(state, items[t]), 0.0)
            added = self.measure.add(where(there, state, empty), items[t])
            state = where(there, added, state)
        self._check(gains, items, visits)
        return gains.float(), state

    def _items(self, rollout: Rollout, visits: Visits) -> Tensor:
        """[T+1, B, ...]; 0 where there is no visit."""
        if self.items is not None:
            items = self.items(rollout.obs)
        else:
            items = rollout.obs[self.key or next(iter(rollout.obs.keys()))]
            if tuple(items.shape[2:]) != self.shape:
                shape = [*visits.there.shape, *(self.shape or ())]
                raise ValueError(f"{self.name}: positions must have shape {shape}, got {list(items.shape)}")
            if self.start is not None:
                items = items.long() - self.start
            elif items.is_floating_point() or self.grid is not None:
                items = items.flatten(2)[..., self.axes or slice(None)].double()
            elif items.ndim == 3:
                items = items.squeeze(-1)
        there = visits.there.view(*visits.there.shape, *[1] * (items.ndim - 2))
        items = torch.where(there, items, 0)
        if not bool(items.isfinite().all()):
            raise ValueError(f"{self.name}: a position is not finite: {items[~items.isfinite().all(-1)][0].tolist()}")
        if self.grid is not None and self.start is None:
            low, high, sides = (x.to(items.device) for x in self.grid)
            index = ((items - low) / (high - low) * sides).floor().clamp(sides * 0, sides - 1).long()
            strides = sides.flip(0).cumprod(0).flip(0) // sides
            items = (index * strides.long()).sum(-1) * visits.there
        try:
            check_items(self.measure, items)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return items

    def _check(self, gains: Tensor, items: Tensor, visits: Visits) -> None:
        """Raises ValueError with the prefix that a set function made no number of."""
        if bool(gains.isfinite().all()):
            return
        t, b = (~gains.isfinite()).nonzero()[0].tolist()
        seen = visits.there[: t + 2, b] & (visits.episode[: t + 2, b] == visits.episode[t + 1, b])
        raise ValueError(
            f"{self.name}: {type(self.measure).__name__} gained {float(gains[t, b])} at step {t} of environment {b}, "
            f"with the last of these items of its episode in this rollout: {items[: t + 2, b][seen].tolist()}"
        )

    def _place(self, space: Any) -> spaces.Space:
        """The space of the observation that tells where the agent is."""
        keys = list(space)
        if self.key is None and len(keys) > 1:
            raise ValueError(f"{self.name}: say key=, one of {keys}")
        if self.key is not None and self.key not in keys:
            raise ValueError(f"{self.name}: there is no observation {self.key!r}, but {keys}")
        return space[self.key or keys[0]]

    def _corners(self, space: spaces.Space) -> tuple[Tensor, Tensor, Tensor]:
        """low, high and cells, [d] each."""
        if not isinstance(space, spaces.Box):
            raise ValueError(f"{self.name}: cells= needs numbers to lie on a grid, not {space}")
        sides = torch.tensor(tuple(self.cells), dtype=torch.float64)  # type: ignore[arg-type]
        axes = list(self.axes or range(int(np.prod(space.shape))))
        if len(axes) != len(sides):
            raise ValueError(
                f"{self.name}: {len(sides)} sides of cells={self.cells} for {len(axes)} numbers; say axes="
            )
        ends = [
            torch.as_tensor(bound.reshape(-1)[axes] if own is None else own, dtype=torch.float64).expand(len(sides))
            for own, bound in ((self.low, space.low), (self.high, space.high))
        ]
        if not bool((ends[0] < ends[1]).all() and torch.cat(ends).isfinite().all()):
            raise ValueError(
                f"{self.name}: a grid from {ends[0].tolist()} to {ends[1].tolist()}: say finite low= and high="
            )
        return ends[0], ends[1], sides
