"""DARD: Pearson's distance between rewards, after shaping is taken away along transitions that actions lead to.

As EPIC, but S' is where an action leads from s and S'' where the same action leads from s', so that fewer transitions
are evaluated that cannot happen; some still are. It does not forget s'-redistribution.

Wulfe, Balakrishna, Ellis, Mercat, McAllister, Gaidon (2022), https://arxiv.org/abs/2201.10081.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.compare.distance import Distance, SampledReward, Simulator, from_samples, paid, without_rounding
from guerdon.compare.epic import pearson
from guerdon.parts.canonicalisation import DARD, even
from guerdon.parts.tabular_mdp import TabularMDP

METRIC = "DARD: Pearson's distance, doubled"


def dard(
    mdp: TabularMDP,
    first: Tensor,
    second: Tensor | None = None,
    *,
    actions: Tensor | None = None,
    coverage: Tensor | None = None,
) -> Distance:
    """Exact DARD distances, doubled, on the scale of `starc`.

    Args:
        mdp: where the rewards are paid.
        first: rewards [..., S, A, S].
        second: as many; without them, distances between all of `first` [N, ...], [N, N].
        actions: D_A [A], by default even.
        coverage: D [S, A, S] of the correlation; by default even states, D_A, and where they lead.

    Raises:
        ValueError: shapes differ, a distribution is none, or a reward is NaN or infinite.
    """
    if coverage is None:
        act, covered = even(actions, mdp.shape[1]), "even states, drawn actions, and where they lead"
        coverage = mdp.transition * act[:, None] / mdp.shape[0]
    else:
        coverage = even(coverage.flatten(), mdp.transition.numel()).reshape(mdp.transition.shape)
        covered = "a distribution of transitions that was handed in"
    return Distance(pearson(mdp, first, second, DARD(actions), coverage), METRIC, covered, mdp.gamma)


def sampled_dard(
    rewards: Sequence[SampledReward],
    simulator: Simulator,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    samples: int = 4096,
    draws: int = 64,
) -> Distance:
    """DARD distances between all rewards, [N, N], doubled, from samples.

    Args:
        rewards: called with states, actions and next states.
        simulator: what to draw from.
        seeds: one estimate each; the interval is that of their mean.
        samples: transitions of the correlation.
        draws: actions of each expectation; each reward is evaluated `samples` x `draws` times, three times.
    """

    def canonical(generator: torch.Generator) -> Tensor:
        here, action, there, _ = simulator.transitions(samples, generator)
        total = torch.zeros(len(rewards), samples, dtype=torch.float64)
        for _ in range(draws):
            act = simulator.actions(samples, generator)
            near, far = simulator.step(here, act, generator), simulator.step(there, act, generator)
            total += simulator.gamma * (paid(rewards, there, act, far) - paid(rewards, near, act, far))
            total -= paid(rewards, here, act, near)
        got = paid(rewards, here, action, there)
        return without_rounding(got + total / draws, got)

    return from_samples(
        rewards, canonical, seeds, p=2.0, centred=True, metric=METRIC, gamma=simulator.gamma,
        coverage=f"{samples} sampled transitions, {draws} draws an expectation",
    )  # fmt: skip
