"""Gymnasium: any reward as a wrapper of an environment, or of a vector of them.

env = PaidBy(gym.make("CartPole-v1"), "Extrinsic() + 0.1 * Normalise(RND())")
envs = VectorPaidBy(gym.make_vec("CartPole-v1", num_envs=8), "Extrinsic() + 0.1 * Normalise(RND())")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from guerdon.adapters.live import LiveReward, Paid
from guerdon.types import Reward


class PaidBy(gym.Wrapper, RecordConstructorArgs):
    """An environment whose reward is another one; see `LiveReward` for what it is paid, and when the reward learns.

    Infos of steps hold ``reward/extrinsic``, ``reward/<term>`` for each term of the sum as it is weighted (NaN where it
    was not scored) and ``reward/total``, what is paid. Rewards that read captions find them in ``info["caption"]``.
    The wrapper's spec keeps the reward as an expression, new and untaught.

    Args:
        env: what to wrap.
        reward: a reward or an expression.
        rollout: steps after which the reward observes and learns.
        seed: of the reward.
        device: where the reward is.

    Attributes:
        live: the `LiveReward`; its `state_dict` holds what was learned.
        logs: of the last rollout's end.

    Raises:
        ValueError: the environment is wrapped so already, or as `LiveReward`.
    """

    def __init__(
        self,
        env: gym.Env,
        reward: Reward | str,
        *,
        rollout: int = 128,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        expression = reward if isinstance(reward, str) else repr(reward)
        RecordConstructorArgs.__init__(self, reward=expression, rollout=rollout, seed=seed, device=str(device))
        gym.Wrapper.__init__(self, env)
        refuse_twice(env)
        self.live = LiveReward(
            reward,
            observation_space=env.observation_space,
            action_space=env.action_space,
            rollout=rollout,
            seed=seed,
            device=device,
        )
        self.logs: dict[str, float] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self.live.reset(_alone(obs), captions=[info["caption"]] if "caption" in info else None)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        refuse_paid(info)
        told = (np.asarray(action)[None], _alone(obs), [reward], [terminated], [truncated])
        paid = self.live.step(*told, captions=[info.get("caption")])
        if self.live.full:
            self.logs = self.live.finish()
        info = info | {name: float(value[0]) for name, value in paid.info().items()}
        return obs, float(paid.total[0]), terminated, truncated, info


class VectorPaidBy(VectorWrapper, RecordConstructorArgs):
    """`PaidBy` for a vector of environments under any autoreset mode; the entries of infos are float32 [num_envs].

    NEXT_STEP: the step that only resets is paid 0 and teaches nothing. SAME_STEP: an ending step is paid for what
    ``infos["final_obs"]`` shows. DISABLED: resets come by ``reset(options={"reset_mask": mask})``.

    Args:
        env: what to wrap.
        reward: a reward or an expression.
        rollout: steps of all environments after which the reward observes and learns.
        seed: of the reward.
        device: where the reward is.

    Raises:
        ValueError: the environments do not say how they reset, or are wrapped so already; or as `LiveReward`.
    """

    def __init__(
        self,
        env: VectorEnv,
        reward: Reward | str,
        *,
        rollout: int = 128,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        expression = reward if isinstance(reward, str) else repr(reward)
        RecordConstructorArgs.__init__(self, reward=expression, rollout=rollout, seed=seed, device=str(device))
        VectorWrapper.__init__(self, env)
        refuse_twice(env)
        # a vector's own word first: vectors of one class of environments share its metadata
        mode = getattr(env.unwrapped, "autoreset_mode", None) or env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(
                f'{env} does not say how it resets: set its metadata["autoreset_mode"] to an AutoresetMode'
            )
        self.mode = mode
        self.live = LiveReward(
            reward,
            observation_space=env.single_observation_space,
            action_space=env.single_action_space,
            num_envs=env.num_envs,
            rollout=rollout,
            captions=getattr(getattr(env.unwrapped, "task", None), "captions", None),
            seed=seed,
            device=device,
        )
        self.logs: dict[str, float] = {}
        self._over = np.zeros(env.num_envs, dtype=bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        mask = None if options is None else options.get("reset_mask")
        obs, infos = self.env.reset(seed=seed, options=options)
        self.live.reset(obs, mask, captions=infos.get("caption"))
        self._over = np.zeros(self.num_envs, dtype=bool) if mask is None else self._over & ~mask
        return obs, infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        refuse_paid(infos)
        paid = self._pay(actions, obs, rewards, terminated, truncated, infos)
        self._over = np.logical_or(terminated, truncated)
        if self.live.full:
            self.logs = self.live.finish()
        return obs, paid.total.astype(np.float64), terminated, truncated, infos | paid.info()

    def _pay(self, actions: Any, obs: Any, rewards: Any, terminated: Any, truncated: Any, infos: Any) -> Paid:
        said, over = infos.get("caption", [None] * self.num_envs), np.logical_or(terminated, truncated)
        if self.mode is AutoresetMode.NEXT_STEP:
            return self.live.step(actions, obs, rewards, terminated, truncated, valid=~self._over, captions=said)
        if self.mode is AutoresetMode.DISABLED or not over.any():
            return self.live.step(actions, obs, rewards, terminated, truncated, captions=said)
        if "final_obs" not in infos:
            raise ValueError('an episode ended, and infos["final_obs"] is missing: it is what SAME_STEP promises')
        last = infos.get("final_info", {}).get("caption", [None] * self.num_envs)
        heard = [(last if end else said)[i] for i, end in enumerate(over)]
        paid = self.live.step(
            actions, reached(obs, infos["final_obs"], over), rewards, terminated, truncated, captions=heard
        )
        self.live.reset(obs, over, captions=said)
        return paid


def reached(obs: Any, last: Any, over: np.ndarray) -> Any:
    """`obs` [B, ...], with the rows where `over` from `last`, B observations or a Dict of arrays [B, ...]."""
    if isinstance(obs, Mapping):
        rows = last if isinstance(last, Mapping) else {k: [None if o is None else o[k] for o in last] for k in obs}
        return {key: reached(value, rows[key], over) for key, value in obs.items()}
    made = np.array(obs)
    for i in np.flatnonzero(over):
        made[i] = last[i]
    return made


def refuse_twice(env: Any) -> None:
    """Raises ValueError if a wrapper of `env` pays a reward already."""
    while env is not None:
        if isinstance(env, (PaidBy, VectorPaidBy)):
            raise ValueError(f"{env} pays {env.live.reward!r} already: wrap once, with the sum of both rewards")
        env = getattr(env, "env", None)


def refuse_paid(info: Mapping[str, Any]) -> None:
    """Raises ValueError if an info comes out of such a wrapper."""
    if "reward/total" in info:
        raise ValueError("these environments are paid by a reward of guerdon already: wrap once, with the sum of both")


def _alone(obs: Any) -> Any:
    """One observation as a batch of one."""
    if isinstance(obs, Mapping):
        return {key: _alone(value) for key, value in obs.items()}
    return np.asarray(obs)[None]
