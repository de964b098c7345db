"""Between games and Gymnasium: any environment as a `Game`, any `Game` as an environment, `Workers` as a VectorEnv."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from guerdon.tasks.worker import Game


class GymnasiumGame:
    """Any Gymnasium environment as a `Game`, so that `Workers` can step it.

    A plain observation becomes the key "obs"; a Dict keeps its keys, less those without a fixed shape (texts). The
    caption is the observation's "message" (uint8, zero-padded), else ``info["caption"]``, else nothing.
    ``info["success"]`` or ``info["is_success"]`` of the last step, and every number in its info, are told as stats.

    Args:
        make: makes the environment.
        reseed: called with the environment and the seed before each reset, for environments that do not heed
            ``reset(seed=)`` alone.
        caption: called with the environment for the caption, where it is neither in observation nor info.
    """

    def __init__(
        self,
        make: Callable[[], gym.Env],
        *,
        reseed: Callable[[gym.Env, int], None] | None = None,
        caption: Callable[[gym.Env], bytes] | None = None,
    ) -> None:
        self.env, self._reseed, self._read = make(), reseed, caption
        space = self.env.observation_space
        self._plain = not isinstance(space, spaces.Dict)
        entries = {"obs": space} if self._plain else dict(space.spaces)  # type: ignore[attr-defined]
        kept = {key: s for key, s in entries.items() if s.shape is not None and not isinstance(s, spaces.Text)}
        if not kept:
            raise TypeError(f"{self.env} shows nothing of a fixed shape: {space}")
        self.observation_space, self.action_space = spaces.Dict(kept), self.env.action_space
        self._from_obs = "message" in kept and kept["message"].dtype == np.uint8
        self._scalar = not self.action_space.shape
        self._caption: Any = None
        self._info: dict[str, Any] = {}

    def bind(self, views: dict[str, np.ndarray]) -> None:
        self._views = views

    def reset(self, seed: int) -> None:
        if self._reseed is not None:
            self._reseed(self.env, seed)
        self._show(*self.env.reset(seed=seed))

    def step(self, action: Any) -> tuple[float, bool, bool]:
        obs, reward, terminated, truncated, info = self.env.step(action if self._scalar else np.array(action))
        self._show(obs, info)
        return float(reward), bool(terminated), bool(truncated)

    def message(self) -> bytes | None:
        if self._read is not None:
            return self._read(self.env)
        if self._caption is None or isinstance(self._caption, bytes):
            return self._caption
        if isinstance(self._caption, str):
            return self._caption.encode("latin-1", errors="replace")
        return bytes(self._caption).partition(b"\0")[0]

    def stats(self) -> dict[str, float]:
        info = dict(self._info)
        if "is_success" in info:
            info.setdefault("success", info.pop("is_success"))
        return {k: float(v) for k, v in info.items() if isinstance(v, bool | int | float | np.number | np.bool_)}

    def close(self) -> None:
        self.env.close()

    def _show(self, obs: Any, info: dict[str, Any]) -> None:
        shown = {"obs": obs} if self._plain else obs
        for key, view in self._views.items():
            view[...] = shown[key]
        self._info = info
        self._caption = self._views["message"] if self._from_obs else info.get("caption")


class GameEnv(gym.Env[dict[str, np.ndarray], Any]):
    """A `Game` as a Gymnasium environment. ``info["caption"]`` is the message; the last info holds the game's stats."""

    metadata = {"render_modes": ["ansi"], "render_fps": 8}

    def __init__(self, make: Callable[[], Game], render_mode: str | None = None) -> None:
        self.game, self.render_mode = make(), render_mode
        self.observation_space, self.action_space = self.game.observation_space, self.game.action_space
        entries = self.observation_space.spaces.items()
        self._views = {key: np.zeros(s.shape or (), s.dtype) for key, s in entries}  # type: ignore[arg-type]
        self.game.bind(self._views)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begins the episode of `seed` (its lowest 32 bits), or a random one."""
        super().reset(seed=seed)
        self.game.reset(int(self.np_random.integers(2**32)) if seed is None else seed % 2**32)
        return self._copy(), self._told()

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict]:
        """Acts once."""
        reward, terminated, truncated = self.game.step(action)
        info = self._told() | (self.game.stats() if terminated or truncated else {})
        return self._copy(), float(reward), terminated, truncated, info

    def render(self) -> str | None:
        """The screen as text, where the observation keys hold the terminal or the map's characters."""
        screen = self._views.get("tty_chars", self._views.get("chars", self._views.get("chars_crop")))
        if self.render_mode != "ansi" or screen is None:
            return None
        return "\n".join(bytes(row).decode("latin-1") for row in screen)

    def close(self) -> None:
        """Ends the game."""
        self.game.close()

    def _copy(self) -> dict[str, np.ndarray]:
        return {key: view.copy() for key, view in self._views.items()}

    def _told(self) -> dict[str, Any]:
        message = self.game.message()
        return {} if message is None else {"caption": message.decode("latin-1")}


class TaskVectorEnv(VectorEnv[dict[str, np.ndarray], np.ndarray, np.ndarray]):
    """A `VectorTask` as a Gymnasium VectorEnv (autoreset NEXT_STEP), for users of other libraries.

    Infos: "caption" (int32 ids of ``task.captions``), "caption_count", "valid", and "finished", the episodes that
    ended. Observations are views that live until the next step, unless `copy`.
    """

    def __init__(self, task: Any, *, seed: int = 0, copy: bool = True) -> None:
        self.task, self._first_seed, self._keep = task, seed, copy
        self.num_envs = task.num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space, self.single_action_space = (
            task.single_observation_space,
            task.single_action_space,
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:  # type: ignore[override]
        """Begins an episode in every game; without `seed` other ones than before."""
        self._first_seed = self._first_seed + 1 if seed is None else seed
        self.task.reset(seed=self._first_seed)
        obs, _, _, _, info = self._gather()
        return obs, info

    def step(self, actions: Any) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Acts in all games."""
        for group, part in enumerate(np.split(np.asarray(actions), self.task.groups)):
            self.task.send(group, part)
        return self._gather()

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the games."""
        self.task.close()

    def _gather(self) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        steps = [self.task.recv(group) for group in range(self.task.groups)]

        def joined(parts: list[np.ndarray]) -> np.ndarray:
            return np.concatenate(parts) if self._keep or len(parts) > 1 else parts[0]

        info: dict[str, Any] = {"valid": joined([s.valid for s in steps])}
        info["finished"] = [episode for s in steps for episode in s.finished]
        if steps[0].caption is not None:
            info["caption"] = joined([s.caption for s in steps])
            info["caption_count"] = joined([s.caption_count for s in steps])
        obs = {key: joined([s.obs[key] for s in steps]) for key in steps[0].obs}
        reward, terminated, truncated = (joined([s[i] for s in steps]) for i in (1, 2, 3))
        return obs, reward, terminated, truncated, info
