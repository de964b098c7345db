"""REVD: a step is worth going where the last episode was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from guerdon.models.random_features import RandomFeatures
from guerdon.parts.episodes import RunningEpisodes, Visits
from guerdon.parts.recall import Recall
from guerdon.parts.two_episodes import TwoEpisodes
from guerdon.types import About, Reward, Rollout, Spec


class _Seen(NamedTuple):
    features: Tensor  # [T+1, B, d]
    inside: Tensor  # [T+1, B, k] distances within the episode
    outside: Tensor  # [T+1, B, k] distances to the episode before


class REVD(Reward):
    """Episodic visitation discrepancy, by Renyi's divergence between this episode of an environment and the last.

        r_t = L_t * (D_out / (D_in + epsilon)) ** (1 - alpha)

    D_in and D_out are the distances of f(obs[t+1]), f a random network, to its j-th nearest before it in the episode,
    and to its j-th nearest in the episode before; j = k, or as many as either has. L_t is the mean distance of the
    episode's states so far to the nearest before them, so that standing still, where D_in is 0, pays nothing. An
    environment's first episode pays 0. [T, B] float32, at least 0; invalid steps 0, terminal ones as any other.
    `observe` fills the memory; nothing learns. The score belongs to its place in an episode: rollouts of `num_envs`
    columns only.

    Yuan, Li, Jin and Zeng, "Rewarding Episodic Visitation Discrepancy", 2022. [reconstructed] from its abstract and the
    first author's code: that code pays at the end of a rollout that must be exactly one episode, and so compares with
    later steps, too; ours pays as it goes. Its last version leaves L out and has epsilon 1e-11, by which a state seen
    k + 1 times in an episode pays some 10^5 times the usual; it is not exported by RLLTE, and reads a storage it never
    made.

    Args:
        alpha: order of the divergence, in (0, 1) (0.5: the author's code).
        k: which neighbour (5: the author's code).
        epsilon: added to D_in (1e-4: the first release).
        spread: whether L_t is a factor (first release).
        capacity: features held per environment, of both episodes together (our choice).
        features, hidden, keys, standardise: as in `RE3`.

    Raises:
        ValueError: alpha outside (0, 1), k below 1, epsilon not above 0; another number of environments than it was
            built for; NaN or infinite observations, or ones of another shape.
    """

    about: ClassVar[About] = About(
        rewards="states that the last episode of the environment was far from",
        paper="Rewarding Episodic Visitation Discrepancy for Exploration in Reinforcement Learning (Yuan et al., 2022)",
        link="https://arxiv.org/abs/2209.08842",
    )
    episodic: ClassVar[bool] = True
    total: Tensor
    visited: Tensor

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        k: int = 5,
        epsilon: float = 1e-4,
        spread: bool = True,
        capacity: int = 10_000,
        features: int = 64,
        hidden: Sequence[int] = (256,),
        keys: Sequence[str] | None = None,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < alpha < 1 or k < 1 or not epsilon > 0:
            raise ValueError(f"REVD needs 0 < alpha < 1, k >= 1 and epsilon > 0, got {alpha}, {k} and {epsilon}")
        self.alpha, self.k, self.epsilon, self.spread, self.capacity = alpha, k, epsilon, spread, capacity
        self.features, self.hidden, self.keys, self.standardise = features, hidden, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        options = {name: getattr(self, name) for name in ("features", "hidden", "keys", "standardise")}
        self.net = RandomFeatures(spec, **options, device=device, generator=generator, reader=self.name)
        self.memory = TwoEpisodes(spec.num_envs, self.features, self.capacity).to(device)
        self.episodes = RunningEpisodes(spec.num_envs, self.name).to(device)
        self.register_buffer("total", torch.zeros(spec.num_envs, device=device))  # of distances to the nearest, so far
        self.register_buffer("visited", torch.zeros(spec.num_envs, dtype=torch.int64, device=device))
        self.recall: Recall[_Seen] = Recall()

    @torch.no_grad()
    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        visits = self.episodes.visits(experience)
        seen = self._seen(experience, visits)
        found = torch.minimum(seen.inside.isfinite().sum(-1), seen.outside.isfinite().sum(-1))
        which = (found - 1).clamp(min=0)[..., None]
        inside, outside = (x.gather(-1, which).squeeze(-1) for x in (seen.inside, seen.outside))
        worth = (outside / (inside + self.epsilon)).pow(1 - self.alpha)
        if self.spread:
            worth = worth * self._spread(seen, visits)[0]
        return worth.masked_fill(found == 0, 0.0)[1:].masked_fill(~experience.valid.bool(), 0.0)

    def _spread(self, seen: _Seen, visits: Visits) -> tuple[Tensor, Tensor, Tensor]:
        """L of each visit [T+1, B], and what it is a quotient of: the sum so far, and the visits before."""
        first = seen.inside[..., 0]
        so_far = first.masked_fill(first.isinf() | ~visits.there, 0.0).cumsum(0)
        before = torch.cat([so_far[:1] * 0, so_far[:-1]])
        start = torch.where((visits.ordinal == 0) & (visits.episode > 0), before, 0.0).cummax(0).values
        running = visits.episode == 0
        total = so_far - start + torch.where(running, self.total, 0.0)
        earlier = visits.ordinal + torch.where(running, self.visited, 0)
        return total / earlier.clamp(min=1), total, earlier

    def _seen(self, rollout: Rollout, visits: Visits) -> _Seen:
        return self.recall.of(rollout, self, lambda: self._look(rollout, visits))

    def _look(self, rollout: Rollout, visits: Visits) -> _Seen:
        features = self.net.of(rollout)
        inside, outside = self.memory.nearest(features, visits, self.k)
        return _Seen(features, inside.sqrt(), outside.sqrt())

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> None:
        visits = self.episodes.visits(rollout)
        seen = self._seen(rollout, visits)
        _, total, earlier = self._spread(seen, visits)
        self.total.copy_(total[-1])
        self.visited.copy_(earlier[-1] + visits.there[-1])
        self.memory.add(seen.features, visits)
        self.net.observe(rollout)
        self.episodes.advance(rollout)
        self.recall.forget()
