"""What a reward pays for single transitions, each as a rollout of one step."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

from guerdon.types import Reward, Rollout, Spec, Stream

_AT_ONCE = 4096  # steps in one rollout


class Steps(NamedTuple):
    """E transitions between rows of a table of observations."""

    shown: TensorDict  # [S, ...]
    here: Tensor  # [E] rows
    action: Tensor  # [E], or [E, ...]
    there: Tensor  # [E] rows
    extrinsic: Tensor  # [E]
    terminated: Tensor  # bool [E]

    def rollout(self, part: slice) -> Rollout:
        """Some of them, side by side, T = 1."""
        s, t = self.here[part], self.there[part]
        n = len(s)
        return Rollout(
            obs=torch.stack([self.shown[s], self.shown[t]]),  # type: ignore[arg-type]
            action=self.action[part][None], extrinsic=self.extrinsic[part].float()[None],
            terminated=self.terminated[part][None], truncated=torch.zeros(1, n, dtype=torch.bool),
            valid=torch.ones(1, n, dtype=torch.bool),
        )  # fmt: skip


def built(reward: Reward, spec: Spec | None, seed: int = 0) -> Reward:
    """A built copy of a reward that can score a single step.

    Raises:
        ValueError: it cannot, and why: its score belongs to a place in an episode, it needs what only a learner has, or
            scores no rollouts.
    """
    for part in reward.modules():
        if not isinstance(part, Reward) or isinstance(part, Stream):
            continue
        if type(part).episodic if part.parts else part.episodic:  # a wrapper's own keyword is about its returns
            raise ValueError(
                f"{part.name} pays by what else happened in the episode, so a single transition has no score of its "
                "own and there is no R(s, a, s') to compare"
            )
        if part.needs:
            raise ValueError(f"{part.name} needs {', '.join(sorted(part.needs))} to score, which only a learner has")
        if getattr(part, "about", None) is not None and part.about.scores not in ("any", "Rollout"):
            raise ValueError(f"{part.name} scores {part.about.scores}: only rewards of control tasks can be compared")
    made = copy.deepcopy(reward)
    try:
        made.build(spec or Spec(), generator=torch.Generator().manual_seed(seed))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{reward.name} cannot be built for this task: {error}") from error
    return made


def score_steps(reward: Reward, steps: Steps, spec: Spec | None, seed: int = 0) -> Tensor:
    """[E] float64: what `reward`, not built yet, pays for each; its networks are drawn with `seed`.

    Raises:
        ValueError: it cannot score single steps (see `built`), or leaves some unscored (NaN).
    """
    made, n = built(reward, spec, seed), len(steps.here)
    with torch.no_grad():
        parts = [made.evaluate(steps.rollout(slice(i, i + _AT_ONCE))).value[0] for i in range(0, n, _AT_ONCE)]
    return scored(torch.cat(parts), reward)


def scored(paid: Tensor, reward: Reward) -> Tensor:
    """`paid` in float64. Raises ValueError where a step has no score."""
    unscored = int(paid.isnan().sum())
    if unscored:
        raise ValueError(
            f"{reward.name} leaves {unscored} of {paid.numel()} transitions unscored (NaN): a reward that waits for "
            "labels or training cannot be compared before it has them"
        )
    return paid.double()


def side_by_side(rollout: Rollout) -> Rollout:
    """The valid steps of a rollout [T, B] as one of a single step, [1, n]."""
    valid = rollout.valid.bool()

    def pairs(x: Any) -> Any:
        return None if x is None else torch.stack([x[:-1][valid], x[1:][valid]])

    def one(x: Tensor) -> Tensor:
        return x[valid][None]

    return Rollout(
        obs=TensorDict({k: pairs(v) for k, v in rollout.obs.items()}, [2, int(valid.sum())]),
        action=one(rollout.action), extrinsic=one(rollout.extrinsic), terminated=one(rollout.terminated),
        truncated=one(rollout.truncated), valid=one(rollout.valid), caption=pairs(rollout.caption),
        caption_count=pairs(rollout.caption_count),
    )  # fmt: skip
