"""Small tabular worlds, and random walks in them as segments."""

from __future__ import annotations

import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.parts.tabular_mdp import TabularMDP
from guerdon.types import Pairs, Rollout, Spec


def world(states: int = 6, actions: int = 3, *, seed: int = 0, certain: bool = True, gamma: float = 0.9) -> TabularMDP:
    """A random MDP; `certain` ones lead to one state."""
    g = torch.Generator().manual_seed(seed)
    chance = torch.rand(states, actions, states, dtype=torch.float64, generator=g)
    if certain:
        chance = torch.nn.functional.one_hot(chance.argmax(-1), states).double()
    return TabularMDP(chance / chance.sum(-1, keepdim=True), gamma=gamma)


def walk(mdp: TabularMDP, features: Tensor, n: int, *, steps: int = 3, seed: int = 0) -> Rollout:
    """n random segments; features [S, A, m] show under "features" behind each step."""
    g = torch.Generator().manual_seed(seed)
    states = [torch.multinomial(mdp.start, n, replacement=True, generator=g)]
    actions = torch.randint(mdp.shape[1], (steps, n), generator=g)
    for action in actions:
        states.append(torch.multinomial(mdp.transition[states[-1], action], 1, generator=g)[:, 0])
    return segment(torch.stack(states), actions, features)


def segment(states: Tensor, actions: Tensor, features: Tensor, terminated: Tensor | None = None) -> Rollout:
    """Segments of these states [T+1, B] and actions [T, B]."""
    no = torch.zeros(actions.shape, dtype=torch.bool)
    paid = features[states[:-1], actions]
    shown = torch.cat([torch.zeros_like(paid[:1]), paid])
    return Rollout(
        obs=TensorDict({"state": states, "features": shown}, states.shape), action=actions, extrinsic=no.float(),
        terminated=no if terminated is None else terminated, truncated=no, valid=~no,
    )  # fmt: skip


def compared(first: Rollout, second: Rollout, lead: Tensor, *, seed: int | None = 0) -> Pairs:
    """Labels drawn with the log-odds `lead` [N] of the second; the better one without a seed, or a tie."""
    if seed is None:
        label = torch.where(lead == 0, 2, (lead > 0).long())
    else:
        label = (torch.rand(len(lead), generator=torch.Generator().manual_seed(seed)) < lead.sigmoid()).long()
    return Pairs(first=first, second=second, label=label)


def spec(mdp: TabularMDP, width: int) -> Spec:
    """What such a world looks like to a reward."""
    shown = {"state": spaces.Discrete(mdp.shape[0]), "features": spaces.Box(-9.0, 9.0, (width,))}
    return Spec(observation_space=spaces.Dict(shown), action_space=spaces.Discrete(mdp.shape[1]))
