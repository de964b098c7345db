"""Rewards compared on what random play of a task visits, where the task does not fit in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.compare.difference import Difference
from guerdon.compare.distance import Distance, between, interval, without_rounding
from guerdon.compare.linear_policies import LinearPolicy, MakeTask, flat, found_by_play, policies_of, reads_captions
from guerdon.compare.starc import Cosines, fit_value
from guerdon.compare.transition_pay import built, scored, side_by_side
from guerdon.tasks.random_play import random_rollouts
from guerdon.types import Reward, Rollout, Spec

GAMES = 8
NEAR, FAR = 0.05, 1.95
"""Distances below and above which rewards are called alike and opposite, if the interval agrees."""


@dataclass
class TaskSample:
    """Distances over seeds, and what play and rewards of the first seed were."""

    distance: Distance
    rewards: list[Reward]
    policies: list[LinearPolicy]
    names: list[str]
    sizes: Tensor  # [N], norms of the canonical forms, for the scale


def sampled_distances(
    rewards: Sequence[Reward],
    names: Sequence[str],
    make: MakeTask,
    *,
    gamma: float,
    seeds: Sequence[int],
    steps: int,
) -> TaskSample:
    """STARC distances [N, N] on the transitions of random play, each alike, with V fitted on the same play.

    c(R)(s, a, s') = R + gamma V(s') - V(s), next states as they came: that of `VAL` where the task is deterministic.

    Args:
        rewards: not built yet; each is built anew for each seed, and seeded by it.
        names: of the rewards.
        make: makes the task's games.
        gamma: discount.
        seeds: of the games; one estimate each.
        steps: transitions of each estimate.

    Raises:
        ValueError: gamma is not in [0, 1); a reward cannot score single steps of this task, or leaves some unscored.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma must be at least 0 and below 1, got {gamma}: values have no bound at 1")
    found, first = [], None
    for seed in seeds:
        play, spec = random_play(make, seed, steps, reads_captions(rewards))
        made = [built(reward, spec, seed) for reward in rewards]
        with torch.no_grad():
            paid = torch.stack([scored(r.evaluate(play).value[0], r) for r in made])
        states = flat(play.obs)
        phi = Cosines(states[0], torch.Generator().manual_seed(seed))
        here, there = phi(states[0]), phi(states[1])
        going = ~play.terminated[0].bool()
        weights = fit_value(paid, here, there * going[:, None], gamma)
        form = without_rounding(paid + gamma * (weights @ there.T) * going - weights @ here.T, paid)
        found.append(between(form, 2.0))
        if first is None:
            policies, called = policies_of(play, spec, form, phi, names)
            first = (made, policies, called, torch.linalg.vector_norm(form, dim=-1))
    mean, low, high = interval(torch.stack(found))
    coverage = f"{steps} steps of random play a seed, each alike; values fitted on them, next states as they came"
    high = None if high is None else high.clamp(max=2.0)
    distance = Distance(mean, "STARC: c=VAL, n=L2, m=L2", coverage, gamma, tuple(seeds), low, high)
    assert first is not None
    return TaskSample(distance, *first)


def sampled_difference(
    found: TaskSample, i: int, j: int, names: tuple[str, str], make: MakeTask, seed: int
) -> Difference:
    """What rewards i and j differ in, as far as samples tell; policies are played for a witness of another order."""
    d, (a, b) = found.distance, names
    raw = float(d.raw[i, j])
    low, high = (raw, raw) if d.low is None or d.high is None else (float(d.low[i, j]), float(d.high[i, j]))
    if not found.sizes[i] or not found.sizes[j]:
        return Difference("nothing", f"{b if found.sizes[i] else a} prefers no policy, as far as samples tell")
    said = f", as far as samples tell: {raw:.2g}" + ("" if d.low is None else f" [{low:.2g}, {high:.2g}]")
    if high <= NEAR:
        ratio = float(found.sizes[j] / found.sizes[i])
        words = f"{b} orders policies as {a} does, about {ratio:.3g} times as strongly{said}"
        return Difference("scale and shaping", words, ratio)
    kind, words = "order", f"{a} and {b} order policies differently{said}"
    if low >= FAR:
        kind, words = "opposite", f"{b} prefers whatever {a} does not{said}"
    rewards = [found.rewards[i], found.rewards[j]]
    seen = found_by_play(found.policies, found.names, rewards, make, d.gamma, seed)
    if seen is None and low <= NEAR:
        return Difference("unclear", f"whether {a} and {b} order policies alike is not clear{said}: take more --steps")
    if seen is None:
        words += f"; of {len(found.policies)} policies that were played no two show it beyond chance"
    return Difference(kind, words, None, None, seen)


def random_play(make: MakeTask, seed: int, steps: int, captions: bool) -> tuple[Rollout, Spec]:
    """Random play of so many steps, less those that only reset a game, side by side, T = 1; and the spec."""
    games = make(num_envs=GAMES, workers=0, groups=1, captions=captions)
    try:
        rollout = next(random_rollouts(games, -(-steps // GAMES), seed=seed))
        spec = Spec(games.single_observation_space, games.single_action_space, games.captions, GAMES)
    finally:
        games.close()
    return side_by_side(rollout), spec
