"""What an action does to features, forwards and backwards: small networks with one hidden layer.

Actions come and go as the vectors of `guerdon.models.actions.ActionCode`: one-hot for discrete ones, raw for
continuous ones; what an inverse model predicts is scored by that code's loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from guerdon.models.actions import ActionCode
from guerdon.models.encoders import orthogonal
from guerdon.models.observation_net import ObservationInput, ObservationNet, next_obs
from guerdon.models.seeded import Trainer, seeded
from guerdon.types import Rollout, Spec


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


class ActionFeatures(nn.Module):
    """Features phi in which an agent's own actions show, learnt by guessing the action between two observations.

    An inverse model g guesses a_t from phi(s_t) and phi(s_t+1), and gradients reach phi; so do those of a forward model
    f, if there is one, which guesses phi(s_t+1) from phi(s_t) and a_t. The loss of a step is
    ``inverse_weight * loss(g) + forward_weight * |f - phi(s_t+1)|^2 / 2``, its mean taken over a minibatch's valid
    steps: loss(g) is cross-entropy, or the mean square of a continuous action. A minibatch is a block of consecutive
    steps of many environments, so that an observation that ends one step and begins the next is encoded once.

    Args:
        spec: of the task.
        features: size of phi.
        hidden: dense layers of phi's network, see `ObservationNet`.
        model_hidden: units of the hidden layer of g and f.
        inverse_weight, forward_weight: see above; forward_weight 0 makes no forward model.
        keys, standardise: as in `ObservationInput`.
        lr, batch_size, epochs, max_grad_norm: of Adam; batch_size in steps.
        device, generator: as in `Reward.build`.
        reader: whose networks these are, for errors.
    """

    def __init__(
        self, spec: Spec, *, features: int = 128, hidden: Sequence[int] = (256,), model_hidden: int = 256,
        inverse_weight: float = 1.0, forward_weight: float = 0.0, keys: Sequence[str] | None = None,
        standardise: bool = True, lr: float = 1e-3, batch_size: int = 256, epochs: int = 1,
        max_grad_norm: float | None = None, device: torch.device | str = "cpu",
        generator: torch.Generator | None = None, reader: str = "ActionFeatures",
    ) -> None:  # fmt: skip
        super().__init__()
        self.given = ObservationInput(spec.observation_space, keys=keys, standardise=standardise, reader=reader)
        self.code = ActionCode(spec.action_space, reader=reader)
        with seeded(generator):
            self.net = ObservationNet(self.given, features, hidden=hidden)
            self.inverse = InverseModel(features, self.code.size, hidden=model_hidden)
            forward = ForwardModel(features, self.code.size, hidden=model_hidden) if forward_weight else None
        self.forward_model = forward
        self.to(device)
        self.trainer = Trainer(self.parameters(), lr=lr, generator=generator, max_grad_norm=max_grad_norm)
        self.inverse_weight, self.forward_weight = inverse_weight, forward_weight
        self.batch_size, self.epochs = batch_size, epochs

    def encode(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Phi of observations [T+1, B, ...] by key: [T+1, B, features]."""
        return encode(self.net, self.given, obs)

    def predict(self, features: Tensor, action: Tensor) -> Tensor:
        """What f makes of features [T, B, features] and actions [T, B, ...]. Raises ValueError without an f."""
        if self.forward_model is None:
            raise ValueError(f"{self.given.reader} has no forward model: give it a forward_weight")
        code = self.code(action.flatten(0, 1)).unflatten(0, action.shape[:2])
        return self.forward_model(features, code)

    def observe(self, rollout: Rollout) -> None:
        """Takes what the valid steps led to into the moments."""
        self.given.observe(next_obs(rollout.obs, self.given.keys), rollout.valid.bool().flatten())

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Trains on the valid steps of a rollout, `epochs` times; the mean loss of each model over them."""
        valid, sums, seen = rollout.valid.bool(), {}, 0
        for steps, columns in self._blocks(*rollout.shape):
            mask = valid[steps, columns].flatten()
            count = int(mask.sum())
            if not count:
                continue
            longer = slice(steps.start, steps.stop + 1)
            obs = {k: rollout.obs[k][longer, columns].flatten(0, 1) for k in self.given.keys}
            losses = self._losses(self.net(self.given(obs)), rollout.action[steps, columns].flatten(0, 1))
            means = {name: (loss * mask).sum() / count for name, loss in losses.items()}
            weighted = self.inverse_weight * means["inverse"]
            self.trainer.step(weighted + self.forward_weight * means["forward"] if "forward" in means else weighted)
            seen += count
            for name, mean in means.items():
                sums[name] = sums.get(name, 0.0) + float(mean.detach()) * count
        return {name: total / seen for name, total in sums.items()}

    def _losses(self, features: Tensor, action: Tensor) -> dict[str, Tensor]:
        """[n] each, from features [m, features] of which the last n follow the first n, and n actions."""
        before, after = features[: len(action)], features[-len(action) :]
        losses = {"inverse": self.code.loss(self.inverse(before, after), action)}
        if self.forward_model is not None:
            losses["forward"] = half_square(self.forward_model(before, self.code(action)) - after)
        return losses

    def _blocks(self, steps: int, columns: int) -> Iterator[tuple[slice, slice]]:
        """Blocks of about `batch_size` steps, in a drawn order, `epochs` times."""
        wide = min(columns, self.batch_size)
        long = max(1, self.batch_size // max(1, wide))
        blocks = [
            (slice(t, min(t + long, steps)), slice(c, min(c + wide, columns)))
            for t in range(0, steps, long) for c in range(0, columns, wide)
        ]  # fmt: skip
        for order in self.trainer.batches(len(blocks), max(1, len(blocks)), epochs=self.epochs):
            yield from (blocks[i] for i in order.tolist())


def encode(net: nn.Module, given: ObservationInput, obs: Mapping[str, Tensor]) -> Tensor:
    """Features of observations [T+1, B, ...] by key: [T+1, B, size], each computed once."""
    flat = {key: obs[key].flatten(0, 1) for key in given.keys}
    count, shape = next((len(x) for x in flat.values()), 0), obs[given.keys[0]].shape[:2]
    size = given.chunk
    starts = range(0, max(1, count), size)  # an empty batch passes, too, and comes out with its width
    return torch.cat([net(given({k: x[i : i + size] for k, x in flat.items()})) for i in starts]).unflatten(0, shape)


def half_square(error: Tensor) -> Tensor:
    """Half the squared length of `error` [..., size]."""
    return 0.5 * error.square().sum(-1)
