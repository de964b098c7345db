"""STARC: a distance between rewards that bounds what is lost by optimising one for the other, and needs no policy.

d(R1, R2) = m(s(R1), s(R2)) with s(R) = c(R) / n(c(R)), 0 where c(R) = 0: c takes away what never changes which policy
is better, n the scale. 0 if and only if both order all policies the same way (where every state can be reached); 2,
for L2 norms, if one is the opposite of the other. A reward that orders nothing is 1 from any that does.

Skalse, Farnik, Motwani, Jenner, Gleave, Abate (2023), https://arxiv.org/abs/2309.15257. We differ: values by a linear
solve instead of sweeps, least forms in closed form, and a form that is rounding counts as 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guerdon.compare.distance import Distance, SampledReward, Simulator, exact, from_samples, paid, without_rounding
from guerdon.parts.canonicalisation import VAL, Canonicalisation, Norm, standardise
from guerdon.parts.tabular_mdp import TabularMDP

FEATURES, RIDGE = 512, 1e-9
"""Random cosines of a state, and what keeps their equations solvable, as a share of the mean diagonal (ours)."""


def starc(
    mdp: TabularMDP,
    first: Tensor,
    second: Tensor | None = None,
    *,
    canonicalise: Canonicalisation | None = None,
    norm: Norm | None = Norm(2),
    metric: Norm = Norm(2),
) -> Distance:
    """Exact distances in a tabular MDP.

    Args:
        mdp: where the rewards are paid.
        first: rewards [..., S, A, S], or [..., S, A, 1] where the next state does not matter.
        second: as many; without them, distances between all of `first` [N, ...], [N, N].
        canonicalise: c; by default `VAL()`, which the paper recommends.
        norm: n; None divides by 1, which is no STARC metric any more.
        metric: m.

    Raises:
        ValueError: shapes differ, or a reward is NaN or infinite.
    """
    form = VAL() if canonicalise is None else canonicalise
    raw = exact(first, second, lambda r: metric.spread(mdp, standardise(mdp, r, form, norm)), metric.p)
    name = f"STARC: c={type(form).__name__}, n={norm or 1}, m={metric}"
    covered = "tau" if metric.weighted else "every state, action and next state alike"
    return Distance(raw, name, covered, mdp.gamma)


def sampled_starc(
    rewards: Sequence[SampledReward],
    simulator: Simulator,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    samples: int = 4096,
    draws: int = 16,
    p: float = 2.0,
    values: Sequence[Callable[[Tensor], Tensor]] | None = None,
    features: Callable[[Tensor], Tensor] | None = None,
) -> Distance:
    """Distances between all rewards, [N, N], with `VAL` estimated from samples; n = m = the p-mean over transitions.

    c(R)(s, a) is the mean of R(s, a, S') + gamma V(S') - V(s) over `draws` next states. V is that of the policy that
    draws the simulator's actions, fitted by least-squares temporal differences (Bradtke & Barto, 1996), which are
    linear in R: shaping by a potential within the features' span is removed exactly.

    Args:
        rewards: called with states, actions and next states.
        simulator: what to draw from.
        seeds: one estimate each; the interval is that of their mean.
        samples: transitions an estimate.
        draws: next states of each; 1 is enough where the dynamics are deterministic.
        p: 1, 2 or inf.
        values: V of each reward, states -> [n], instead of the fit.
        features: states [n, ...] -> [n, d] that V is linear in; by default `Cosines` of the states drawn.
    """
    norm = Norm(p)
    if samples < 1 or draws < 1:
        raise ValueError(f"samples and draws must be at least 1, got {samples} and {draws}")
    if values is not None and len(values) != len(rewards):
        raise ValueError(f"{len(rewards)} rewards need as many values, got {len(values)}")

    def canonical(generator: torch.Generator) -> Tensor:
        batch = simulator.transitions(samples, generator)
        if values is None:
            learn = simulator.transitions(4 * samples, generator)
            phi = features or Cosines(learn.here, generator)
            going = (~learn.ended)[:, None]
            weights = fit_value(
                paid(rewards, learn.here, learn.action, learn.there), phi(learn.here), phi(learn.there) * going,
                simulator.gamma,
            )  # fmt: skip
        else:
            phi, weights = None, None

        def value(state: Tensor) -> Tensor:
            if phi is None or weights is None:
                return torch.stack([v(state).double() for v in values or ()])
            return weights @ phi(state).double().T

        total = got = torch.zeros(len(rewards), samples, dtype=torch.float64)
        for _ in range(draws):
            there = simulator.step(batch.here, batch.action, generator)
            going = 1.0 if simulator.ended is None else (~simulator.ended(there)).double()
            got = paid(rewards, batch.here, batch.action, there)
            total = total + got + simulator.gamma * going * value(there)
        return without_rounding(total / draws - value(batch.here), got)

    return from_samples(
        rewards, canonical, seeds, p=p, centred=False, metric=f"STARC: c=VAL, n={norm}, m={norm}",
        coverage=f"{samples} sampled transitions, {draws} next states each", gamma=simulator.gamma,
    )  # fmt: skip


def fit_value(reward: Tensor, here: Tensor, there: Tensor, gamma: float) -> Tensor:
    """The w [N, d] of V(s) = w . phi(s), from one batch: (phi' (phi - gamma phi_next)) w = phi' r, for N rewards.

    Args:
        reward: [N, n].
        here: phi(s) [n, d].
        there: phi(s') [n, d], zeros where s' is terminal.
        gamma: the discount.
    """
    here, there = here.double(), there.double()
    system = here.T @ (here - gamma * there)
    ridge = RIDGE * here.square().sum() / here.shape[1]
    factors = torch.linalg.lu_factor(system + ridge * torch.eye(len(system), dtype=torch.float64))
    return torch.linalg.lu_solve(*factors, here.T @ reward.double().T).T


class Cosines:
    """Random cosine features of states, cos(w . x + b), beside 1 and, where it is shorter than they are many, x itself.

    x is centred and scaled by a batch. They approximate a Gaussian kernel of width sqrt(d) (Rahimi & Recht, 2007).
    """

    def __init__(self, states: Tensor, generator: torch.Generator, size: int = FEATURES) -> None:
        x = states.double().flatten(1)
        self.mean, self.scale = x.mean(0), x.std(0).clamp(min=1e-6)
        self.w = torch.randn(x.shape[1], size, generator=generator, dtype=torch.float64) / x.shape[1] ** 0.5
        self.b = 2 * math.pi * torch.rand(size, generator=generator, dtype=torch.float64)

    def __call__(self, states: Tensor) -> Tensor:
        x = (states.double().flatten(1) - self.mean) / self.scale
        own = x if x.shape[1] < len(self.b) else x[:, :0]
        return torch.cat([torch.cos(x @ self.w + self.b), own, torch.ones(len(x), 1, dtype=x.dtype)], 1)
