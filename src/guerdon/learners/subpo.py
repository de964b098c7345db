"""SubPO: policy gradient on the marginal gains of a set function, for small worlds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor, nn

from guerdon.parts.marginal_credit import marginal_credit
from guerdon.tasks.gymnasium_game import TaskVectorEnv
from guerdon.types import Reward, Rollout, Spec, VectorTask

Credit = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(gains, terminated, truncated, valid), [T, B] each -> advantages [T, B]."""


class Table(nn.Module):
    """A softmax for each combination of Discrete observations: SubPO-M's pi_h(a | s) with keys ("time", "cell")."""

    def __init__(self, space: spaces.Dict, actions: int, keys: Sequence[str]) -> None:
        super().__init__()
        if wrong := [k for k in keys if not isinstance(space.spaces.get(k), spaces.Discrete)]:
            raise ValueError(f"a table needs Discrete observations, and {wrong} are none of {space}")
        self.keys, sizes = tuple(keys), [int(space[k].n) for k in keys]  # type: ignore[attr-defined]
        self.logits = nn.Parameter(torch.zeros(*sizes, actions))

    def index(self, obs: Any) -> tuple[Tensor, ...]:
        return tuple(obs[k].long() for k in self.keys)

    def forward(self, obs: Any) -> Tensor:
        return self.logits[self.index(obs)]


class Network(nn.Module):
    """A small network that sees one-hot Discrete observations and vectors: SubPO-NM, if one of them is the past."""

    def __init__(self, space: spaces.Dict, actions: int, keys: Sequence[str], hidden: Sequence[int]) -> None:
        super().__init__()
        self.sizes = {k: getattr(space[k], "n", None) for k in keys}
        width = sum(int(n or math.prod(space[k].shape or ())) for k, n in self.sizes.items())
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.Tanh()]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, actions))

    def forward(self, obs: Any) -> Tensor:
        lead = next(obs[k].ndim for k, n in self.sizes.items() if n)
        seen = [
            nn.functional.one_hot(obs[k].long(), int(n)) if n else obs[k].flatten(lead) for k, n in self.sizes.items()
        ]
        return self.layers(torch.cat([x.float() for x in seen], -1))


class Episodes(NamedTuple):
    """One rollout of an episode a game, and what the finished ones came to."""

    rollout: Rollout
    finished: list[dict[str, float]]


