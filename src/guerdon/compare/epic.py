"""EPIC: Pearson's distance between rewards, after shaping is taken away under a coverage of all transitions.

d(R1, R2) = sqrt((1 - rho) / 2), rho the correlation of the canonical forms under the coverage; 0 same, 1 opposite. It
evaluates transitions that cannot happen, and does not forget s'-redistribution: use it for comparison with other work,
and `starc` else. A form that does not vary is 0.5 from any that does, and 0 from another (ours: rho has no value).

Gleave, Dennis, Legg, Russell, Leike (2021), https://arxiv.org/abs/2006.13900.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.compare.distance import Distance, SampledReward, Simulator, exact, from_samples, paid, without_rounding
from guerdon.parts.canonicalisation import EPIC, Canonicalisation, even, standardise
from guerdon.parts.tabular_mdp import TabularMDP


def epic(
    mdp: TabularMDP,
    first: Tensor,
    second: Tensor | None = None,
    *,
    states: Tensor | None = None,
    actions: Tensor | None = None,
    coverage: Tensor | None = None,
) -> Distance:
    """Exact EPIC distances, between 0 and 1; its `raw` is twice that, on the scale of `starc`.

    Args:
        mdp: gives gamma; where actions lead plays no part.
        first: rewards [..., S, A, S].
        second: as many; without them, distances between all of `first` [N, ...], [N, N].
        states: D_S [S], by default even.
        actions: D_A [A], by default even.
        coverage: D [S, A, S] of the correlation; by default D_S, D_A and D_S, independent.

    Raises:
        ValueError: shapes differ, a distribution is none, or a reward is NaN or infinite.
    """
    if coverage is None:
        here, act = even(states, mdp.shape[0]), even(actions, mdp.shape[1])
        coverage = here[:, None, None] * act[:, None] * here
        covered = "states, actions and next states drawn independently"
    else:
        coverage = even(coverage.flatten(), mdp.transition.numel()).reshape(mdp.transition.shape)
        covered = "a distribution of transitions that was handed in"
    raw = pearson(mdp, first, second, EPIC(states, actions), coverage)
    return Distance(raw, "EPIC: Pearson's distance, doubled", covered, mdp.gamma)


def pearson(mdp: TabularMDP, first: Tensor, second: Tensor | None, form: Canonicalisation, coverage: Tensor) -> Tensor:
    """2 sqrt((1 - rho) / 2) of canonical forms: the 2-norm of the difference of their z-scores under `coverage`."""

    def forms(reward: Tensor) -> Tensor:
        table = standardise(mdp, reward, form, None).expand(*reward.shape[:-1], mdp.shape[0])
        vectors = (table - (table * coverage).sum((-3, -2, -1), keepdim=True)) * coverage.sqrt()
        vectors = vectors.flatten(-3)
        size = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        level = torch.linalg.vector_norm(table, dim=(-3, -2, -1))[..., None]  # of which rounding is a share
        nothing = size <= 1e-12 * level
        return torch.where(nothing, 0.0, vectors / torch.where(nothing, 1.0, size))

    return exact(first, second, forms, 2.0)


def sampled_epic(
    rewards: Sequence[SampledReward],
    simulator: Simulator,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    samples: int = 1024,
    draws: int = 256,
) -> Distance:
    """EPIC distances between all rewards, [N, N], doubled, from samples of D_S and D_A; nothing is stepped.

    Args:
        rewards: called with states, actions and next states; also those that cannot follow.
        simulator: what to draw from.
        seeds: one estimate each; the interval is that of their mean.
        samples: transitions of the correlation.
        draws: actions and next states of each expectation; `samples` x `draws` evaluations, twice, a reward.
    """

    def canonical(generator: torch.Generator) -> Tensor:
        here, action = simulator.states(samples, generator), simulator.actions(samples, generator)
        there = simulator.states(samples, generator)
        act, after = simulator.actions(draws, generator), simulator.states(draws, generator)

        def mean(state: Tensor) -> Tensor:
            return over_draws(rewards, state, act, after)

        level = mean(simulator.states(samples, generator)).mean(-1, keepdim=True)
        got = paid(rewards, here, action, there)
        form = got + simulator.gamma * mean(there) - mean(here) - simulator.gamma * level
        return without_rounding(form, got)

    return from_samples(
        rewards, canonical, seeds, p=2.0, centred=True, metric="EPIC: Pearson's distance, doubled",
        coverage=f"{samples} states, actions and next states drawn independently; {draws} draws an expectation",
        gamma=simulator.gamma,
    )  # fmt: skip


def over_draws(rewards: Sequence[SampledReward], state: Tensor, action: Tensor, there: Tensor) -> Tensor:
    """[N, n]: what states [n, ...] are paid on average over m draws of actions and next states [m, ...]."""
    n, m = len(state), len(action)
    each = (state.repeat_interleave(m, 0), torch.cat([action] * n), torch.cat([there] * n))
    return paid(rewards, *each).view(len(rewards), n, m).mean(-1)
