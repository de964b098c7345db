"""TorchRL: any reward as a transform of an environment, and a loss module that lets it learn from batches.

env = TransformedEnv(GymEnv("CartPole-v1"), PaidTransform("Normalise(RND())"))
env.rollout(100)["next", "intrinsic_reward"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from guerdon.adapters.live import LiveReward
from guerdon.types import Reward, Rollout

try:
    from torchrl.data import Binary, Categorical, MultiCategorical, MultiOneHot, OneHot, TensorSpec, Unbounded  # pyright: ignore[reportMissingImports]
    from torchrl.envs import EnvBase, Transform  # pyright: ignore[reportMissingImports]
    from torchrl.objectives import LossModule  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError("TorchRL is not installed here: pip install 'guerdon[torchrl]'") from error


class PaidTransform(Transform):
    """Writes what a reward pays into ``("next", "intrinsic_reward")``, float32 [*batch, 1]; see `LiveReward` for what.

    The environment's own "reward" stays beside it, unless `out_keys` names it. Unscored steps are paid 0. Resets, also
    of some environments of a batch, begin new episodes. The reward is made with the environment's specs when they are
    first needed, and learns every `rollout` steps. As a transform of a replay buffer it scores batches again:
    ``buffer.append_transform(transform.clone())``.

    Each process of a multi-process collector would have a reward of its own; use it there in the replay buffer.

    Args:
        reward: a reward or an expression.
        in_keys: of the observation ("observation"); several make a dictionary.
        out_keys: one key for what is paid.
        rollout: steps of the environment after which the reward observes and learns.
        learn: False only lets it observe; `RewardLoss` then trains it from batches.
        seed: of the reward.
        device: where the reward is.

    Attributes:
        logs: of the last rollout's end: means of raw, normalised and weighted values, and what the learning says.

    Raises:
        RuntimeError: there is no environment yet. ValueError, TypeError: as `LiveReward`.
    """

    def __init__(
        self,
        reward: Reward | str,
        *,
        in_keys: Sequence[Any] = ("observation",),
        out_keys: Sequence[Any] = ("intrinsic_reward",),
        rollout: int = 128,
        learn: bool = True,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(in_keys=list(in_keys), out_keys=list(out_keys))
        self._made_of = (reward, {"rollout": rollout, "seed": seed, "device": device})  # a tuple: no child of this
        self._shared: dict[str, Any] = {}  # with clones: "live", once made, or the "state" it is to have then
        self.learn, self.logs = learn, {}

    @property
    def live(self) -> LiveReward:
        """The `LiveReward`, made at first sight."""
        if "live" not in self._shared:
            env = self.parent
            if env is None:
                raise RuntimeError("this reward knows no environment yet: put it into a TransformedEnv, and reset that")
            batch = len(env.batch_size)
            reward, options = self._made_of
            seen = {_name(key): _space(env.observation_spec[key], batch) for key in self.in_keys}
            live = LiveReward(
                reward,
                observation_space=next(iter(seen.values())) if len(seen) == 1 else spaces.Dict(seen),
                action_space=_space(env.action_spec, batch),
                num_envs=max(1, env.batch_size.numel()),
                **options,
            )
            self._shared |= {"live": live, "keys": _keys(env)}
            if (state := self._shared.pop("state", None)) is not None:
                live.load_state_dict(state)
        return self._shared["live"]

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        live, mask = self.live, None if tensordict is None else tensordict.get("_reset", None)
        live.reset(self._seen(tensordict_reset, live.num_envs), None if mask is None else mask.reshape(live.num_envs))
        return tensordict_reset

    def _reset_on_native_autoreset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        return self._reset(tensordict, tensordict_reset)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        live, n = self.live, self.live.num_envs
        paid = live.step(self._did(tensordict, n), self._seen(next_tensordict, n), *self._led_to(next_tensordict, n))
        if live.full:
            self.logs = live.finish(learn=self.learn)
        return self._write(next_tensordict, paid.total)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Scores a batch of steps again, each by itself. Raises ValueError for rewards of episodes."""
        n, after = tensordict.batch_size.numel(), tensordict["next"]
        worth = self.live.again(
            self._seen(tensordict, n), self._did(tensordict, n), *self._led_to(after, n), self._seen(after, n)
        )
        self._write(after, worth)
        return tensordict

    def transform_reward_spec(self, reward_spec: Any) -> Any:
        reward_spec[self.out_keys[0]] = Unbounded(shape=(*reward_spec.shape, 1), device=reward_spec.device)
        return reward_spec

    def steps(self, tensordict: TensorDictBase) -> Rollout:
        """A batch of N steps as a rollout [1, N]."""
        n, after = tensordict.batch_size.numel(), tensordict["next"]
        return self.live.single_steps(
            self._seen(tensordict, n), self._did(tensordict, n), *self._led_to(after, n), self._seen(after, n)
        )

    def get_extra_state(self) -> dict[str, Any]:
        return {"live": self._shared["live"].state_dict() if "live" in self._shared else self._shared.get("state")}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if state["live"] is None:
            return
        if "live" in self._shared:
            self.live.load_state_dict(state["live"])
        else:
            self._shared["state"] = state["live"]

    def _seen(self, tensordict: TensorDictBase, n: int) -> Any:
        batch = tensordict.batch_dims
        seen = {_name(key): tensordict.get(key) for key in self.in_keys}
        if missing := [name for name, value in seen.items() if value is None]:
            raise ValueError(f"{self.live.reward.name}: the tensordict has no {', '.join(missing)}: pass in_keys=")
        rows = {name: value.reshape(n, *value.shape[batch:]) for name, value in seen.items()}
        return next(iter(rows.values())) if len(rows) == 1 else rows

    def _did(self, tensordict: TensorDictBase, n: int) -> Tensor:
        action, spec = tensordict.get(self._shared["keys"]["action"]), self._shared["keys"]["action_spec"]
        if isinstance(spec, OneHot):
            action = spec.to_categorical(action)
        space = self.live.arrays.action_space
        return action.reshape(n, *space.shape)  # type: ignore[misc]

    def _led_to(self, after: TensorDictBase, n: int) -> tuple[Any, Any, Any]:
        keys = self._shared["keys"]
        reward, done = after.get(keys["reward"]), after.get("done")
        ended = after.get("terminated", done)
        cut = after.get("truncated", done & ~ended)
        return tuple(x.detach().reshape(n).cpu().numpy() for x in (reward, ended, cut))  # type: ignore[return-value]

    def _write(self, after: TensorDictBase, paid: np.ndarray) -> TensorDictBase:
        value = torch.from_numpy(paid).reshape(*after.batch_size, 1)
        return after.set(self.out_keys[0], value if after.device is None else value.to(after.device))


