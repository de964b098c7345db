"""A reward paid while experience comes in, step by step: what the adapters of control libraries stand on."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.adapters.arrays import Arrays, array, stack, where
from guerdon.adapters.captions import CaptionCounts
from guerdon.expression import parse_reward
from guerdon.parts.caption_table import CaptionTable
from guerdon.types import Captions, Reward, Rollout, Scored, Spec, as_reward, streams

_IN_USE: weakref.WeakSet[Reward] = weakref.WeakSet()


class Paid(NamedTuple):
    """What one step of B environments earned; float32 [B] each."""

    total: np.ndarray  # what to pay; 0 where nothing was scored
    extrinsic: np.ndarray  # the task's own reward, raw
    terms: dict[str, np.ndarray]  # each term as weighted in the sum; NaN where it was not scored

    def info(self) -> dict[str, np.ndarray]:
        """The arrays under the names that infos have for them."""
        terms = {f"reward/{name}": value for name, value in self.terms.items()}
        return {"reward/extrinsic": self.extrinsic, **terms, "reward/total": self.total}


class _Row(NamedTuple):
    """What one step led to (`shown`), and the step itself."""

    obs: dict[str, Tensor]
    captions: dict[str, Tensor]
    step: dict[str, Tensor]


class LiveReward:
    """Turns steps of B environments into rollouts for a reward, and pays each step at once.

    `reset` begins; `step` tells what every environment did and what that led to: the last observation of an episode,
    not the first of the next. Environments that ended begin anew either by a step with ``valid`` False, as in
    Gymnasium's NEXT_STEP, or by ``reset(obs, mask)`` in between; an episode cut short by that counts as truncated.

    `finish` ends a rollout, as guerdon's own learners do: it is scored, observed and learned from. A step is paid by
    the reward as it was after the last `finish`, which is what scoring the whole rollout gives. A reward of episodes
    (``episodic``) has to look at all of the rollout so far for that: shorter rollouts make its steps faster. Where only
    some environments reset, the others pass a step in which nothing happens; predictions of several steps (the BYOL
    rewards) do not reach over it.

    Args:
        reward: any reward of rollouts, or an expression such as "Extrinsic() + 0.1 * RND()". It says all there is to be
            paid: without ``Extrinsic()`` the task's own reward is not. It is built here.
        observation_space: of one environment; see `Arrays`.
        action_space: of one environment; see `Arrays`.
        num_envs: B.
        rollout: steps after which the reward is to observe and learn (128: our PPO); `full` says so.
        captions: the table that caption ids belong to, for rewards that read captions; None: a new one, for texts.
        seed: of the reward's first weights.
        device: where the reward is.

    Raises:
        ValueError: a reward that was built before, or needs what only guerdon's learners have. TypeError: no reward, or
            spaces that cannot be read.
    """

    def __init__(
        self,
        reward: Any,
        *,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        num_envs: int = 1,
        rollout: int = 128,
        captions: Captions | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if num_envs < 1 or rollout < 1:
            raise ValueError(f"num_envs and rollout must be at least 1, got {num_envs} and {rollout}")
        self.reward = parse_reward(reward) if isinstance(reward, str) else as_reward(reward)
        parts = [part for part in self.reward.modules() if isinstance(part, Reward)]
        for part in parts:
            if part in _IN_USE or next(itertools.chain(part.parameters(), part.buffers()), None) is not None:
                raise ValueError(
                    f"{part.name} was built before, and building it again would undo what it learned: "
                    "make a new one, and load the state_dict() of the old one into it"
                )
            if part.needs:
                raise ValueError(f"{part.name} needs {', '.join(sorted(part.needs))}: only guerdon's learners have it")
        if any(s.gamma is not None or not s.episodic for s in streams(self.reward)):
            warnings.warn("a Stream's gamma and episodic mean something to guerdon's PPO only", stacklevel=3)
        self.arrays = Arrays(observation_space, action_space, self.reward.name)
        self.num_envs, self.rollout, self.device = num_envs, rollout, torch.device(device)
        # a wrapper's own keyword of that name is about its returns
        self.episodic = any(type(part).episodic if part.parts else part.episodic for part in parts)
        self.reads_captions = any(part.reads_captions for part in parts)
        self.captions = CaptionTable() if captions is None and self.reads_captions else captions
        if self.reads_captions:
            self._heard = CaptionCounts(self.captions, num_envs, self.reward.name)  # type: ignore[arg-type]
        spec = Spec(self.arrays.observation_space, action_space, self.captions, num_envs)
        self.reward.build(spec, device=self.device, generator=torch.Generator(self.device).manual_seed(seed))
        _IN_USE.update(parts)
        self._first: _Row | None = None
        self._rows: list[_Row] = []
        self._running = torch.zeros(num_envs, dtype=torch.bool)
        self.steps = 0  # in the current rollout

    @property
    def replayable(self) -> bool:
        """Whether single steps out of a replay buffer can be scored again."""
        return not (self.episodic or self.reads_captions)

    @property
    def full(self) -> bool:
        """Whether `finish` is due."""
        return self.steps >= self.rollout

    def reset(self, obs: Any, mask: Any = None, *, captions: Any = None) -> None:
        """New episodes where `mask` [B] is True (None: everywhere), which show the rows of `obs` [B, ...] there.

        Raises RuntimeError where the first reset is not of all environments; else as `step`.
        """
        fresh = self._flags(np.ones(self.num_envs) if mask is None else mask, "mask")
        before = self._rows[-1] if self._rows else self._first
        if before is None and not bool(fresh.all()):
            raise RuntimeError("the first reset must be of all environments")
        if not bool(fresh.any()):
            return
        shown = self.arrays.obs(obs, self.num_envs, rows=fresh, before=None if before is None else before.obs)
        heard = self._heard.hear(captions, fresh, fresh) if self.reads_captions else {}
        self._first = self._first or _Row(shown, heard, {})
        if before is not None or bool(self._running.any()):
            self._pause(shown, heard, self._running & fresh)
        self._running = self._running | fresh

    def add(
        self,
        action: Any,
        obs: Any,
        extrinsic: Any,
        terminated: Any,
        truncated: Any,
        *,
        valid: Any = None,
        captions: Any = None,
    ) -> None:
        """Notes one step of all environments, and pays nothing; otherwise as `step`."""
        if self._first is None:
            raise RuntimeError("reset before the first step")
        ended, cut = self._flags(terminated, "terminated"), self._flags(truncated, "truncated")
        acted = self._flags(np.ones(self.num_envs) if valid is None else valid, "valid")
        if late := (acted & ~self._running).nonzero().flatten().tolist():
            raise RuntimeError(f"environments {late} stepped on after the end of an episode: reset them first")
        did, shown = self.arrays.action(action, self.num_envs), self.arrays.obs(obs, self.num_envs)
        heard = self._heard.hear(captions, torch.ones_like(acted), ~acted) if self.reads_captions else {}
        earned = torch.from_numpy(np.array(extrinsic, dtype=np.float32))
        if earned.shape != (self.num_envs,):
            raise ValueError(f"{self.reward.name}: rewards must have shape [{self.num_envs}], got {list(earned.shape)}")
        self._rows.append(_Row(shown, heard, self._step(did, earned.masked_fill(~acted, 0.0), ended, cut, acted)))
        self._running = ~(ended | cut)
        self.steps += 1

    def step(self, *args: Any, **kwargs: Any) -> Paid:
        """Notes one step of all environments and pays it.

        Args:
            *args: action [B, ...]; obs [B, ...] that it led to (of an episode that ended, its last one); the task's
                reward [B]; terminated [B]; truncated [B].
            **kwargs: valid [B], False where the step only reset an environment; captions, B texts or ids that came with
                `obs`.

        Raises:
            ValueError: what the spaces do not have; NaN or infinite observations. RuntimeError: a step before the first
                reset, or after the end of an episode.
        """
        self.add(*args, **kwargs)
        scored = self.evaluate(self.window(0 if self.episodic else len(self._rows) - 1))
        total, terms = scored.value[-1].nan_to_num(nan=0.0), {name: term[-1] for name, term in scored.terms.items()}
        extrinsic = self._rows[-1].step["extrinsic"]
        return Paid(array(total), array(extrinsic), {name: array(term) for name, term in terms.items()})

    def window(self, since: int = 0) -> Rollout:
        """The rollout so far, from its row `since` on. Raises RuntimeError if there is nothing."""
        rows = self._rows[since:]
        if not rows:
            raise RuntimeError("there is no step to look at: step first")
        shown = [self._rows[since - 1] if since else self._first, *rows]
        seen = TensorDict(stack([row.obs for row in shown]), [len(shown), self.num_envs])  # type: ignore[union-attr]
        rest: Any = stack([row.step for row in rows]) | stack([row.captions for row in shown])  # type: ignore[union-attr]
        made = Rollout(obs=seen, **rest)
        return made if self.device.type == "cpu" else made.to(self.device)  # type: ignore[return-value]

    @torch.no_grad()
    def evaluate(self, rollout: Rollout) -> Scored:
        """What the reward, as it is now, says of a rollout."""
        return self.reward.evaluate(rollout)

    @torch.inference_mode(False)
    def finish(self, scored: Scored | None = None, *, learn: bool = True) -> dict[str, float]:
        """Ends the rollout: it is scored, observed and learned from. Returns what to log; nothing without steps.

        Means over valid steps of every stage on the way (``stage/<name>/mean``: raw, normalised, ...), of the weighted
        terms (``term/<name>/mean``, with how many were unscored), of the sum and of the task's reward; NaN where
        nothing was scored. Then what `update` says. `scored` spares a second look at the `window`.
        Without `learn` the reward only observes.
        """
        if not self.steps:
            return {}
        rollout = self.window()
        scored, valid = self.evaluate(rollout) if scored is None else scored, rollout.valid
        means = {"extrinsic": rollout.extrinsic, "total": scored.value}
        means |= {f"term/{name}": term for name, term in scored.terms.items()}
        means |= {f"stage/{name}": stage for name, stage in scored.stages.items()}
        logs = {f"{name}/mean": float(value[valid].nanmean()) for name, value in means.items()}
        logs |= {f"term/{name}/unscored": float(term[valid].isnan().sum()) for name, term in scored.terms.items()}
        self.reward.observe(rollout)
        if learn:
            with torch.enable_grad():  # collectors step environments without
                logs |= self.reward.update(rollout)
        self._first, self._rows, self.steps = self._rows[-1], [], 0
        return logs

    def single_steps(
        self, obs: Any, action: Any, extrinsic: Any, terminated: Any, truncated: Any, next_obs: Any
    ) -> Rollout:
        """N steps of a replay buffer as a rollout [1, N]."""
        if not self.replayable:
            raise ValueError(
                f"{self.reward.name} looks at a step in its place in an episode, not out of a replay buffer"
            )
        before, after = self.arrays.obs(obs, None), self.arrays.obs(next_obs, None)
        n = len(next(iter(before.values())))
        earned, ended, cut = (
            torch.from_numpy(np.array(x, dtype)).reshape(n)
            for x, dtype in ((extrinsic, np.float32), (terminated, bool), (truncated, bool))
        )
        step: Any = stack([self._step(self.arrays.action(action, n), earned, ended, cut, torch.ones_like(ended))])
        rollout = Rollout(obs=TensorDict(stack([before, after]), [2, n]), **step)
        return rollout.to(self.device)  # type: ignore[return-value]

    def again(self, *steps: Any) -> np.ndarray:
        """float32 [N]: what N replayed steps (see `single_steps`) are worth by now, 0 where unscored.

        Raises ValueError if not `replayable`; else as `step`.
        """
        return array(self.evaluate(self.single_steps(*steps)).value[0].nan_to_num(nan=0.0))

    def state_dict(self) -> dict[str, Any]:
        """The reward's state and the captions it speaks of; steps since the last `finish` are not in it."""
        return {
            "reward": self.reward.state_dict(),
            "captions": self.captions.state_dict() if isinstance(self.captions, CaptionTable) else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`, whose episodes are over: those here are others. Drops an unfinished rollout."""
        if isinstance(self.captions, CaptionTable) and state["captions"] is not None:
            self.captions.load_state_dict(state["captions"])
        self.reward.load_state_dict(state["reward"])
        everywhere = torch.ones(self.num_envs, dtype=torch.bool)
        if self._first is None:
            self._running = everywhere  # so that the first reset ends them
        else:
            self._first, self._rows, self.steps = self._rows[-1] if self._rows else self._first, [], 0
            self._pause(self._first.obs, self._first.captions, everywhere)

    def _pause(self, shown: dict[str, Tensor], heard: dict[str, Tensor], cut: Tensor) -> None:
        """A step in which nobody acted, and that shows first observations; where an episode is cut, its end before."""
        still = self._step(self.arrays.no_action(self.num_envs), torch.zeros(self.num_envs))
        if bool(cut.any()):
            last = self._rows[-1] if self._rows else self._first
            assert last is not None
            self._rows.append(
                _Row(where(cut, last.obs, shown), where(cut, last.captions, heard), still | {"truncated": cut})
            )
        self._rows.append(_Row(shown, heard, still))

    def _flags(self, values: Any, name: str) -> Tensor:
        flags = torch.from_numpy(np.array(values, dtype=bool))
        if flags.shape != (self.num_envs,):
            raise ValueError(f"{self.reward.name}: {name} must have shape [{self.num_envs}], got {list(flags.shape)}")
        return flags

    def _step(
        self, action: Tensor, extrinsic: Tensor, ended: Any = None, cut: Any = None, valid: Any = None
    ) -> dict[str, Tensor]:
        flags = {"terminated": ended, "truncated": cut, "valid": valid}
        no = torch.zeros(len(extrinsic), dtype=torch.bool)
        return {"action": action, "extrinsic": extrinsic, **{k: no if v is None else v for k, v in flags.items()}}
