"""Simple policies that are played to see which of them rewards prefer: greedy ones, and ones drawn at random."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.compare.difference import Witness
from guerdon.compare.starc import Cosines
from guerdon.types import Reward, Rollout, Spec, VectorTask

MakeTask = Callable[..., VectorTask]
"""Makes a task's games, as `guerdon.tasks.make` does when it knows the name."""
RANDOM, EPISODES, LONGEST = 8, 8, 300
"""Policies drawn at random, episodes of each policy, and steps of an episode."""


@dataclass(frozen=True)
class LinearPolicy:
    """Takes the action with the largest of features times weights, or tanh of them, spread over a Box."""

    phi: Cosines
    weights: Tensor  # [d, k]
    space: spaces.Space

    def __call__(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        rows = {k: torch.from_numpy(np.array(v))[None] for k, v in obs.items()}
        states = flat(TensorDict(rows, [1, len(next(iter(obs.values())))]))[0]
        value = self.phi(states) @ self.weights
        if isinstance(self.space, spaces.Discrete):
            if "action_mask" in obs:
                value = value.masked_fill(~torch.from_numpy(obs["action_mask"]).bool(), -torch.inf)
            return value.argmax(-1).numpy() + int(self.space.start)
        box: Any = self.space
        share = (value.tanh().numpy() + 1) / 2
        low, high = np.maximum(box.low.ravel(), -10), np.minimum(box.high.ravel(), 10)
        return (low + share * (high - low)).reshape(-1, *box.shape).astype(box.dtype)


def policies_of(
    play: Rollout, spec: Spec, form: Tensor, phi: Cosines, names: Sequence[str]
) -> tuple[list[LinearPolicy], list[str]]:
    """Greedy in each reward's advantages over random play, by a regression for each action, and random ones."""
    space, here = spec.action_space, phi(flat(play.obs)[0])
    policies, called = [], []
    if isinstance(space, spaces.Discrete):
        action, count = play.action[0] - int(space.start), int(space.n)
        ridge = 1e-3 * here.square().mean() * torch.eye(here.shape[1], dtype=torch.float64)
        weights = torch.zeros(len(form), here.shape[1], count, dtype=torch.float64)
        for a in range(count):
            x = here[action == a]
            solved = torch.linalg.solve(x.T @ x + len(x) * ridge + 1e-9 * ridge, x.T @ form[:, action == a].T)
            weights[..., a] = solved.T
        policies += [LinearPolicy(phi, w, space) for w in weights]
        called += [f"greedy in {name} after random play" for name in names]
    generator, wide = torch.Generator().manual_seed(0), 1
    if isinstance(space, spaces.Discrete | spaces.Box):
        wide = int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape))
        for k in range(RANDOM):
            w = torch.randn(here.shape[1], wide, generator=generator, dtype=torch.float64)
            policies.append(LinearPolicy(phi, w / here.shape[1] ** 0.5, space))
            called.append(f"random policy {k + 1}")
    if len(policies) < 2:
        raise ValueError(f"policies are drawn for Discrete and Box actions, not {space}")
    return policies, called


def _returns(
    policies: Sequence[LinearPolicy],
    rewards: Sequence[Reward],
    make: MakeTask,
    gamma: float,
    seed: int,
    episodes: int,
) -> Tensor:
    """[R, P, episodes]: discounted returns, by reward, of each policy's episodes, all played side by side."""
    count = len(policies) * episodes
    games = make(num_envs=count, workers=0, groups=1, captions=reads_captions(rewards))
    try:
        games.reset(seed=seed)
        step = games.recv(0)
        going, discount = torch.ones(count, dtype=torch.bool), 1.0
        total = torch.zeros(len(rewards), count, dtype=torch.float64)
        for _ in range(LONGEST):
            before = {k: np.array(v) for k, v in step.obs.items()}
            heard = step.caption, step.caption_count
            own = [slice(k * episodes, (k + 1) * episodes) for k in range(len(policies))]
            action = np.concatenate(
                [act({k: v[part] for k, v in before.items()}) for act, part in zip(policies, own, strict=True)]
            )
            games.send(0, action)
            step = games.recv(0)
            rollout = _one_step(before, heard, action, step)
            with torch.no_grad():
                paid = torch.stack([r.evaluate(rollout).value[0].double() for r in rewards])
            total += torch.where(going, discount * paid, 0.0)
            discount *= gamma
            going &= ~torch.from_numpy(step.terminated | step.truncated)
            if not going.any():
                break
    finally:
        games.close()
    return total.view(len(rewards), len(policies), episodes)


def _one_step(before: dict[str, np.ndarray], heard: tuple[Any, Any], action: np.ndarray, step: Any) -> Rollout:
    def both(a: np.ndarray, b: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack([a, b]))

    def row(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(x))[None]

    captions: dict[str, Any] = {}
    if heard[0] is not None:
        pair = zip(("caption", "caption_count"), heard, (step.caption, step.caption_count), strict=True)
        captions = {name: both(a, b) for name, a, b in pair}
    return Rollout(
        obs=TensorDict({k: both(v, step.obs[k]) for k, v in before.items()}, [2, len(action)]), action=row(action),
        extrinsic=row(step.reward), terminated=row(step.terminated), truncated=row(step.truncated),
        valid=row(step.valid), **captions,
    )  # fmt: skip


def found_by_play(
    policies: Sequence[LinearPolicy],
    names: Sequence[str],
    rewards: Sequence[Reward],
    make: MakeTask,
    gamma: float,
    seed: int,
) -> Witness | None:
    """Two policies that two rewards order differently: picked by 8 episodes each, confirmed on 32 others (95 %)."""
    returns = _returns(policies, rewards, make, gamma, seed + 1, EPISODES)
    mean, error = returns.mean(2).T, returns.std(2).T.clamp(min=1e-12) / EPISODES**0.5  # [P, 2]

    def lead(p: int, q: int) -> float:
        """How clearly the first reward prefers p and the second q, in standard errors: the less clear of the two."""
        z = (mean[p] - mean[q]) / (error[p].square() + error[q].square()).sqrt()
        return float(min(z[0], -z[1]))

    p, q = max(itertools.permutations(range(len(mean)), 2), key=lambda pair: lead(*pair))
    again = _returns([policies[p], policies[q]], rewards, make, gamma, seed + 1000, 4 * EPISODES)
    gap = again[:, 0].mean(1) - again[:, 1].mean(1)
    reach = 2 * ((again[:, 0].var(1) + again[:, 1].var(1)) / (4 * EPISODES)).sqrt()
    if not (gap[0] > reach[0] and gap[1] < -reach[1]):
        return None
    called = (names[p], names[q])
    both = again.mean(2).tolist()
    where = f"mean discounted returns of {4 * EPISODES} episodes of at most {LONGEST} steps each, two errors apart"
    return Witness(None, called, tuple(map(tuple, both)), where)  # type: ignore[arg-type]


def flat(obs: TensorDict) -> Tensor:
    """[T, B, d] float64: all numbers of an observation in a row."""
    return torch.cat([v.reshape(*v.shape[:2], -1).double() for _, v in sorted(obs.items())], -1)  # type: ignore[union-attr]


def reads_captions(rewards: Sequence[Reward]) -> bool:
    """Whether one of them must be shown captions."""
    return any(getattr(part, "reads_captions", False) for reward in rewards for part in reward.modules())