class RewardLoss(LossModule):
    """Lets the reward of a `PaidTransform` learn from batches of steps, beside the loss of a policy.

    ``forward(batch)`` calls the reward's `update`, which has optimisers of its own, and returns what that says and
    "loss_reward": what the reward adds to the learner's own objective, 0 for most.

    Args:
        transform: of the environment; made with ``learn=False``, so that the reward does not learn twice.
        policy: for rewards whose loss looks at it.

    Raises:
        ValueError: the transform lets the reward learn already, or it is a reward of episodes, which single steps
            cannot teach.
    """

    out_keys = ["loss_reward"]

    def __init__(self, transform: PaidTransform, *, policy: Any = None) -> None:
        super().__init__()
        if transform.learn:
            raise ValueError(
                "this PaidTransform lets its reward learn at the end of rollouts: make it with learn=False"
            )
        self.transforms, self.policies = (transform,), (policy,)  # tuples: their state is not this module's

    def forward(self, tensordict: TensorDictBase) -> TensorDict:
        transform = self.transforms[0]
        rollout, reward = transform.steps(tensordict), transform.live.reward
        logs = {name: torch.tensor(value) for name, value in reward.update(rollout).items()}
        loss = reward.loss(rollout, self.policies[0])
        return TensorDict({"loss_reward": torch.zeros((), requires_grad=True) if loss is None else loss, **logs}, [])

    def _forward_value_estimator_keys(self, **kwargs: Any) -> None:
        pass


def _keys(env: EnvBase) -> dict[str, Any]:
    return {"action": env.action_key, "action_spec": env.action_spec, "reward": env.reward_key}


def _name(key: Any) -> str:
    return key if isinstance(key, str) else ".".join(key)


def _space(spec: TensorSpec, batch: int) -> spaces.Space:
    """The space of one environment of a batch whose spec this is."""
    shape, dtype = tuple(spec.shape[batch:]), torch.empty(0, dtype=spec.dtype).numpy().dtype
    if isinstance(spec, MultiOneHot):
        return spaces.MultiDiscrete(list(spec.nvec))
    if isinstance(spec, OneHot):
        return spaces.Discrete(spec.space.n)
    if isinstance(spec, MultiCategorical):
        return spaces.MultiDiscrete(np.asarray(spec.nvec).reshape(-1, shape[-1])[0])
    if isinstance(spec, Categorical) and not isinstance(spec, Binary) and shape == ():
        return spaces.Discrete(spec.space.n)
    if spec.dtype.is_floating_point or spec.dtype == torch.uint8:
        low, high = (0, 255) if spec.dtype == torch.uint8 else (-np.inf, np.inf)
        if (box := getattr(spec, "space", None)) is not None and hasattr(box, "low"):
            rows = (x.reshape(-1, *shape)[0].cpu().numpy() for x in (box.low, box.high))
            return spaces.Box(*rows, dtype=dtype)  # type: ignore[arg-type]
        return spaces.Box(low, high, shape, dtype)  # type: ignore[arg-type]
    raise TypeError(f"rewards cannot read {spec}: leave it out of in_keys, or transform it to numbers before")
