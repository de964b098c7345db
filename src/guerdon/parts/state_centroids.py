"""Where the states of a reward model lie: centroids of known states, and how far a new one is from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn


class StateCentroids(nn.Module):
    """Centroids of validation states, per dimension; distances of new states to them; a threshold on the least.

        dist_d(h) = min_i ||h' - c_{d,i}||,   h' = (h - mean) / std of the validation states

    The smaller, the more dimension d is in use. The threshold is a quantile of min_d dist_d over the validation states,
    each half of them measured by centroids of the other half: states are nearer to centroids that they made themselves,
    by far if they are few and wide. (The paper's number, 140, belongs to one model; all of this is our choice, as are
    standardising and k-means with 10 restarts.)
    "MRMBench", Wang et al., 2025, https://github.com/wangclnlp/MRMBench. Distances do not change when states are
    shifted, scaled by column or, without `standardise`, rotated; they do under other linear maps.

    Args:
        k: centroids of a dimension; None: the mean state of each of its labels.
        quantile: of the validation states that stay within the threshold (0.95: our choice).
        standardise: False leaves states as they are.
    """

    mean: Tensor  # [D]
    std: Tensor  # [D]
    points: Tensor  # [C, D], of standardised states
    owner: Tensor  # [C] int64: which dimension's
    threshold: Tensor

    def __init__(self, *, k: int | None = None, quantile: float = 0.95, standardise: bool = True) -> None:
        super().__init__()
        if (k is not None and k < 1) or not 0 <= quantile <= 1:
            raise ValueError(f"centroids need k >= 1 or None, and a quantile in 0..1; got {k} and {quantile}")
        self.k, self.quantile, self.standardise = k, quantile, standardise
        self.names: list[str] = []
        for name in ("mean", "std", "points", "threshold"):
            self.register_buffer(name, torch.zeros(0, 0) if name == "points" else torch.zeros(()))
        self.register_buffer("owner", torch.zeros(0, dtype=torch.int64))

    def fit(self, states: Mapping[str, tuple[Tensor, Tensor]], *, seed: int = 0) -> None:
        """Takes the validation states [N, D] and their labels [N] of each dimension.

        Raises:
            ValueError: no dimension, a state that is not finite, or fewer states than centroids.
        """
        if not states:
            raise ValueError("centroids need the states of at least one dimension")
        for name, (h, _) in states.items():
            if h.ndim != 2 or not len(h) or not bool(h.isfinite().all()):
                raise ValueError(f"the states of {name!r} must be finite and [N, D], got {list(h.shape)}")
            if self.k is not None and len(h) < self.k:
                raise ValueError(f"{len(h)} states of {name!r} make no {self.k} centroids: lower k")
        self._place(states, seed)
        order = torch.Generator().manual_seed(seed)
        deals = {name: torch.randperm(len(h), generator=order).to(h.device) for name, (h, _) in states.items()}
        far = [
            self._held_out(states, {name: (d[i::2], d[1 - i :: 2]) for name, d in deals.items()}, seed) for i in (0, 1)
        ]
        self.threshold = torch.cat(far).quantile(self.quantile)

    def _held_out(
        self, states: Mapping[str, tuple[Tensor, Tensor]], halves: Mapping[str, tuple[Tensor, Tensor]], seed: int
    ) -> Tensor:
        """The least distance of each state of one half to centroids of the other, or to all where halves are small."""
        kept, rest = ({n: (h[halves[n][i]], y[halves[n][i]]) for n, (h, y) in states.items()} for i in (0, 1))
        judge = self
        if all(len(h) >= max(2, self.k or 0) for h, _ in rest.values()):
            judge = StateCentroids(k=self.k, standardise=self.standardise).to(self.points.device)
            judge._place(rest, seed)
        return judge.distances(torch.cat([h for h, _ in kept.values()])).amin(1)

    def _place(self, states: Mapping[str, tuple[Tensor, Tensor]], seed: int) -> None:
        """Finds the scale and the centroids."""
        every = torch.cat([h for h, _ in states.values()])
        self.mean, self.std = every.mean(0), every.std(0, unbiased=False)
        if not self.standardise:
            self.mean, self.std = torch.zeros_like(self.mean), torch.ones_like(self.std)
        self.std = torch.where(self.std > 0, self.std, 1.0)  # a constant feature tells nothing
        points, self.names = [], list(states)
        for h, labels in states.values():
            x = (h - self.mean) / self.std
            if self.k is None:
                points.append(torch.stack([x[labels == label].mean(0) for label in labels.unique()]))
            else:
                found = KMeans(self.k, n_init=10, random_state=seed).fit(x.double().cpu().numpy())  # type: ignore[arg-type]
                points.append(torch.as_tensor(found.cluster_centers_.astype(np.float32), device=h.device))
        self.points = torch.cat(points).to(every)
        self.owner = torch.cat([torch.full((len(p),), i, device=every.device) for i, p in enumerate(points)])

    def distances(self, states: Tensor) -> Tensor:
        """[N, dimensions] of states [N, D]: to each one's nearest centroid. Raises ValueError for NaN or infinity."""
        if not len(self.points):
            raise RuntimeError("there are no centroids yet: fit them on validation states first")
        if not bool(states.isfinite().all()):
            raise ValueError("a state is not finite: there is no distance to it")
        far = torch.cdist((states - self.mean) / self.std, self.points, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.stack([far[:, self.owner == i].amin(1) for i in range(int(self.owner.max()) + 1)], 1)

    def attribution(self, states: Tensor, *, temperature: float = 1.0) -> Tensor:
        """[N, dimensions] of weights that sum to 1: softmax(-dist / temperature) (our choice)."""
        return (-self.distances(states) / temperature).softmax(1)

    def trusted(self, states: Tensor) -> Tensor:
        """[N] bool: whether the least distance is within the threshold."""
        return self.distances(states).amin(1) <= self.threshold

    def get_extra_state(self) -> dict[str, list[str]]:
        return {"names": self.names}

    def set_extra_state(self, state: dict[str, list[str]]) -> None:
        self.names = list(state["names"])

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *more: object) -> None:
        for name in ("mean", "std", "points", "owner", "threshold"):
            if (saved := state.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(saved, device=self.points.device))
        super()._load_from_state_dict(state, prefix, *more)  # type: ignore[arg-type]
