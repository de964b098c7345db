"""NGU: new in this episode, and the more so while it is new in all of life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from guerdon.models.distillation import Distiller
from guerdon.models.dynamics import ActionFeatures
from guerdon.parts.episodes import RunningEpisodes, Visits
from guerdon.parts.kernel_count import KernelCount
from guerdon.parts.knn_memory import EpisodicMemory
from guerdon.parts.recall import Recall
from guerdon.parts.running_moments import RunningMoments
from guerdon.types import About, Reward, Rollout, Spec


class _Seen(NamedTuple):
    features: Tensor  # [T+1, B, d]
    squares: Tensor  # [T+1, B, k], to the nearest earlier in the episode
    error: Tensor  # [T, B], of the distiller


class NGU(Reward):
    """Never give up: an episodic bonus times a life-long factor.

        r_t = e_t * min(max(alpha_t, 1), limit)
        e_t = 1 / s, or 0 where s > most;   s = sqrt(sum over the k nearest of K(d_i)) + c, see `KernelCount`
        alpha_t = 1 + (|g^(obs[t+1]) - g(obs[t+1])|^2 - m) / sd

    d_i are squared distances, in features that an inverse model teaches, from obs[t+1] to what this episode of this
    environment showed before, its first observation included. g is a random network, g^ learns it (RND); m and sd are
    the mean and deviation of its error so far, and alpha is 1 before there is any. [T, B] float32 in
    [0, limit / c] = [0, 5000], around 10 for a state far from ten others and below 1 for an old one; invalid steps 0,
    terminal ones as any other. `observe` takes visits into the memory, `update` trains both networks. The bonus belongs
    to its place in an episode: it scores rollouts of `num_envs` columns only.

    Badia et al., "Never Give Up", 2020, section 2 and algorithm 1. The paper gives epsilon as 1e-3 in its text and as
    1e-4 in its table for Atari, which public code takes. With k = 10 s never exceeds 3.2, so that its limit of 8 does
    nothing. It differs in that one mean distance is kept for all environments, that both networks learn from whole
    rollouts (paper: the last 5 steps of each sequence), that features held are those of the network of their time
    (paper: of a copy that changes between episodes), and in its networks. RLLTE pays obs[t]; 0 for the first step of an
    episode; it leaves m out of alpha, which so never falls below 1; it scales both factors by their own deviation and
    by beta, which so counts twice; and its mean distance advances once per rollout.

    Args:
        k: neighbours (10).
        epsilon, cluster, c: of the kernel (1e-3: text; 0.008; 1e-3).
        most: similarity above which nothing is paid (8).
        limit: L, of the life-long factor (5).
        capacity: features held per environment (30,000).
        features: of the inverse model (32: the paper's best on Montezuma's Revenge).
        hidden: dense layers of its features (RLLTE's for vectors).
        random_features: of g (our choice; paper 128).
        lr: of Adam (RLLTE's 1e-3; paper 5e-4).
        batch_size, epochs, fraction: of both trainings; the distiller keeps each step with chance `fraction` (RLLTE's).
        keys: of the observation; None means all.

    Raises:
        ValueError: another number of environments than it was built for; NaN or infinite observations, or ones of
            another shape.
    """

    about: ClassVar[About] = About(
        rewards="states that are new to the episode, and more while they are new to all of life",
        paper="Never Give Up: Learning Directed Exploration Strategies (Badia et al., 2020)",
        link="https://arxiv.org/abs/2002.06038",
    )
    episodic: ClassVar[bool] = True

    def __init__(
        self,
        *,
        k: int = 10,
        epsilon: float = 1e-3,
        cluster: float = 0.008,
        c: float = 1e-3,
        most: float = 8.0,
        limit: float = 5.0,
        capacity: int = 30_000,
        features: int = 32,
        hidden: Sequence[int] = (256,),
        random_features: int = 64,
        lr: float = 1e-3,
        batch_size: int = 256,
        epochs: int = 1,
        fraction: float = 1.0,
        keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if k < 1 or limit < 1:
            raise ValueError(f"NGU needs k >= 1 and limit >= 1, got {k} and {limit}")
        self.k, self.epsilon, self.cluster, self.c, self.most, self.limit = k, epsilon, cluster, c, most, limit
        self.capacity, self.features, self.hidden, self.random_features = capacity, features, hidden, random_features
        self.lr, self.batch_size, self.epochs, self.fraction, self.keys = lr, batch_size, epochs, fraction, keys

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        both: dict[str, Any] = {name: getattr(self, name) for name in ("hidden", "lr", "batch_size", "epochs", "keys")}
        both |= {"device": device, "generator": generator, "reader": self.name}
        self.net = ActionFeatures(spec, features=self.features, **both)
        self.distiller = Distiller(spec, features=self.random_features, fraction=self.fraction, **both)
        self.moments = RunningMoments().to(device)  # of the distiller's error
        self.kernel = KernelCount(epsilon=self.epsilon, cluster=self.cluster, c=self.c).to(device)
        self.memory = EpisodicMemory(spec.num_envs, self.features, self.capacity).to(device)
        self.episodes = RunningEpisodes(spec.num_envs, self.name).to(device)
        self.recall: Recall[_Seen] = Recall()

    @torch.no_grad()
    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        visits = self.episodes.visits(experience)
        seen = self._seen(experience, visits)
        similarity = self.kernel.similarity(seen.squares, visits.there)[1:]
        bonus = similarity.reciprocal().masked_fill(similarity > self.most, 0.0)
        return (bonus * self._lifelong(seen.error)).masked_fill(~experience.valid.bool(), 0.0)

    def _lifelong(self, error: Tensor) -> Tensor:
        if self.moments.count < 1:
            return torch.ones_like(error)
        return (1 + self.moments.normalise(error, epsilon=1e-12)).clamp(1.0, self.limit)

    def _seen(self, rollout: Rollout, visits: Visits) -> _Seen:
        return self.recall.of(rollout, self, lambda: self._look(rollout, visits))

    def _look(self, rollout: Rollout, visits: Visits) -> _Seen:
        features, (predicted, targets) = self.net.encode(rollout.obs), self.distiller.compare(rollout)
        error = (predicted - targets[0]).square().sum(-1).view(rollout.shape)
        return _Seen(features, self.memory.nearest(features, visits, self.k), error)

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> None:
        visits = self.episodes.visits(rollout)
        seen = self._seen(rollout, visits)
        self.kernel.advance(seen.squares, visits.there)
        self.memory.add(seen.features, visits)
        self.moments.update(seen.error, rollout.valid.bool())
        self.net.observe(rollout)
        self.distiller.observe(rollout)
        self.episodes.advance(rollout)
        self.recall.forget()

    def update(self, experience: Any) -> dict[str, float]:
        """Trains the features and the predictor on a Rollout, and passes over anything else."""
        if not isinstance(experience, Rollout):
            return {}
        losses = self.net.learn(experience) | {"distillation": self.distiller.learn(experience)}
        self.recall.forget()
        return {f"{self.name}/{name}_loss": loss for name, loss in losses.items()}
