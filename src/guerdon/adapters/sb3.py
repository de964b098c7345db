"""Stable-Baselines3: any reward as a wrapper of a vector environment, a callback that lets it learn, replay buffers.

env = VecPaidBy(make_vec_env("CartPole-v1", n_envs=8), "Extrinsic() + 0.1 * Normalise(RND())")
PPO("MlpPolicy", env).learn(100_000, callback=RewardCallback())
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces

from guerdon.adapters.gymnasium import PaidBy, reached, refuse_paid
from guerdon.adapters.live import LiveReward
from guerdon.types import Reward, Rollout

try:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
    from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, unwrap_vec_wrapper
except ImportError as error:
    raise ImportError("Stable-Baselines3 is not installed: pip install 'guerdon[sb3]'") from error


class VecPaidBy(VecEnvWrapper):
    """A vector environment whose reward is another one; see `LiveReward` for what it is paid.

    Infos hold ``reward/extrinsic``, ``reward/<term>`` for each term of the sum as it is weighted (NaN where it was not
    scored) and ``reward/total``, what is paid. A `Monitor` further in goes on telling the task's own returns. Pass
    `RewardCallback` to `learn`: it ends rollouts, so that the reward learns.

    Args:
        venv: what to wrap. Wrappers that change observations belong inside, so that they are scored as they are stored:
            VecPaidBy(VecTransposeImage(venv), ...).
        reward: a reward or an expression.
        when: "step" pays at once. "rollout" pays 0 at first, and the callback then scores the whole rollout, which is
            faster, above all for rewards of episodes; infos do not have the terms then. For PPO and A2C.
        rollout: steps after which the reward observes and learns under SAC, DQN and the like; PPO has its own.
        seed: of the reward.
        device: where the reward is.

    Raises:
        ValueError: an environment that is wrapped so already, or as `LiveReward`.
    """

    def __init__(
        self,
        venv: VecEnv,
        reward: Reward | str,
        *,
        when: Literal["step", "rollout"] = "step",
        rollout: int = 128,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(venv)
        if when not in ("step", "rollout"):
            raise ValueError(f"VecPaidBy's when is 'step' or 'rollout', got {when!r}")
        if unwrap_vec_wrapper(venv, VecPaidBy) is not None or any(venv.env_is_wrapped(PaidBy)):
            raise ValueError(
                "these environments are paid by a reward of guerdon already: wrap once, with both in a sum"
            )
        self.when, self.has_callback = when, False
        self.live = LiveReward(
            reward,
            observation_space=venv.observation_space,
            action_space=venv.action_space,
            num_envs=venv.num_envs,
            rollout=rollout,
            seed=seed,
            device=device,
        )

    def reset(self) -> Any:
        obs = self.venv.reset()
        self.live.reset(obs, captions=self._said(self.venv.reset_infos, needed=True))
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        if self.live.full and not self.has_callback:
            raise RuntimeError("nobody ends this reward's rollouts: pass callback=RewardCallback() to learn()")
        obs, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            refuse_paid(info)
        cut = dones & np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos])
        after = reached(obs, [info.get("terminal_observation") for info in infos], dones) if dones.any() else obs
        told = (self._actions, after, rewards, dones & ~cut, cut)
        if self.when == "step":
            paid = self.live.step(*told, captions=self._said(infos))
            total, shown = paid.total, paid.info()
        else:
            self.live.add(*told, captions=self._said(infos))
            total, shown = np.zeros_like(rewards), {"reward/extrinsic": rewards}
        if dones.any():
            self.live.reset(obs, dones, captions=self._said(self.venv.reset_infos))
        told_infos = [info | {name: float(value[i]) for name, value in shown.items()} for i, info in enumerate(infos)]
        return obs, total, dones, told_infos

    def _said(self, infos: list[dict[str, Any]], needed: bool = False) -> list[Any] | None:
        return None if needed and "caption" not in infos[0] else [info.get("caption") for info in infos]


class RewardCallback(BaseCallback):
    """Lets the reward of a `VecPaidBy` observe and learn, logs it, and has its state saved with the model.

    Under PPO and A2C the reward learns at the end of each of their rollouts; under SAC, DQN and the like when the
    `VecPaidBy` has seen `rollout` steps. The log gets ``reward/...``: the means of every stage (raw, normalised), of
    the weighted terms, of the sum and of the task's reward, and what the reward's learning says.

    ``model.save`` keeps the reward's state in the model's file. A model that is loaded with a `VecPaidBy` of the same
    reward gets it back when `learn` begins, or by `restore`.

    Raises:
        ValueError: a model without a `VecPaidBy`, or one whose replay buffer stores other observations than it scores.
    """

    def _on_training_start(self) -> None:
        self.env = restore(self.model)
        self.env.has_callback = True
        if not isinstance(self.model, OffPolicyAlgorithm):
            return
        if self.env.when == "rollout":
            raise ValueError(
                "VecPaidBy(when='rollout') is for PPO and A2C: off-policy learners learn between the steps"
            )
        if isinstance(buffer := self.model.replay_buffer, _Rescored):
            if buffer.observation_space != self.env.observation_space:
                raise ValueError(
                    f"the replay buffer stores {buffer.observation_space}, the reward was built for "
                    f"{self.env.observation_space}: put VecPaidBy around the wrapper that changes observations"
                )
            buffer.live = self.env.live

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        live = self.env.live
        if isinstance(self.model, OffPolicyAlgorithm) and not live.full:
            return
        scored = None
        if self.env.when == "rollout":
            rollout: Rollout = live.window()
            scored = live.evaluate(rollout)
            buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
            paid = scored.value[rollout.valid[:, 0]].nan_to_num(nan=0.0).cpu().numpy()
            buffer.rewards += paid[-len(buffer.rewards) :]  # before them, steps of a rollout that was broken off
            buffer.compute_returns_and_advantage(last_values=self.locals["values"], dones=self.locals["dones"])
        for name, value in live.finish(scored).items():
            self.logger.record(f"reward/{name}", value)


class SavedReward:
    """A reward's state in a model's file."""

    def __init__(self, live: LiveReward) -> None:
        self.live: LiveReward | None = live

    def __getstate__(self) -> dict[str, Any]:
        if self.live is None:
            return {"state": self.state}
        file = io.BytesIO()
        torch.save(self.live.state_dict(), file)
        return {"state": file.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.live, self.state = None, state["state"]


def restore(model: BaseAlgorithm) -> VecPaidBy:
    """Gives the reward of the model's environment the state in the model's file, once; returns the environment."""
    env = None if model.get_env() is None else unwrap_vec_wrapper(model.get_env(), VecPaidBy)  # type: ignore[arg-type]
    if env is None:
        raise ValueError(f"the environment of {type(model).__name__} has no reward of guerdon: wrap it in VecPaidBy")
    saved = getattr(model, "guerdon", None)
    if isinstance(saved, SavedReward) and saved.live is None:
        env.live.load_state_dict(torch.load(io.BytesIO(saved.state), map_location=env.live.device, weights_only=True))
    model.guerdon = SavedReward(env.live)  # type: ignore[attr-defined]
    return env


class _Worth:
    """The rewards of a replay buffer, worth what the reward says when they are looked up.

    Steps of rewards that pay by their place in an episode (or by captions) are worth what they were when collected.
    """

    def __init__(self, buffer: Any) -> None:
        self.buffer, self.collected = buffer, buffer.rewards

    def __setitem__(self, at: Any, paid: Any) -> None:
        self.collected[at] = paid

    def __getitem__(self, at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        buffer, live = self.buffer, self.buffer.live
        if live is None:
            raise RuntimeError("the replay buffer does not know its reward: pass callback=RewardCallback() to learn()")
        if not live.replayable:
            return self.collected[at]
        space, action = buffer.observation_space, buffer.actions[at]
        if isinstance(buffer.action_space, spaces.Box):  # off-policy learners store actions scaled to [-1, 1]
            low, high = buffer.action_space.low, buffer.action_space.high
            action = low + 0.5 * (action.reshape(-1, *low.shape) + 1.0) * (high - low)
        ended, cut = buffer.dones[at] > 0, buffer.timeouts[at] > 0
        before, after = (_rows(x, at, space) for x in (buffer.observations, buffer.next_observations))
        return live.again(
            before, action.reshape(-1, *buffer.action_space.shape), buffer.extrinsic[at], ended & ~cut, cut, after
        )


class _Rescored:
    """What makes a replay buffer one whose steps are paid by the reward as it is when they are sampled."""

    live: LiveReward | None = None

    def __init__(self, *args: Any, optimize_memory_usage: bool = False, **kwargs: Any) -> None:
        if optimize_memory_usage:
            raise ValueError("steps that are scored again need their next observations: optimize_memory_usage=False")
        super().__init__(*args, **kwargs)
        self.extrinsic = np.zeros_like(self.rewards)
        self.rewards = _Worth(self)

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: list[dict[str, Any]]) -> None:
        """Stores a step, with the task's own reward."""
        self.extrinsic[self.pos] = [info["reward/extrinsic"] for info in infos]  # type: ignore[attr-defined]
        super().add(obs, next_obs, action, reward, done, infos)  # type: ignore[misc]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"live": None}  # the callback sets it again


class RewardReplayBuffer(_Rescored, ReplayBuffer):
    """SB3's `ReplayBuffer`, which pays steps by the reward as it is when they are sampled, not when collected.

    For ``SAC(..., replay_buffer_class=RewardReplayBuffer)``, an environment in `VecPaidBy`, and `RewardCallback`.
    Rewards that pay a step by its place in an episode keep what was paid when it was collected.
    """


class RewardDictReplayBuffer(_Rescored, DictReplayBuffer):
    """`RewardReplayBuffer` for observations that are dictionaries."""


def _rows(stored: Any, at: Any, space: spaces.Space) -> Any:
    if isinstance(stored, dict):
        return {key: _rows(value, at, space[key]) for key, value in stored.items()}  # type: ignore[index]
    return stored[at].reshape(-1, *space.shape)  # type: ignore[misc]
