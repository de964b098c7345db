"""What an action does to features, forwards and backwards: small networks with one hidden layer.

Actions come and go as the vectors of `guerdon.models.actions.ActionCode`: one-hot for discrete ones, raw for
continuous ones; what an inverse model predicts is scored by that code's loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guerdon.models.encoders import orthogonal


class ForwardModel(nn.Module):
    """The features that follow: features [*, size] and coded action [*, action_size] -> [*, size].

    Args:
        size: of the features.
        action_size: of the coded action, and of whatever else `forward` is given, such as inferred noise.
        hidden: units of the hidden layer (256: Pathak et al., 2017).
    """

    def __init__(self, size: int, action_size: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.layers = _two_layers(size + action_size, hidden, size)

    def forward(self, features: Tensor, *given: Tensor) -> Tensor:
        return self.layers(torch.cat([features, *given], -1))


class InverseModel(nn.Module):
    """The action between two observations: their features, [*, size] each -> logits or means [*, action_size].

    Args:
        size: of the features.
        action_size: of the coded action.
        hidden: units of the hidden layer (256: Pathak et al., 2017).
    """

    def __init__(self, size: int, action_size: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.layers = _two_layers(2 * size, hidden, action_size)

    def forward(self, features: Tensor, following: Tensor) -> Tensor:
        return self.layers(torch.cat([features, following], -1))


class ForwardEnsemble(nn.Module):
    """E forward models with weights of their own, each layer one batched product.

    Args:
        size: of the features.
        action_size: of the coded action.
        members: E.
        hidden: units of the hidden layer.
    """

    def __init__(self, size: int, action_size: int, *, members: int = 5, hidden: int = 256) -> None:
        super().__init__()
        self.members = members
        self.first = StackedLinear(members, size + action_size, hidden)
        self.last = StackedLinear(members, hidden, size, gain=1.0)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """[E, n, size] from [n, size] and [n, action_size], or from [E, n, ...]: every member its own rows."""
        x = torch.cat([features, action], -1)
        return self.last(torch.relu(self.first(x)))


class StackedLinear(nn.Module):
    """E dense layers side by side: [n, inputs] (the same for all) or [E, n, inputs] -> [E, n, outputs]."""

    def __init__(self, members: int, inputs: int, outputs: int, *, gain: float = 2**0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))
        for weight in self.weight.detach():
            nn.init.orthogonal_(weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.expand(len(self.weight), *x.shape[-2:]), self.weight)


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(orthogonal(nn.Linear(inputs, hidden)), nn.ReLU(), orthogonal(nn.Linear(hidden, outputs), 1.0))
