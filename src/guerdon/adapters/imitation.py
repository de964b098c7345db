"""imitation: any reward as its `RewardFn`, for `RewardVecEnvWrapper` and whatever else takes one.

venv = RewardVecEnvWrapper(venv, RewardFunction("Normalise(RND())", venv=venv))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from guerdon.adapters.live import LiveReward
from guerdon.rewards.shaping import Extrinsic
from guerdon.types import Reward


class RewardFunction:
    """``function(state, action, next_state, done) -> [B]``, NumPy float32; see `LiveReward` for what it pays.

    Called for every step of a vector environment in turn, as `RewardVecEnvWrapper` does, it remembers episodes, and
    learns every `rollout` steps. `next_state` is the last observation of an episode where `done`, and the next call's
    `state` begins another. Batches of any size out of that order are scored by `batch`.

    imitation does not tell how an episode ended, which counts as a termination, nor what the task paid: a reward with
    ``Extrinsic()`` is refused. Unscored steps are paid 0.

    Args:
        reward: a reward or an expression.
        venv: Stable-Baselines3's vector environment whose steps are to be scored; its spaces and size are used.
        rollout: steps of all environments after which the reward observes and learns.
        seed: of the reward.
        device: where the reward is.

    Attributes:
        live: the `LiveReward`; its `state_dict` holds what was learned.
        logs: of the last rollout's end.

    Raises:
        ValueError: the reward asks for the task's own, or a state that does not follow on the last; or as `LiveReward`.
    """

    def __init__(
        self,
        reward: Reward | str,
        *,
        venv: Any,
        rollout: int = 128,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.live = LiveReward(
            reward,
            observation_space=venv.observation_space,
            action_space=venv.action_space,
            num_envs=venv.num_envs,
            rollout=rollout,
            seed=seed,
            device=device,
        )
        if any(isinstance(part, Extrinsic) for part in self.live.reward.modules()):
            raise ValueError("imitation does not tell what the task paid: leave Extrinsic() out, and add it elsewhere")
        self.logs: dict[str, float] = {}
        self._over: np.ndarray | None = None  # none before the first call

    def __call__(self, state: Any, action: Any, next_state: Any, done: Any) -> np.ndarray:
        done = np.asarray(done, dtype=bool)
        if self._over is None or self._over.any():
            self.live.reset(state, self._over)
        unknown = np.full(self.live.num_envs, np.nan, np.float32)
        paid = self.live.step(action, next_state, unknown, done, np.zeros_like(done))
        self._over = done
        if self.live.full:
            self.logs = self.live.finish()
        return paid.total

    def batch(self, state: Any, action: Any, next_state: Any, done: Any) -> np.ndarray:
        """float32 [N]: what any N steps are worth by now. Raises ValueError for rewards of episodes."""
        n = len(np.asarray(done))
        return self.live.again(state, action, np.full(n, np.nan), done, np.zeros(n), next_state)
