"""PPO for control, recurrent or feed-forward, with a value head a reward stream and rewards scored when it learns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from guerdon.learners.clock import Clock
from guerdon.learners.collector import Collected, Collector
from guerdon.models.policy import ActorCritic, parameter_count
from guerdon.parts.advantages import Advantages, gae, vtrace
from guerdon.parts.policy_losses import clipped_policy_loss, masked_mean, normalise_advantage, value_loss
from guerdon.types import Reward, Rollout, Scored, Spec, VectorTask, streams


class PPO:
    """Proximal policy optimisation (Schulman et al., 2017) over any `VectorTask` and any reward expression.

    One `iterate` collects a rollout, scores it with the reward as it is now, and improves the policy on it; the sum
    over streams of their advantages drives the policy, each stream's value head learns its own returns.

    Args:
        rollout: T, steps per game and iteration.
        epochs: passes over each rollout.
        minibatches: parts of a rollout; whole games if recurrent, single steps otherwise.
        lr: Adam's step size.
        anneal: lower it linearly to 0 over the run.
        gamma: discount of streams that name none.
        lam: GAE's trace decay.
        clip: PPO's clip range.
        entropy: weight of the entropy bonus.
        value_coef: weight of the value loss.
        value_clip: hold values within this of the old ones; None does not.
        max_grad_norm: gradients are scaled down to it.
        normalise: advantages to zero mean and unit deviation in each minibatch.
        estimator: "gae", or "vtrace" with targets renewed from the current policy before each epoch.
        recurrent: a GRU core.
        width: features per observation key.
        hidden: of the core.
        keys: observation keys that the policy sees; None means all.
        separate: give the critic a network of its own (feed-forward only).
        threads: CPU threads while learning. Small networks are fastest on one, which leaves a core to games and judge.

    Defaults are CleanRL's and Stable-Baselines3's for discrete actions where those agree, else our choice.
    """

    def __init__(
        self,
        *,
        rollout: int = 128,
        epochs: int = 4,
        minibatches: int = 4,
        lr: float = 2.5e-4,
        anneal: bool = False,
        gamma: float = 0.99,
        lam: float = 0.95,
        clip: float = 0.2,
        entropy: float = 0.01,
        value_coef: float = 0.5,
        value_clip: float | None = None,
        max_grad_norm: float = 0.5,
        normalise: bool = True,
        estimator: Literal["gae", "vtrace"] = "gae",
        recurrent: bool = False,
        width: int = 64,
        hidden: int = 128,
        keys: tuple[str, ...] | None = None,
        separate: bool = False,
        threads: int = 1,
    ) -> None:
        if estimator not in ("gae", "vtrace"):
            raise ValueError(f"estimator must be 'gae' or 'vtrace', not {estimator!r}")
        if min(rollout, epochs, minibatches) < 1:
            raise ValueError("rollout, epochs and minibatches must be at least 1")
        self.rollout, self.epochs, self.minibatches, self.lr, self.anneal = rollout, epochs, minibatches, lr, anneal
        self.gamma, self.lam, self.clip, self.entropy, self.value_coef = gamma, lam, clip, entropy, value_coef
        self.value_clip, self.max_grad_norm, self.normalise, self.estimator = (
            value_clip,
            max_grad_norm,
            normalise,
            estimator,
        )
        self.recurrent, self.width, self.hidden = recurrent, width, hidden
        self.keys, self.separate, self.threads = None if keys is None else tuple(keys), separate, threads

    def build(self, task: VectorTask, reward: Reward, *, seed: int = 0, device: torch.device | str = "cpu") -> None:
        """Makes the networks, builds the reward and resets the games. Call once, before `iterate`."""
        self.task, self.reward, self.device, self.clock = task, reward, torch.device(device), Clock()
        self.streams = streams(reward)
        torch.set_num_threads(1)  # first weights too come out the same whatever the number of cores
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        spec = Spec(task.single_observation_space, task.single_action_space, task.captions, task.num_envs)
        reward.build(spec, device=self.device, generator=torch.Generator(device=self.device).manual_seed(seed + 1))
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            torch.manual_seed(seed)
            self.policy = ActorCritic(
                task.single_observation_space,
                task.single_action_space,
                streams=len(self.streams),
                width=self.width,
                hidden=self.hidden,
                recurrent=self.recurrent,
                keys=self.keys,
                separate=self.separate,
            ).to(self.device)
        if self.recurrent and self.minibatches > task.num_envs:
            raise ValueError(f"{self.minibatches} minibatches of whole games need as many games, not {task.num_envs}")
        self.optimiser = torch.optim.Adam(self.policy.parameters(), self.lr, eps=1e-5, fused=True)
        self.collector = Collector(task, self.policy, length=self.rollout, generator=self.generator, clock=self.clock)
        self.collector.start(seed)
        self.steps = 0

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps that one `collect` takes."""
        return self.rollout * self.task.num_envs

    def collect(self) -> Collected:
        """The next rollout of the current policy."""
        torch.set_num_threads(1)  # the other cores step games meanwhile
        collected = self.collector.collect()
        self.steps += self.steps_per_iteration
        return collected

    def score(self, rollout: Rollout) -> list[Scored]:
        """Each stream's reward of a rollout by the reward model as it is now. Unscored (NaN) places count as 0."""
        on_device = _moved(rollout, self.device)
        with torch.no_grad():
            scored = [stream.evaluate(on_device, policy=self.policy) for stream in self.streams]
        self.clock.lap("reward")
        return scored

    def learn(self, collected: Collected, scored: list[Scored], *, progress: float = 0.0) -> dict[str, float]:
        """Improves the policy on one scored rollout; `progress` in [0, 1] is how much of the run is over."""
        torch.set_num_threads(self.threads)
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * (1.0 - progress if self.anneal else 1.0)
        rollout = _moved(collected.rollout, self.device)
        sums: dict[str, Tensor] = {}
        updates = 0
        rewards = [s.value.nan_to_num(nan=0.0) for s in scored]
        if self.estimator == "gae":
            advantage, target = self._targets(rollout, rewards, collected.value.to(self.device), None)
        data = _Data.of(rollout, collected, self.device)
        self.clock.lap("advantages")
        for _ in range(self.epochs):
            if self.estimator == "vtrace":
                value, log_ratio = self._current(data, collected)
                advantage, target = self._targets(rollout, rewards, value, log_ratio)
                self.clock.lap("network")
            for batch in data.minibatches(self.minibatches, self.recurrent, self.generator):
                self.clock.lap("copy")
                logs = self._step(batch, advantage.flatten()[batch.index], target.flatten(0, 1)[batch.index], rollout)
                for name, x in logs.items():
                    sums[name] = sums.get(name, 0.0) + x
                updates += 1
                self.clock.lap("network")
        logs = {f"ppo/{name}": float(x) / updates for name, x in sums.items()}
        if not all(map(math.isfinite, logs.values())):
            raise FloatingPointError(f"training diverged: {logs}. Lower lr, or clip or normalise the reward")
        return logs

    def _targets(
        self, rollout: Rollout, rewards: list[Tensor], value: Tensor, log_ratio: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The advantage summed over streams [T, B] and each stream's value target [T, B, S]."""
        ends = (rollout.terminated, rollout.truncated, rollout.valid)
        found: list[Advantages] = []
        for s, (stream, reward) in enumerate(zip(self.streams, rewards, strict=True)):
            gamma = self.gamma if stream.gamma is None else stream.gamma
            if log_ratio is None:
                one = gae(reward, value[..., s], *ends, gamma=gamma, lam=self.lam, episodic=stream.episodic)
            else:
                one = vtrace(reward, value[..., s], *ends, log_ratio, gamma=gamma, episodic=stream.episodic)
            found.append(one)
        return torch.stack([a.advantage for a in found]).sum(0), torch.stack([a.target for a in found], -1)

    @torch.no_grad()
    def _current(self, data: _Data, collected: Collected) -> tuple[Tensor, Tensor]:
        """What the current policy says of the rollout: values [T+1, B, S] and log-ratios [T, B]."""
        batch = data.whole()
        out = self.policy(batch.obs, batch.state, batch.starts)
        t, b = data.shape
        log_ratio = (self.policy.log_prob(out.logits, batch.action) - batch.log_prob).view(t, b)
        last = collected.value[-1:].to(self.device)  # the one observation that no step started from
        return torch.cat([out.value.view(t, b, -1), last]), log_ratio

    def _step(self, batch: _Batch, advantage: Tensor, target: Tensor, rollout: Rollout) -> dict[str, Tensor]:
        """One optimiser step on one minibatch."""
        if self.normalise:
            advantage = normalise_advantage(advantage, batch.valid)
        out = self.policy(batch.obs, batch.state, batch.starts)
        log_ratio = self.policy.log_prob(out.logits, batch.action) - batch.log_prob
        mask = batch.valid
        policy = masked_mean(clipped_policy_loss(log_ratio, advantage, self.clip), mask)
        value = masked_mean(value_loss(out.value, target, batch.value, self.value_clip).sum(-1), mask)
        entropy = masked_mean(self.policy.entropy(out.logits), mask)
        loss = policy + self.value_coef * value - self.entropy * entropy
        if (extra := self.reward.loss(rollout, self.policy)) is not None:
            loss = loss + extra
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.optimiser.step()
        with torch.no_grad():
            clipped = masked_mean(((log_ratio.exp() - 1).abs() > self.clip).float(), mask)
            kl = masked_mean(log_ratio.exp() - 1 - log_ratio, mask)
            logs = {"policy_loss": policy, "value_loss": value, "entropy": entropy, "kl": kl, "clipped": clipped}
        return {k: v.detach() for k, v in (logs | {"gradient_norm": norm}).items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs, the reward's and the task's state included."""
        return {
            "policy": self.policy.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "reward": self.reward.state_dict(),
            "task": self.task.state_dict(),
            "generator": self.generator.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any], *, seed: int = 0) -> None:
        """Goes on from `state` with fresh games, seeded by `seed`."""
        self.task.load_state_dict(state["task"])  # captions first: the reward's labels point into them
        self.policy.load_state_dict(state["policy"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.reward.load_state_dict(state["reward"])
        self.generator.set_state(state["generator"].cpu())
        self.steps = state["steps"]
        self.collector.start(seed)

    def describe(self) -> str:
        """One line on the network."""
        kind = "recurrent" if self.recurrent else "feed-forward"
        return f"{kind} network of {parameter_count(self.policy):,} parameters, {len(self.streams)} value head(s)"


def _moved(rollout: Any, device: torch.device) -> Rollout:
    """The rollout on `device`; itself on the CPU, where it was collected."""
    return rollout if device.type == "cpu" else rollout.to(device)


class _Batch(NamedTuple):
    """One minibatch: n flat steps, time-major if they are sequences. `index` places them in the flat rollout."""

    index: Tensor
    obs: dict[str, Tensor]
    action: Tensor
    log_prob: Tensor
    value: Tensor
    valid: Tensor
    state: Tensor | None
    starts: Tensor | None


class _Data(NamedTuple):
    """A rollout flattened once, to draw minibatches from."""

    shape: tuple[int, int]
    obs: dict[str, Tensor]
    action: Tensor
    log_prob: Tensor
    value: Tensor
    valid: Tensor
    state: Tensor | None
    starts: Tensor

    @classmethod
    def of(cls, rollout: Rollout, collected: Collected, device: torch.device) -> _Data:
        assert rollout.log_prob is not None
        return cls(
            shape=rollout.shape,
            obs={k: v[:-1].flatten(0, 1) for k, v in rollout.obs.items()},
            action=rollout.action.flatten(0, 1),
            log_prob=rollout.log_prob.flatten(0, 1),
            value=collected.value[:-1].to(device).flatten(0, 1),
            valid=rollout.valid.flatten().float(),
            state=rollout.state,
            starts=collected.starts.to(device),
        )

    def _take(self, index: Tensor, state: Tensor | None, starts: Tensor | None) -> _Batch:
        flat = (self.action[index], self.log_prob[index], self.value[index], self.valid[index])
        return _Batch(index, {k: v[index] for k, v in self.obs.items()}, *flat, state, starts)

    def whole(self) -> _Batch:
        index = torch.arange(len(self.valid), device=self.valid.device)
        return self._take(index, self.state, None if self.state is None else self.starts)

    def minibatches(self, parts: int, recurrent: bool, generator: torch.Generator) -> Iterator[_Batch]:
        (t, b), device = self.shape, self.valid.device
        if not recurrent:  # single steps, and none wasted on invalid ones
            usable = self.valid.nonzero().flatten()
            order = usable[torch.randperm(len(usable), generator=generator, device=device)]
            for index in order.chunk(parts):
                yield self._take(index, None, None)
            return
        steps = torch.arange(t, device=device)[:, None] * b
        for columns in torch.randperm(b, generator=generator, device=device).chunk(parts):
            state = None if self.state is None else self.state[columns]
            yield self._take((steps + columns).flatten(), state, self.starts[:, columns])