class SubPO:
    """Submodular policy optimisation (Prajapat et al., 2023, https://arxiv.org/abs/2307.13372), tabular or small.

    One `iterate` plays an episode in every game, has the reward pay its steps (`SubmodularReward`: marginal gains) and
    climbs mean(log pi(a_i) A_i) + entropy / (epoch + 1) mean(H(pi)), A the gains to come less a baseline. The horizon
    is that of the Discrete observation "time"; a policy that does not see it cannot turn back. For larger worlds take
    PPO on the same reward, which is the paper's actor-critic.

    Args:
        history: observations that tell the past, such as ("seen",): the policy is then a network (SubPO-NM). Without
            any it is a table of "time" and "cell" (SubPO-M).
        keys: the Discrete observations that the policy always sees.
        lr: step size of Adam (0.05: our choice for a table; the release has 1e-3 to 1e-2 for networks).
        entropy: weight of the entropy in the first epoch (our choice; the release has 0).
        credit: gains to advantages; see `marginal_credit`.
        natural: plain ascent along Fisher^-1 grad J with the table's Fisher matrix of the visited states
            [reconstructed: the paper names a natural gradient; this is the exact one of a tabular softmax].
        damping: added to the diagonal of each state's Fisher matrix.
        hidden: layers of the network (release: 64 and 32, tanh).
    """

    def __init__(
        self, *, history: Sequence[str] = (), keys: Sequence[str] = ("time", "cell"), lr: float = 0.05,
        entropy: float = 0.01, credit: Credit = marginal_credit, natural: bool = False, damping: float = 1e-3,
        hidden: Sequence[int] = (64, 32),
    ) -> None:  # fmt: skip
        if natural and history:
            raise ValueError("natural=True is for the table: leave history out")
        self.history, self.keys, self.lr, self.entropy, self.credit = history, keys, lr, entropy, credit
        self.natural, self.damping, self.hidden = natural, damping, hidden

    def build(self, task: VectorTask, reward: Reward, *, seed: int = 0, device: torch.device | str = "cpu") -> None:
        """Makes the policy and builds the reward. Call once, before `iterate`."""
        space, action_space = task.single_observation_space, task.single_action_space
        if not isinstance(action_space, spaces.Discrete) or not isinstance(space.spaces.get("time"), spaces.Discrete):
            raise ValueError(
                f"SubPO needs Discrete actions and a Discrete observation 'time', got {action_space}, {space}"
            )
        self.task, self.reward, self.device, self.epoch = TaskVectorEnv(task), reward, torch.device(device), 0
        self.horizon = int(space["time"].n) - 1  # type: ignore[attr-defined]
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        reward.build(
            Spec(space, action_space, task.captions, task.num_envs),
            device=device, generator=torch.Generator(device=self.device).manual_seed(seed + 1),
        )  # fmt: skip
        actions = int(action_space.n)
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            torch.manual_seed(seed)
            if self.history:
                policy: nn.Module = Network(space, actions, (*self.keys, *self.history), self.hidden)
            else:
                policy = Table(space, actions, self.keys)
        self.policy = policy.to(self.device)
        kind = torch.optim.SGD if self.natural else torch.optim.Adam
        self.optimiser = kind(self.policy.parameters(), self.lr)

    @torch.no_grad()
    def collect(self) -> Episodes:
        """An episode of every game, from its start."""
        seed = int(torch.randint(2**31, (), generator=self.generator, device=self.device))
        shown, steps, finished = [self.task.reset(seed=seed)[0]], [], []
        for _ in range(self.horizon):
            logits = self.policy({k: torch.from_numpy(v).to(self.device) for k, v in shown[-1].items()})
            noise = torch.empty_like(logits).exponential_(generator=self.generator)
            action = (logits.softmax(-1) / noise).argmax(-1)
            obs, paid, terminated, truncated, info = self.task.step(action.cpu().numpy())
            shown.append(obs)
            steps.append((action, *map(torch.from_numpy, (paid, terminated, truncated, info["valid"]))))
            finished += info["finished"]
        action, paid, terminated, truncated, valid = (torch.stack(x) for x in zip(*steps, strict=True))
        truncated[-1] |= ~terminated[-1]  # the next rollout begins anew
        seen = {k: torch.stack([torch.from_numpy(obs[k]) for obs in shown]) for k in shown[0]}
        rollout = Rollout(
            obs=TensorDict(seen, (len(shown), self.task.num_envs)), action=action, extrinsic=paid,
            terminated=terminated, truncated=truncated, valid=valid,
        )  # fmt: skip
        return Episodes(rollout.to(self.device), finished)  # type: ignore[attr-defined]

    def learn(self, rollout: Rollout, gain: Tensor) -> dict[str, float]:
        """One ascent on a rollout whose steps were paid `gain` [T, B]."""
        advantage = self.credit(gain, rollout.terminated, rollout.truncated, rollout.valid)
        obs, valid = rollout.obs[:-1], rollout.valid
        log_p = self.policy(obs).log_softmax(-1)
        chosen = log_p.gather(-1, rollout.action.long()[..., None])[..., 0]
        entropy = -(log_p.exp() * log_p).sum(-1)
        weight = self.entropy / (self.epoch + 1)
        objective = ((advantage * chosen + weight * entropy) * valid).sum() / valid.sum()
        self.optimiser.zero_grad()
        (-objective).backward()
        if self.natural:
            self._precondition(obs, valid)
        self.optimiser.step()
        self.epoch += 1
        return {
            "subpo/entropy": float(entropy.detach()[valid].mean()),
            "subpo/deviation": float(advantage[valid].std()),
        }

    @torch.no_grad()
    def _precondition(self, obs: Any, valid: Tensor) -> None:
        """Multiplies the gradient of each state's logits by its (damped) Fisher matrix's inverse."""
        table: Any = self.policy
        visits = torch.zeros(table.logits.shape[:-1], device=self.device)
        visits.index_put_(table.index(obs), valid.float(), accumulate=True)
        p = table.logits.double().softmax(-1)
        fisher = torch.diag_embed(p) - p[..., :, None] * p[..., None, :] + self.damping * torch.eye(p.shape[-1]).to(p)
        gradient = table.logits.grad / (visits / visits.sum()).clamp(min=1e-12)[..., None]  # 0 where nobody was
        gradient = gradient.double() - gradient.double().mean(-1, keepdim=True)  # no rounding in its kernel
        table.logits.grad = torch.linalg.solve(fisher, gradient).to(table.logits.dtype)

    def iterate(self) -> dict[str, float]:
        """Plays, has it paid, learns; the means over the finished episodes and what `learn` logs."""
        rollout, finished = self.collect()
        gain = self.reward.evaluate(rollout, policy=self.policy).value.detach().nan_to_num(nan=0.0)
        logs = self.learn(rollout, gain)
        self.reward.observe(rollout)
        logs |= {f"reward/{k}": v for k, v in self.reward.update(rollout).items()}
        logs["reward/per_episode"] = float(gain.sum()) / max(1, len(finished))
        return logs | {f"episode/{k}": sum(e[k] for e in finished) / len(finished) for k in (finished or [{}])[0]}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, the reward's and the task's state included."""
        parts = {"policy": self.policy, "optimiser": self.optimiser, "reward": self.reward, "task": self.task.task}
        state: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
        return state | {"generator": self.generator.get_state(), "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        for name, part in (("policy", self.policy), ("optimiser", self.optimiser), ("reward", self.reward)):
            part.load_state_dict(state[name])
        self.task.task.load_state_dict(state["task"])
        self.generator.set_state(state["generator"].cpu())
        self.epoch = state["epoch"]
