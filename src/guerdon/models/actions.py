"""Actions as networks take them, and the loss of an action that was guessed."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor


class ActionCode:
    """Any action space as vectors [n, `size`]: indicators of a discrete action (of each part), numbers as they are.

    Numbers of a bounded Box are brought to [-1, 1].

    Raises:
        TypeError: a space that is neither Discrete, MultiDiscrete, MultiBinary nor Box.
    """

    def __init__(self, space: spaces.Space | None, *, reader: str = "ActionCode") -> None:
        self.reader = reader
        if isinstance(space, spaces.Discrete):
            self.parts, start = [int(space.n)], [int(space.start)]
        elif isinstance(space, spaces.MultiDiscrete):
            self.parts, start = space.nvec.ravel().tolist(), np.asarray(space.start).ravel().tolist()
        elif isinstance(space, spaces.Box | spaces.MultiBinary):
            self.parts, start = [], []
        else:
            raise TypeError(f"{reader} cannot read actions of {space}: Discrete, MultiDiscrete and Box are known")
        self.discrete = bool(self.parts)
        self.shape = tuple(space.shape or ())
        self.size = sum(self.parts) if self.discrete else int(np.prod(self.shape))
        self.start = torch.tensor(start)
        bounded = isinstance(space, spaces.Box) and bool(space.is_bounded())
        low, high = (space.low, space.high) if bounded else (-np.ones(self.shape), np.ones(self.shape))  # type: ignore
        self.middle = torch.as_tensor((np.asarray(high) + low) / 2, dtype=torch.float32).flatten()
        self.reach = torch.as_tensor((np.asarray(high) - low) / 2, dtype=torch.float32).flatten().clamp(min=1e-6)

    def __call__(self, action: Tensor) -> Tensor:
        """[n, size] float32 from actions [n, ...]. Raises ValueError for another shape, NaN or infinities."""
        if tuple(action.shape[1:]) != self.shape:
            raise ValueError(f"{self.reader}: actions have shape {list(action.shape[1:])}, not {list(self.shape)}")
        if self.discrete:
            chosen = self._chosen(action)
            return torch.cat([F.one_hot(c, n) for c, n in zip(chosen.unbind(1), self.parts, strict=True)], -1).float()
        x = action.float().flatten(1)
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"{self.reader}: actions hold NaN or infinity")
        return (x - self.middle.to(x)) / self.reach.to(x)

    def loss(self, guess: Tensor, action: Tensor) -> Tensor:
        """[n]: how wrong `guess` [n, size] is: the cross-entropy of logits, summed over parts, or the mean square."""
        if not self.discrete:
            return (guess - self(action)).square().mean(-1)
        chosen = self._chosen(action)
        parts = zip(guess.split(self.parts, -1), chosen.unbind(1), strict=True)
        return torch.stack([F.cross_entropy(logits, c, reduction="none") for logits, c in parts]).sum(0)

    def _chosen(self, action: Tensor) -> Tensor:
        return action.long().reshape(len(action), len(self.parts)) - self.start.to(action.device)
