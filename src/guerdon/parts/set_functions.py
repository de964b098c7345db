"""More functions with diminishing returns (see `guerdon.parts.marginal_gain`): saturation, likeness, information."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from guerdon.parts.marginal_gain import State, amounts


class ConcaveOverModular(nn.Module):
    """F(A) = sum_k w_k phi(sum of features[s, k] over the distinct items s of A), with phi concave and phi(0) = 0.

    Log-sums (``torch.log1p``), square roots, saturations. A second visit gains 0.

    Args:
        features: [S, K], at least 0.
        concave: phi, elementwise, not decreasing; must be picklable if the reward is to be pickled.
        weights: [K], at least 0; 1 if not given.

    Raises:
        ValueError: no items, negative or infinite numbers, or a phi that is not as it must be on 64 steps of its range.
    """

    features: Tensor
    weights: Tensor

    def __init__(
        self, features: Tensor, concave: Callable[[Tensor], Tensor] = torch.log1p, weights: Tensor | None = None
    ) -> None:
        super().__init__()
        features = amounts("features", features, 2)
        weights = torch.ones(features.shape[1]) if weights is None else weights
        self.concave = concave
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("weights", amounts("weights", weights, 1), persistent=False)
        steps = concave(torch.linspace(0, max(1.0, float(features.sum(0).max())), 65, dtype=torch.float64))
        rises = steps.diff()
        if not (float(steps[0].abs()) < 1e-12 and float(rises.min()) > -1e-9 and float(rises.diff().max()) < 1e-9):
            raise ValueError(f"{concave} must be 0 at 0, not decreasing and concave")

    @property
    def size(self) -> int:
        return len(self.features)

    def reset(self, sets: int) -> State:
        mass = self.features.new_zeros(sets, self.features.shape[1])
        return {"mass": mass, "visited": mass.new_zeros(sets, self.size, dtype=torch.bool)}

    def gain(self, state: State, item: Tensor) -> Tensor:
        return self.value(self.add(state, item)) - self.value(state)

    def add(self, state: State, item: Tensor) -> State:
        fresh = ~state["visited"].gather(1, item[:, None])
        visited = state["visited"].scatter(1, item[:, None], True)
        return {"mass": state["mass"] + self.features[item] * fresh, "visited": visited}

    def value(self, state: State) -> Tensor:
        return self.concave(state["mass"]) @ self.weights


def _at_most_one(x: Tensor) -> Tensor:
    return x.clamp(max=1.0)


def item_collection(groups: Tensor, demand: Tensor) -> ConcaveOverModular:
    """F(A) = sum_k min(|A n G_k|, d_k), Steiner covering: d_k things of kind k are wanted, and no more.

    Args:
        groups: bool [S, K], whether a thing of kind k lies at item s.
        demand: [K], greater than 0.
    """
    demand = amounts("demand", demand, 1)
    if bool((demand == 0).any()):
        raise ValueError(f"demand must be greater than 0, got {demand.tolist()}")
    return ConcaveOverModular(torch.as_tensor(groups).double() / demand, _at_most_one, demand)


class FacilityLocation(nn.Module):
    """F(A) = sum_v max over s in A of similarity[s, v]: how well A stands for everything. A second visit gains 0.

    Args:
        similarity: [S, V], at least 0.
    """

    similarity: Tensor

    def __init__(self, similarity: Tensor) -> None:
        super().__init__()
        self.register_buffer("similarity", amounts("similarity", similarity, 2), persistent=False)

    @property
    def size(self) -> int:
        return len(self.similarity)

    def reset(self, sets: int) -> State:
        return {"best": self.similarity.new_zeros(sets, self.similarity.shape[1])}

    def gain(self, state: State, item: Tensor) -> Tensor:
        return (self.similarity[item] - state["best"]).clamp(min=0.0).sum(1)

    def add(self, state: State, item: Tensor) -> State:
        return {"best": torch.maximum(state["best"], self.similarity[item])}

    def value(self, state: State) -> Tensor:
        return state["best"].sum(1)


class RBF(nn.Module):
    """k(a, b) = variance exp(-|a - b|^2 / (2 length^2)) of vectors [*, d]."""

    def __init__(self, *, length: float = 1.0, variance: float = 1.0) -> None:
        super().__init__()
        if not (0 < length < math.inf and 0 < variance < math.inf):
            raise ValueError(f"length and variance must be greater than 0, got {length} and {variance}")
        self.length, self.variance = length, variance

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.variance * (-(a - b).square().sum(-1) / (2 * self.length**2)).exp()


class CovarianceTable(nn.Module):
    """k(a, b) = covariance[a, b] of items by number; a symmetric positive semi-definite matrix [S, S]."""

    covariance: Tensor

    def __init__(self, covariance: Tensor) -> None:
        super().__init__()
        covariance = torch.as_tensor(covariance, dtype=torch.float64)
        if covariance.ndim != 2 or not len(covariance) or not torch.allclose(covariance, covariance.T):
            raise ValueError(f"a covariance is a symmetric matrix [S, S], got {list(covariance.shape)}")
        if float(torch.linalg.eigvalsh(covariance).min()) < -1e-6 * float(covariance.diagonal().max()):
            raise ValueError("the covariance is not positive semi-definite")
        self.register_buffer("covariance", covariance, persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.covariance[a, b]


class Information(nn.Module):
    """F(A) = 1/2 log det(I + K_A / noise), nats: what noisy measurements at A tell of a Gaussian process.

    Bayesian D-design and mutual information. A gain is 1/2 log(1 + var(s | A) / noise); measuring the same place again
    tells less, but not nothing. The Cholesky factor of K_A + noise I grows by a row an item; nothing is factored anew.
    (The authors' release pays log det(K_A + 1e-6 I) / 2 + constant |A|, monotone thanks to the constant only.)

    Args:
        kernel: a `CovarianceTable` for items by number, or an `RBF` for vectors; any k(a, b) that broadcasts.
        capacity: most items that a set may take.
        noise: variance of a measurement's error, sigma^2.
        dimensions: d where items are vectors [n, d]; None for numbers.

    Raises:
        ValueError: noise or capacity not greater than 0; from `add`, a set beyond its capacity.
    """

    anchor: Tensor  # empty; tells where the function lives

    def __init__(self, kernel: nn.Module, *, capacity: int, noise: float = 1.0, dimensions: int | None = None) -> None:
        super().__init__()
        if capacity < 1 or not 0 < noise < math.inf:
            raise ValueError(f"Information needs capacity >= 1 and noise > 0, got {capacity} and {noise}")
        self.kernel, self.capacity, self.noise, self.dimensions = kernel, capacity, noise, dimensions
        self.register_buffer("anchor", torch.zeros(0, dtype=torch.float64), persistent=False)

    @property
    def size(self) -> int | None:
        return len(self.kernel.covariance) if isinstance(self.kernel, CovarianceTable) else None

    def reset(self, sets: int) -> State:
        n, like = self.capacity, self.anchor
        shape, dtype = ((), torch.long) if self.dimensions is None else ((self.dimensions,), torch.float64)
        return {
            "item": like.new_zeros(sets, n, *shape, dtype=dtype),
            "factor": torch.eye(n, dtype=torch.float64, device=like.device).repeat(
                sets, 1, 1
            ),  # 1 where no item is yet
            "count": like.new_zeros(sets, dtype=torch.long),
        }

    def _row(self, state: State, item: Tensor) -> tuple[Tensor, Tensor]:
        """The next row of the factor, left of the diagonal [n, capacity], and var(item | A) [n]."""
        there = torch.arange(self.capacity, device=item.device) < state["count"][:, None]
        covariance = self.kernel(item[:, None], state["item"]).double() * there
        row = torch.linalg.solve_triangular(state["factor"], covariance[..., None], upper=False)[..., 0]
        return row, (self.kernel(item, item).double() - row.square().sum(1)).clamp(min=0.0)

    def gain(self, state: State, item: Tensor) -> Tensor:
        return 0.5 * (self._row(state, item)[1] / self.noise).log1p()

    def add(self, state: State, item: Tensor) -> State:
        count = state["count"]
        if int(count.max()) >= self.capacity:
            raise ValueError(f"a set has {self.capacity} items already: make Information(capacity=...) larger")
        row, variance = self._row(state, item)
        every = torch.arange(len(count), device=count.device)
        items, factor = state["item"].clone(), state["factor"].clone()
        items[every, count] = item.to(items.dtype)
        factor[every, count] = row
        factor[every, count, count] = (variance + self.noise).sqrt()
        return {"item": items, "factor": factor, "count": count + 1}

    def value(self, state: State) -> Tensor:
        logs = state["factor"].diagonal(dim1=1, dim2=2).log().sum(1)
        return logs - 0.5 * math.log(self.noise) * state["count"].double()
