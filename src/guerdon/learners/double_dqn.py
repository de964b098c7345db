"""Double DQN over transitions of any duration: targets, replay, networks. `DQN` and `TopoNav` are agents made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.learners.descent import Descent
from guerdon.models.seeded import seeded


def double_q_target(
    reward: Tensor, discount: Tensor, online: Tensor, target: Tensor, mask: Tensor | None = None
) -> Tensor:
    """[N]: y = r + d Q_target(s', argmax_a Q_online(s', a)), Double DQN (van Hasselt et al., 2016, arxiv 1509.06461).

    For an option of tau steps r is sum_{i < tau} gamma^i r_i and d is gamma^tau (semi-Markov; Sutton et al., 1999);
    with tau = 1 this is the one-step target. With `online` = `target` it is that of plain DQN.

    Args:
        reward: [N], discounted within the transition.
        discount: [N], of what comes after it; 0 after a terminal step.
        online: [N, A] values of the next state by the network that learns.
        target: [N, A] values of it by the target network.
        mask: [N, A] bool, the actions there are; a row without any has nothing to come.
    """
    online = online if mask is None else online.masked_fill(~mask, -torch.inf)
    value = target.gather(1, online.argmax(1, keepdim=True))[:, 0]
    return reward + discount * (value if mask is None else torch.where(mask.any(1), value, 0.0))


class Replay:
    """The latest transitions: rows of named arrays, oldest overwritten first, drawn evenly with replacement.

    Args:
        capacity: rows kept.
        generator: of the draws.
    """

    def __init__(self, capacity: int, generator: torch.Generator) -> None:
        self.capacity, self.generator = capacity, generator
        self.size = self._next = 0
        self._rows: dict[str, Tensor] = {}

    def store(self, **rows: Tensor) -> None:
        """Takes in n rows, [n, ...] each. Raises ValueError for other names or numbers of rows than agreed."""
        n = {len(row) for row in rows.values()}
        if len(n) != 1 or (self._rows and set(rows) != set(self._rows)):
            shapes = {name: list(row.shape) for name, row in rows.items()}
            raise ValueError(f"replay keeps rows of {sorted(self._rows) or 'equal number'}, got {shapes}")
        if not self._rows:
            self._rows = {k: torch.zeros(self.capacity, *row.shape[1:], dtype=row.dtype) for k, row in rows.items()}
        count = n.pop()
        where = (self._next + torch.arange(count)) % self.capacity
        for name, row in rows.items():
            self._rows[name][where] = row
        self._next = (self._next + count) % self.capacity
        self.size = min(self.size + count, self.capacity)

    def sample(self, n: int) -> dict[str, Tensor]:
        """`n` rows."""
        if not self.size:
            raise ValueError("the replay is empty: store transitions before sampling")
        index = torch.randint(self.size, (n,), generator=self.generator)
        return {name: rows[index] for name, rows in self._rows.items()}

    def state_dict(self) -> dict[str, Any]:
        rows = {name: rows[: self.size].clone() for name, rows in self._rows.items()}
        return {"rows": rows, "next": self._next, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rows, self._next, self.size = {}, 0, 0
        if state["rows"]:
            self.store(**state["rows"])
        self._next = state["next"]
        self.generator.set_state(state["generator"])


class DoubleDQN:
    """A network of action values with its target, replay and optimiser; vectorised, for options as well as steps.

    The network maps an observation [N, ...] to values [N, A]. Where actions differ from state to state (places on a
    map), the observation holds a row of features an action, [N, A, F], and a mask says which there are.

    Args:
        gamma: discount of one step.
        lr: learning rate (5e-4, as TopoNav's; ours).
        batch: transitions an update (DQN's 32 to 64 are for one environment; more for many side by side).
        capacity: transitions kept.
        target_every: updates between copies to the target network.
        start: transitions before the first update.
        double: False takes the target network's own maximum (DQN).
        max_grad_norm: bound on the gradient.
    """

    def __init__(
        self,
        *,
        gamma: float = 0.99,
        lr: float = 5e-4,
        batch: int = 128,
        capacity: int = 50_000,
        target_every: int = 200,
        start: int = 1000,
        double: bool = True,
        max_grad_norm: float = 10.0,
    ) -> None:
        self.gamma, self.lr, self.batch, self.capacity = gamma, lr, batch, capacity
        self.target_every, self.start, self.double, self.max_grad_norm = target_every, start, double, max_grad_norm

    def build(self, network: Callable[[], nn.Module], *, generator: torch.Generator) -> DoubleDQN:
        """Makes the networks, weights drawn from `generator`, which is also that of all chance later."""
        with seeded(generator):
            self.online = network()
        with seeded(generator):
            self.target = network().requires_grad_(False)
        self.target.load_state_dict(self.online.state_dict())
        self.generator = generator
        self.replay = Replay(self.capacity, generator)
        self.descent = Descent(lr=self.lr, max_grad_norm=self.max_grad_norm)
        self.descent.start(self.online.parameters())
        return self

    @torch.no_grad()
    def values(self, obs: Tensor) -> Tensor:
        """[N, A] values of actions."""
        return self.online(obs)

    def explore(self, values: Tensor, epsilon: float, mask: Tensor | None = None) -> Tensor:
        """[N] actions of highest value, or with probability `epsilon` one at random, among those of `mask` [N, A]."""
        allowed = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        best = values.masked_fill(~allowed, -torch.inf).argmax(1)
        anyone = torch.rand(values.shape, generator=self.generator).masked_fill(~allowed, -1.0).argmax(1)
        return torch.where(torch.rand(len(values), generator=self.generator) < epsilon, anyone, best)

    def store(
        self,
        obs: Tensor,
        action: Tensor,
        reward: Tensor,
        next_obs: Tensor,
        discount: Tensor,
        next_mask: Tensor | None = None,
    ) -> None:
        """Keeps n transitions: `discount` [n] is gamma^tau, 0 if terminal; `next_mask` [n, A] where actions differ."""
        rows = {"obs": obs, "action": action, "reward": reward, "next_obs": next_obs, "discount": discount}
        self.replay.store(**rows, **({} if next_mask is None else {"next_mask": next_mask}))

    def update(self) -> dict[str, float]:
        """One step on the Huber loss of a batch; nothing while there are fewer than `start` transitions."""
        if self.replay.size < max(self.start, 1):
            return {}
        rows = self.replay.sample(self.batch)
        with torch.no_grad():
            target = self.target(rows["next_obs"])
            online = self.online(rows["next_obs"]) if self.double else target
            goal = double_q_target(rows["reward"], rows["discount"], online, target, rows.get("next_mask"))
        value = self.online(rows["obs"]).gather(1, rows["action"][:, None])[:, 0]
        loss = nn.functional.smooth_l1_loss(value, goal)
        loss.backward()
        logs = self.descent.step()
        if self.descent.done % self.target_every == 0:
            self.target.load_state_dict(self.online.state_dict())
        return {"loss": float(loss.detach()), "value": float(value.detach().mean()), **logs}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimiser and replay."""
        parts = {"online": self.online, "target": self.target, "descent": self.descent, "replay": self.replay}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        for name in ("online", "target", "descent", "replay"):
            getattr(self, name).load_state_dict(state[name])


def mlp(inputs: int, outputs: int, hidden: int = 64) -> nn.Sequential:
    """Two hidden layers, last dimension to last dimension."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )  # fmt: skip


def annealed(done: int, over: int, first: float, last: float) -> float:
    """From `first` to `last`, straight, within the first `over` of what is `done`."""
    return last if done >= over else first + (last - first) * done / over
