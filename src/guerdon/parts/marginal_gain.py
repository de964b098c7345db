"""Set functions with diminishing returns, grown item by item for many sets at once: what does one more item add?

A monotone submodular F has F(empty) = 0 and F(A + s) - F(A) >= F(B + s) - F(B) >= 0 for A within B. Its gains pay the
steps of an episode, the answers of a group, the rows of a data set; `greedy` picks items by them.

>>> sensor = Coverage.discs((8, 8), radius=1.5)
>>> state = sensor.reset(2)  # two empty sets
>>> sensor.gain(state, torch.tensor([0, 9]))
tensor([4., 9.], dtype=torch.float64)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
"""What a function must know of n sets, [n, ...] each, of shapes that do not change."""


class SetFunction(Protocol):
    """F over n sets side by side, in float64. States are values: nothing here changes one in place.

    Items are integers [n], numbers in a finite ground set, or vectors [n, d]; see each function.
    """

    @property
    def size(self) -> int | None:
        """Items in the ground set; None where it is not finite."""
        ...

    def reset(self, sets: int) -> State:
        """The state of `sets` empty sets."""
        ...

    def gain(self, state: State, item: Tensor) -> Tensor:
        """F(A + item) - F(A), [n]."""
        ...

    def add(self, state: State, item: Tensor) -> State:
        """The sets with one item more each."""
        ...

    def value(self, state: State) -> Tensor:
        """F(A), [n]."""
        ...


class Coverage(nn.Module):
    """F(A) = sum of w(v) over all cells v that some item of A covers. A second visit gains 0.

    Args:
        cells: int [S, D], the cells that each item covers, each once; -1 fills up a row.
        weights: [V], at least 0; cells are numbered from 0 to V - 1.

    Raises:
        ValueError: no items, no such cell or one twice in a row, or a weight that is negative or not finite.
    """

    cells: Tensor
    weights: Tensor

    def __init__(self, cells: Tensor, weights: Tensor) -> None:
        super().__init__()
        weights = amounts("weights", weights, 1)
        cells = torch.as_tensor(cells).long()
        if cells.ndim != 2 or 0 in cells.shape:
            raise ValueError(f"Coverage needs cells [S, D] of at least one item, got {list(cells.shape)}")
        if int(cells.min()) < -1 or int(cells.max()) >= len(weights):
            raise ValueError(f"cells are 0 to {len(weights) - 1}, or -1, got {int(cells.min())} to {int(cells.max())}")
        ordered = cells.sort(1).values
        if bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()):
            raise ValueError("an item covers a cell twice: each row of cells names a cell once")
        nothing = len(weights)  # one more cell, of weight 0, which stands for -1
        self.register_buffer("cells", torch.where(cells < 0, nothing, cells), persistent=False)
        self.register_buffer("weights", torch.cat([weights, weights.new_zeros(1)]), persistent=False)

    @classmethod
    def sets(cls, covered: Tensor, weights: Tensor | None = None) -> Coverage:
        """Items as rows of a bool matrix [S, V], True where they cover a cell; weights are 1 if not given."""
        covered = torch.as_tensor(covered).bool()
        if covered.ndim != 2 or 0 in covered.shape:
            raise ValueError(f"Coverage.sets needs a matrix [S, V] of items and cells, got {list(covered.shape)}")
        most = max(1, int(covered.sum(1).max()))
        numbered = torch.where(covered, torch.arange(covered.shape[1]), -1).sort(1, descending=True).values
        return cls(numbered[:, :most], torch.ones(covered.shape[1]) if weights is None else weights)

    @classmethod
    def discs(cls, shape: Sequence[int], *, radius: float = 0.0, weights: Tensor | None = None) -> Coverage:
        """A grid of this shape where each cell covers those whose centres are within `radius` cells of its own.

        Items and cells are numbered as ``torch.arange(S).view(shape)``; `weights` is 1, or has S numbers in any shape.
        """
        if not shape or min(shape) < 1 or not 0 <= radius < math.inf:
            raise ValueError(f"a grid needs sides of at least 1 and a finite radius >= 0, got {shape} and {radius}")
        reach = [range(-int(radius), int(radius) + 1)] * len(shape)
        near = [o for o in itertools.product(*reach) if math.hypot(*o) <= radius + 1e-9]
        sides = torch.tensor(tuple(shape))
        places = torch.cartesian_prod(*map(torch.arange, shape)).view(-1, len(shape))
        reached = places[:, None] + torch.tensor(near)
        inside = ((reached >= 0) & (reached < sides)).all(-1)
        strides = sides.flip(0).cumprod(0).flip(0) // sides
        cells = torch.where(inside, (reached * strides).sum(-1), -1)
        return cls(cells, torch.ones(len(cells)) if weights is None else torch.as_tensor(weights).reshape(-1))

    @property
    def size(self) -> int:
        return len(self.cells)

    def reset(self, sets: int) -> State:
        return {"covered": self.cells.new_zeros(sets, len(self.weights), dtype=torch.bool)}

    def gain(self, state: State, item: Tensor) -> Tensor:
        cells = self.cells[item]
        return (self.weights[cells] * ~state["covered"].gather(1, cells)).sum(1)

    def add(self, state: State, item: Tensor) -> State:
        return {"covered": state["covered"].scatter(1, self.cells[item], True)}

    def value(self, state: State) -> Tensor:
        return state["covered"].double() @ self.weights


class Additive(nn.Module):
    """F_mod(A) = sum of F({s}) over all visits s: another function without its diminishing returns.

    The control of SubPO's papers ("SRL"): whoever is paid by it goes where F({s}) is largest, and stays.
    """

    def __init__(self, function: SetFunction) -> None:
        super().__init__()
        self.function = function

    @property
    def size(self) -> int | None:
        return self.function.size

    def reset(self, sets: int) -> State:
        return {"total": self.function.value(self.function.reset(sets))}

    def gain(self, state: State, item: Tensor) -> Tensor:
        return self.function.gain(self.function.reset(len(item)), item)

    def add(self, state: State, item: Tensor) -> State:
        return {"total": state["total"] + self.gain(state, item)}

    def value(self, state: State) -> Tensor:
        return state["total"]


class Chosen(NamedTuple):
    """Items in the order they were picked, as places in the ground set [k], and what each gained [k]."""

    index: Tensor
    gain: Tensor


def greedy(function: SetFunction, ground_set: Tensor, k: int, *, block: int = 1024) -> Chosen:
    """The k items of `ground_set` [m, ...] picked one by one, each by its largest gain; the first of equals.

    For a monotone submodular function the value, ``gain.sum()``, is at least 1 - 1/e of the best k items'. Diverse
    answers, data selection, designs. Gains are computed for `block` items at once; k m of them in all.

    Raises:
        ValueError: an empty ground set, a k that is not between 1 and m, items outside the function's ground set, or a
            gain that is NaN.
    """
    m = len(ground_set)
    if not 1 <= k <= m:
        raise ValueError(f"greedy picks 1 to {m} of {m} items, not {k}")
    check_items(function, ground_set)
    state, left = function.reset(1), torch.ones(m, dtype=torch.bool, device=ground_set.device)
    index, gains = [], []
    for _ in range(k):
        found = [function.gain(_repeated(state, len(part)), part) for part in ground_set.split(block)]
        gain = torch.cat(found).masked_fill(~left, -math.inf)
        best = int(gain.argmax())
        if bool(gain.isnan().any()):
            raise ValueError(f"the gain of item {int(gain.isnan().nonzero()[0])} on top of {index} is NaN")
        index.append(best)
        gains.append(gain[best])
        left[best] = False
        state = function.add(state, ground_set[best : best + 1])
    return Chosen(torch.tensor(index, device=ground_set.device), torch.stack(gains))


def where(mask: Tensor, state: State, other: State) -> State:
    """The sets of `state` where `mask` [n] is True, those of `other` elsewhere."""
    return {k: torch.where(mask.view(-1, *[1] * (v.ndim - 1)), v, other[k]) for k, v in state.items()}


def check_items(function: SetFunction, items: Tensor) -> None:
    """Raises ValueError where `items` are not of the function's ground set: outside [0, size), or no integers."""
    if function.size is None:
        return
    if items.is_floating_point():
        raise ValueError(f"items are numbers of a ground set of {function.size}, not vectors {list(items.shape)}")
    if items.numel() and (int(items.min()) < 0 or int(items.max()) >= function.size):
        raise ValueError(f"items are 0 to {function.size - 1}, got {int(items.min())} to {int(items.max())}")


def _repeated(state: State, sets: int) -> State:
    """The state of one set, `sets` times, without a copy."""
    return {key: value.expand(sets, *value.shape[1:]) for key, value in state.items()}


def amounts(name: str, values: Tensor, dims: int) -> Tensor:
    """`values` as float64, checked: so many dimensions, none empty, finite and at least 0."""
    values = torch.as_tensor(values).double()
    if values.ndim != dims or 0 in values.shape:
        raise ValueError(f"{name} must have {dims} dimension(s), none empty, got shape {list(values.shape)}")
    if not bool((values.isfinite() & (values >= 0)).all()):
        raise ValueError(f"{name} must be finite and at least 0, got {float(values.min())} to {float(values.max())}")
    return values
