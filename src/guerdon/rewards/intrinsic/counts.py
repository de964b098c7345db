"""PseudoCount: a state pays less each time it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.models.dynamics import ActionFeatures
from guerdon.models.observation_net import ObservationInput
from guerdon.models.sign_hash import SignHash
from guerdon.parts.counts import VisitCounts, digests
from guerdon.parts.episodes import RunningEpisodes, Visits
from guerdon.parts.kernel_count import KernelCount
from guerdon.parts.knn_memory import EpisodicMemory, LifelongMemory
from guerdon.parts.recall import Recall
from guerdon.types import About, Reward, Rollout, Spec


class PseudoCount(Reward):
    """One over a power of how often the state was seen: ``r_t = n(obs[t+1]) ** -power``, its weight being beta.

    - ``kind="exact"``: n counts observations that are equal in every number, this visit included, so 0 < r <= 1.
    - ``kind="hashed"``: n counts observations with the same SimHash code, see `SignHash`.
    - ``kind="knn"``: n = s^2, s the similarity to the k nearest features of an inverse model, see `KernelCount`; this
      visit does not count, and 1 / (k^0.5 + c)^(2 power) <= r <= c^(-2 power), which is 1000. `update` trains features.

    Counted for life, n is of all environments together, and the current step of the others is not seen. Exact and
    hashed counts advance within a rollout, so that several rollouts are as one long one; neighbours are sought among
    what was there before the rollout. A replayed step is paid by the counts of now. With `episodic`, each environment
    counts its own episode, in order; the episode's first observation counts, but is not paid. [T, B] float32, invalid
    steps 0, the terminal observation as any other.

    Tang et al., "#Exploration", 2017: beta / sqrt(n), which counts the whole batch before it pays any of it. The kNN
    kind is NGU's episodic factor (Badia et al., 2020). RLLTE's PseudoCounts is that, and differs: it looks at obs[t],
    pays nothing for the first step of an episode, and updates the mean distance once per rollout.

    Args:
        kind: see above.
        power: 0.5 (Tang et al.: MBIE-EB's).
        episodic: counts per episode and environment.
        bits: of the SimHash code (32: Tang et al., on vectors; 256 on Atari, where we take at most 62).
        k: neighbours (10: NGU).
        capacity: features held, per environment if episodic (our choice; NGU 30,000).
        features, hidden, lr, batch_size, epochs: of the inverse model and its training (RLLTE's, k=32 features).
        keys: of the observation; None means all. Leave out what never comes again, such as a clock.

    Raises:
        ValueError: an unknown kind, a power that is not positive, NaN or infinite observations or ones of another
            shape; with `episodic`, another number of environments than it was built for (and so replayed steps).
    """

    about: ClassVar[About] = About(
        rewards="states that were seen seldom, by exact counts, hashed ones or nearest neighbours",
        paper="#Exploration: A Study of Count-Based Exploration for Deep Reinforcement Learning (Tang et al., 2017)",
        link="https://arxiv.org/abs/1611.04717",
        claim="intrinsic_minigrid",
    )

    def __init__(
        self,
        *,
        kind: Literal["exact", "hashed", "knn"] = "exact",
        power: float = 0.5,
        episodic: bool = False,
        bits: int = 32,
        k: int = 10,
        capacity: int = 10_000,
        features: int = 32,
        hidden: Sequence[int] = (256,),
        lr: float = 1e-3,
        batch_size: int = 256,
        epochs: int = 1,
        keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if kind not in ("exact", "hashed", "knn"):
            raise ValueError(f"PseudoCount's kind is 'exact', 'hashed' or 'knn', got {kind!r}")
        if not power > 0 or not 1 <= bits <= 62 or k < 1:
            raise ValueError(f"PseudoCount needs power > 0, 1 <= bits <= 62 and k >= 1, got {power}, {bits} and {k}")
        self.kind, self.power, self.bits, self.k = kind, power, bits, k
        self.episodic = episodic  # type: ignore[misc]
        self.capacity, self.features, self.hidden, self.lr = capacity, features, hidden, lr
        self.batch_size, self.epochs, self.keys = batch_size, epochs, keys

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        made: dict[str, Any] = {"keys": self.keys, "reader": self.name}
        self.recall: Recall[tuple[Tensor, Tensor]] = Recall()
        if self.episodic:
            self.episodes = RunningEpisodes(spec.num_envs, self.name).to(device)
        if self.kind == "knn":
            names = ("features", "hidden", "lr", "batch_size", "epochs")
            made |= {name: getattr(self, name) for name in names} | {"device": device, "generator": generator}
            self.net = ActionFeatures(spec, **made)
            size, room = self.features, self.capacity
            memory = EpisodicMemory(spec.num_envs, size, room) if self.episodic else LifelongMemory(size, room)
            self.memory, self.kernel = memory.to(device), KernelCount().to(device)
            return
        if self.kind == "hashed":
            self.hash = SignHash(spec, bits=self.bits, device=device, generator=generator, **made)
        else:
            self.given = ObservationInput(spec.observation_space, standardise=False, **made)
        self.counts = VisitCounts(spec.num_envs if self.episodic else None)

    @torch.no_grad()
    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        visits = self._visits(experience)
        seen, squares = self._seen(experience, visits)
        if self.kind == "knn":
            paid = self.kernel.similarity(squares, visits.there, running=self.episodic).pow(-2 * self.power)
        else:
            paid = (self.counts.before(seen, visits) + 1).float().pow(-self.power)
        return paid[1:].masked_fill(~experience.valid.bool(), 0.0)

    def _visits(self, rollout: Rollout) -> Visits:
        if self.episodic:
            return self.episodes.visits(rollout)
        there = torch.cat([rollout.valid.new_zeros(1, rollout.shape[1]), rollout.valid]).bool()
        return Visits(there, *torch.zeros(2, *there.shape, dtype=torch.int64, device=there.device))

    def _seen(self, rollout: Rollout, visits: Visits) -> tuple[Tensor, Tensor]:
        """What stands for each observation: a number [T+1, B], or features [T+1, B, d] and squares [T+1, B, k]."""
        return self.recall.of(rollout, self, lambda: self._look(rollout, visits))

    def _look(self, rollout: Rollout, visits: Visits) -> tuple[Tensor, Tensor]:
        if self.kind == "knn":
            features = self.net.encode(rollout.obs)
            if isinstance(self.memory, EpisodicMemory):
                return features, self.memory.nearest(features, visits, self.k)
            return features, self.memory.nearest(features.flatten(0, 1), self.k)[0].view(*features.shape[:2], self.k)
        if self.kind == "hashed":
            numbers = self.hash.of(rollout.obs)
        else:
            for key in self.given.keys:
                self.given.checked(key, rollout.obs[key].flatten(0, 1))
            numbers = digests(rollout.obs, self.given.keys)
        return numbers, numbers.new_zeros(0)

    @torch.no_grad()
    def observe(self, rollout: Rollout) -> None:
        visits = self._visits(rollout)
        seen, squares = self._seen(rollout, visits)
        if self.kind == "knn":
            self.kernel.advance(squares, visits.there)
            if isinstance(self.memory, EpisodicMemory):
                self.memory.add(seen, visits)
            else:
                self.memory.add(seen[visits.there])
            self.net.observe(rollout)
        else:
            self.counts.add(seen, visits)
        if self.episodic:
            self.episodes.advance(rollout)
        self.recall.forget()

    def update(self, experience: Any) -> dict[str, float]:
        """Trains the features of the kNN kind on a Rollout, and passes over anything else."""
        losses = self.net.learn(experience) if self.kind == "knn" and isinstance(experience, Rollout) else {}
        self.recall.forget()
        return {f"{self.name}/{name}_loss": loss for name, loss in losses.items()}
