"""The world that probes put a reward into: a corridor with a television, of which every visit is known."""

from __future__ import annotations

import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.types import Rollout, Spec

STATES = 24
ENVS = STATES - 1  # one for each step to the right, so that a sweep shows them all
STEPS = 16  # of an episode: it cannot reach the last states
WALK = 8  # steps of `walks`
CODE, NOISE = 16, 8  # numbers of an observation: of the place, and of what is on television
LEFT, RIGHT, STAY, REMOTE = range(4)
MOVES = torch.tensor([-1, 1, 0, 0])


class ProbeWorld:
    """A corridor of 24 places, walked by chance from the left end for 16 steps at a time, by 23 walkers.

    An observation is a random code of the place and what is on television: zeros, or, where somebody has just pressed
    the remote, noise that never comes again. Left places are visited often, further ones rarely, the last ones never.

    Args:
        seed: of codes and walks.
        scale: observations are multiplied by it.
        television: chance of pressing the remote at each step, for every other walker.
    """

    def __init__(self, *, seed: int = 0, scale: float = 1.0, television: float = 0.0) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        self.codes = torch.randn(STATES, CODE, generator=self.rng)
        self.scale, self.television = scale, television
        self.visits = torch.zeros(STATES)

    @property
    def spec(self) -> Spec:
        box = spaces.Box(-float("inf"), float("inf"), (CODE + NOISE,))
        return Spec(spaces.Dict({"obs": box}), spaces.Discrete(4), num_envs=ENVS)

    def practice(self) -> Rollout:
        """One episode of each walker, and the step that begins the next; counts the visits."""
        drawn = torch.multinomial(torch.tensor([0.35, 0.5, 0.15]), STEPS * ENVS, True, generator=self.rng)
        action = drawn.view(STEPS, ENVS)
        presses = torch.rand(STEPS, ENVS, generator=self.rng) < self.television
        presses[:, 1::2] = False
        action[presses] = REMOTE
        place = torch.zeros(STEPS + 2, ENVS, dtype=torch.long)
        for t in range(STEPS):
            place[t + 1] = (place[t] + MOVES[action[t]]).clamp(0, STATES - 1)
        self.visits += torch.bincount(place[1 : STEPS + 1].flatten(), minlength=STATES)
        action = torch.cat([action, torch.full((1, ENVS), STAY)])  # the step that only resets: place 0 again
        return self.rollout(place, action, ends=[STEPS - 1])

    def sweep(self) -> Rollout:
        """Every step to the right, at the start of an episode: walker j goes from place j to j + 1."""
        place = torch.stack([torch.arange(ENVS), torch.arange(1, STATES)])
        return self.rollout(place, torch.full((1, ENVS), RIGHT))

    def back_and_forth(self, steps: int = 32) -> Rollout:
        """Walker j goes from j to j + 1 and back, within one episode."""
        turn = torch.arange(steps + 1) % 2
        return self.rollout(torch.arange(ENVS) + turn[:, None], torch.where(turn[:-1] == 0, RIGHT, LEFT)[:, None])

    def walks(self, times: int, *, terminal: bool = False) -> Rollout:
        """The same walk of 8 steps to the last place in so many episodes, each cut off or `terminal`."""
        walk = torch.arange(STATES - 1 - WALK, STATES)
        place = walk.repeat(times)[:, None].expand(-1, ENVS)
        ends = [turn * (WALK + 1) + WALK - 1 for turn in range(times)]
        return self.rollout(place, torch.full((len(place) - 1, 1), RIGHT), ends=ends, terminal=terminal)

    def watching(self) -> Rollout:
        """One step of every walker in place 0: the even ones press the remote, the odd ones stay."""
        place = torch.zeros(2, ENVS, dtype=torch.long)
        action = torch.where(torch.arange(ENVS) % 2 == 0, REMOTE, STAY)
        return self.rollout(place, action[None])

    def rollout(self, place: Tensor, action: Tensor, ends: list[int] | None = None, terminal: bool = False) -> Rollout:
        """The rollout through `place` [T + 1, B]; after each of the steps `ends` comes one that only resets."""
        action = action.expand(len(place) - 1, ENVS).clone()
        noise = torch.zeros(*place.shape, NOISE)
        pressed = torch.cat([torch.zeros(1, ENVS, dtype=torch.bool), action == REMOTE])
        noise[pressed] = torch.randn(int(pressed.sum()), NOISE, generator=self.rng)
        obs = self.scale * torch.cat([self.codes[place], noise], -1)
        shape = action.shape
        ended, valid = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
        for t in ends or ():
            ended[t] = True
            if t + 1 < len(valid):
                valid[t + 1] = False
        return Rollout(
            obs=TensorDict({"obs": obs}, place.shape), action=action, extrinsic=torch.zeros(shape), valid=valid,
            terminated=ended if terminal else torch.zeros_like(ended),
            truncated=torch.zeros_like(ended) if terminal else ended,
        )  # fmt: skip
