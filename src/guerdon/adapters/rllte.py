"""RLLTE: any reward in the shape of its reward modules, with ``watch``, ``compute`` and ``update``.

agent.set(reward=RewardModule(env, "Normalise(RND())"))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from guerdon.adapters.live import LiveReward
from guerdon.types import Reward, Rollout

try:
    from rllte.common.prototype import BaseReward  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError("RLLTE is not installed here: pip install rllte-core, in an environment of its own") from error

KEYS = ("observations", "actions", "rewards", "terminateds", "truncateds", "next_observations")


class RewardModule(BaseReward):
    """A reward as RLLTE's agents use one: ``compute(samples) -> [T, B]`` is added to what the task paid.

    Samples are whole rollouts, [T, B, ...] under the keys `KEYS`; ends may be [T + 1, B], as RLLTE's storage has them,
    those of the step before first. `compute` scores them, and with `sync` lets the reward observe and learn from them
    then, as `update` does. Unscored steps are paid 0.

    RLLTE's environments reset within the step and do not hand on the last observation of an episode: its last step
    cannot be scored, and is paid 0. Under Gymnasium 1's NEXT_STEP it is scored, and the step after it is not.

    Args:
        envs: RLLTE's or Gymnasium's vector of environments: its spaces and size are used.
        reward: a reward or an expression.
        autoreset: how `envs` reset.
        seed: of the reward.
        device: where the reward is, and where `compute` leaves what it returns.

    Attributes:
        live: the `LiveReward`; its `state_dict` holds what was learned.
        metrics: lists of (call, value) by name, as RLLTE keeps them.

    Raises:
        ValueError: samples that lack a key or do not have the shapes of the spaces; or as `LiveReward`.
    """

    def __init__(
        self,
        envs: Any,
        reward: Reward | str,
        *,
        autoreset: Literal["same_step", "next_step"] = "same_step",
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if autoreset not in ("same_step", "next_step"):
            raise ValueError(f"autoreset is 'same_step' or 'next_step', got {autoreset!r}")
        self.autoreset = autoreset
        self.live = LiveReward(
            reward,
            observation_space=getattr(envs, "single_observation_space", envs.observation_space),
            action_space=getattr(envs, "single_action_space", envs.action_space),
            num_envs=envs.unwrapped.num_envs,
            seed=seed,
            device=device,
        )
        self.metrics: dict[str, list[tuple[int, float]]] = {"loss": [], "intrinsic_rewards": []}
        self.calls = 0
        self._over = torch.zeros(self.live.num_envs, dtype=torch.bool)

    def watch(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Nothing is to be noted step by step: samples hold it all."""
        return {}

    def compute(self, samples: Mapping[str, Tensor], sync: bool = True) -> Tensor:
        """float32 [T, B]: what the reward, as it is now, pays; then it learns, if `sync`."""
        rollout = self._rollout(samples)
        value = self.live.evaluate(rollout).value.nan_to_num(nan=0.0)
        self.calls += 1
        self.metrics["intrinsic_rewards"].append((self.calls, float(value.mean())))
        if sync:
            self._learn(rollout)
        return value

    def update(self, samples: Mapping[str, Tensor]) -> None:
        """Lets the reward observe and learn; once for each rollout that ``compute(samples, sync=False)`` scored."""
        self._learn(self._rollout(samples))

    def _learn(self, rollout: Rollout) -> None:
        self.live.reward.observe(rollout)
        with torch.enable_grad():
            logs = self.live.reward.update(rollout)
        for name, value in logs.items():
            self.metrics.setdefault(name, []).append((self.calls, value))
        self._over = (rollout.terminated | rollout.truncated)[-1].cpu()

    def _rollout(self, samples: Mapping[str, Tensor]) -> Rollout:
        if missing := [key for key in KEYS if key not in samples]:
            raise ValueError(f"{self.live.reward.name} needs samples with {', '.join(KEYS)}: {missing} are missing")
        arrays, steps = self.live.arrays, len(samples["rewards"])
        seen = [*samples["observations"], samples["next_observations"][-1]] if arrays.plain else [
            *({k: v[t] for k, v in samples["observations"].items()} for t in range(steps)),  # type: ignore[attr-defined]
            {k: v[-1] for k, v in samples["next_observations"].items()},  # type: ignore[attr-defined]
        ]  # fmt: skip
        n = self.live.num_envs
        obs = [arrays.obs(shown, n) for shown in seen]
        ended, cut = (samples[key][-steps:].bool().cpu().reshape(steps, n) for key in ("terminateds", "truncateds"))
        over = ended | cut
        rollout = Rollout(
            obs=TensorDict({key: torch.stack([o[key] for o in obs]) for key in obs[0]}, [steps + 1, n]),
            action=torch.stack([arrays.action(action, n) for action in samples["actions"]]),
            extrinsic=samples["rewards"].float().cpu().reshape(steps, n),
            terminated=ended,
            truncated=cut,
            valid=~over if self.autoreset == "same_step" else ~torch.cat([self._over[None], over[:-1]]),
        )
        return rollout.to(self.live.device)  # type: ignore[return-value]
