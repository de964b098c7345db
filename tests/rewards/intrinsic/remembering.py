"""What tests of rewards with memories share."""

from __future__ import annotations

import numpy as np
import samples
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import nn

from guerdon.types import Reward, Rollout, Spec


def rollout(obs, ends=(), invalid=(), action=None) -> Rollout:
    """A rollout of one number an observation, [T+1, B], which ends at the (step, column) of `ends`."""
    x = torch.as_tensor(obs, dtype=torch.float32)
    x = x.view(len(x), -1)
    shape = (len(x) - 1, x.shape[1])
    flags = torch.zeros(2, *shape, dtype=torch.bool)
    for i, places in enumerate((ends, invalid)):
        for place in places:
            flags[i][place] = True
    return Rollout(
        obs=TensorDict({"obs": x[..., None]}, x.shape), extrinsic=torch.zeros(shape),
        action=torch.zeros(shape, dtype=torch.int64) if action is None else action,
        terminated=flags[0], truncated=torch.zeros_like(flags[0]), valid=~flags[1],
    )  # fmt: skip


def spec(num_envs: int = 1) -> Spec:
    """Of one number an observation."""
    space = spaces.Dict({"obs": spaces.Box(-np.inf, np.inf, (1,), np.float32)})
    return Spec(observation_space=space, action_space=spaces.Discrete(4), num_envs=num_envs)


def stream(steps: int = 40, columns: int = 4, seed: int = 0, places: int = 0) -> Rollout:
    """Many episodes a column in NEXT_STEP form; of so few `places` if any are given, else of drawn numbers."""
    g = torch.Generator().manual_seed(seed)
    made = samples.rollout(steps, columns, seed)
    if places:
        made.obs["obs"] = torch.randint(places, (steps + 1, columns, 1), generator=g).float().expand(-1, -1, 3).clone()
    made.terminated[:] = made.truncated[:] = False
    made.valid[:] = True
    ends = torch.rand(steps, columns, generator=g) < 0.15
    ends[-1] = False  # so that any other may follow
    for t in range(steps - 1):
        ends[t] &= made.valid[t]
        made.valid[t + 1] = ~ends[t]
    made.terminated |= ends & made.valid
    return made


def part(r: Rollout, start: int, stop: int) -> Rollout:
    """Steps `start` to `stop` of a rollout."""
    longer = {"obs", "caption", "caption_count"}
    return Rollout(**{
        name: value if value is None else value[start : stop + (name in longer)].clone()
        for name, value in samples.fields(r)
    })  # fmt: skip


def built(made: Reward, num_envs: int = 4, seed: int = 0, of: Spec | None = None) -> Reward:
    made.build(of or samples.spec(num_envs), generator=torch.Generator().manual_seed(seed))
    return made


def still(made: Reward) -> Reward:
    """The reward with inputs that no moments standardise: its features do not drift as it observes."""
    for module in made.modules():
        if isinstance(getattr(module, "moments", None), nn.ModuleDict):
            module.moments = nn.ModuleDict()
    return made


def scores(made: Reward, *rollouts: Rollout) -> torch.Tensor:
    """What each is paid, in turn, with the reward observing each after it was paid."""
    paid = []
    for r in rollouts:
        paid.append(made.evaluate(r).value)
        made.observe(r)
    return torch.cat(paid)
