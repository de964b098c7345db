"""A small discrete task as an exact tabular MDP, with every transition as a step that a reward can score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from guerdon.compare.transition_pay import Steps, score_steps
from guerdon.parts.tabular_mdp import TabularMDP
from guerdon.types import Reward, Spec

_EVERY = 2**22  # transitions, possible or not, that a reward is asked about at most


@dataclass(frozen=True)
class TaskTable:
    """All of a task's S states that can be reached, and its E possible transitions. Terminal states lead to themselves.

    A terminal state is a state of its own, even where it shows what another one shows.
    """

    mdp: TabularMDP
    steps: Tensor  # [E, 3]: state, action, next state
    chance: Tensor  # [E], of the next state given state and action
    extrinsic: Tensor  # [E], what the task pays
    terminal: Tensor  # bool [S]
    number: Tensor  # [S], what the environment calls the state, and tables of rewards are indexed by
    numbers: int  # how many there are
    paths: list[str]  # [S], how to get there
    source: str
    spec: Spec | None = None
    shown: TensorDict | None = None  # [S] observations

    def pay(self, reward: Reward | Tensor) -> Tensor:
        """[E] float64: what a reward, or a table by the environment's numbers, pays for each transition.

        Raises:
            ValueError: the table has another shape or is not finite; the reward cannot score single steps, or leaves
                some unscored.
        """
        s, a, t = self.steps.T
        if isinstance(reward, Tensor):
            return self._numbered(reward)[self.number[s], a, self.number[t]].double()
        return score_steps(reward, self._rows(s, a, t, self.extrinsic), self.spec)

    def mean(self, pay: Tensor) -> Tensor:
        """E[R(s, a, S')], [..., S, A], of payments [..., E]; 0 in terminal states."""
        mean = torch.zeros(*pay.shape[:-1], *self.mdp.shape, dtype=torch.float64)
        flat = (self.steps[:, 0] * self.mdp.shape[1] + self.steps[:, 1]).expand(pay.shape)
        mean.flatten(-2).scatter_add_(-1, flat, pay * self.chance)
        return mean

    def whole(self, reward: Reward | Tensor) -> Tensor:
        """R [S, A, S] also on transitions that cannot happen, where the task itself pays 0; terminal states pay 0."""
        states, actions = self.mdp.shape
        if states * actions * states > _EVERY:
            raise ValueError(
                f"{states} states make {states * actions * states} transitions, possible or not: too many to score "
                "them all; use --metric starc, which looks at the possible ones only"
            )
        s, a, t = (x.flatten() for x in torch.meshgrid(*map(torch.arange, (states, actions, states)), indexing="ij"))
        if isinstance(reward, Tensor):
            paid = self._numbered(reward)[self.number[s], a, self.number[t]].double()
        else:
            extrinsic = torch.zeros(states, actions, states, dtype=torch.float64)
            extrinsic[tuple(self.steps.T)] = self.extrinsic
            paid = score_steps(reward, self._rows(s, a, t, extrinsic.flatten()), self.spec)
        return torch.where(self.terminal[:, None, None], 0.0, paid.view(states, actions, states))

    def _rows(self, s: Tensor, a: Tensor, t: Tensor, extrinsic: Tensor) -> Steps:
        if self.shown is None or self.spec is None:
            raise ValueError("a table of transitions has no observations to score: give rewards as .npy tables")
        first = int(getattr(self.spec.action_space, "start", 0))
        return Steps(self.shown, s, a + first, t, extrinsic, self.terminal[t])

    def _numbered(self, reward: Tensor) -> Tensor:
        if not bool(reward.isfinite().all()):
            raise ValueError(f"the table of rewards is NaN or infinite at {int((~reward.isfinite()).sum())} places")
        shape = (self.numbers, self.mdp.shape[1])
        if tuple(reward.shape) == shape:
            reward = reward[..., None].expand(*shape, self.numbers)
        if tuple(reward.shape) != (*shape, self.numbers):
            wanted = f"[{shape[0]}, {shape[1]}, {shape[0]}] or [{shape[0]}, {shape[1]}]"
            raise ValueError(f"a table of rewards for this task must have shape {wanted}, got {list(reward.shape)}")
        return reward


def read_table(path: Path, gamma: float | None = None) -> TaskTable:
    """An MDP from an .npz file of ``transition`` [S, A, S], and perhaps ``start`` [S] and ``gamma``.

    Raises:
        ValueError: there is no transition, or `TabularMDP` refuses it.
    """
    with np.load(path) as file:
        if "transition" not in file:
            raise ValueError(f"{path} holds {', '.join(file) or 'nothing'}: it needs `transition`, [S, A, S]")
        start = torch.from_numpy(file["start"]) if "start" in file else None
        own = float(file["gamma"]) if "gamma" in file else None
        discount = gamma if gamma is not None else own if own is not None else 0.99
        mdp = TabularMDP(torch.from_numpy(file["transition"]), start, discount)
    steps = mdp.transition.nonzero()
    states = mdp.shape[0]
    return TaskTable(
        mdp, steps, mdp.transition[tuple(steps.T)], torch.zeros(len(steps)).double(), torch.zeros(states).bool(),
        torch.arange(states), states, [f"state {i}" for i in range(states)], f"the table {path.name}",
    )  # fmt: skip
