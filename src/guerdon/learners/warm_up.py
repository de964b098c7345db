"""What a reward sees before training: so that its running statistics mean something when it first pays."""

from __future__ import annotations

import itertools
import math

from guerdon.tasks.random_play import random_rollouts
from guerdon.types import Reward, VectorTask


def warm_up(reward: Reward, task: VectorTask, steps: int, *, length: int = 128, seed: int = 0) -> int:
    """Plays at least `steps` steps (of all games together) at random and has `reward` observe them; how many it were.

    Nothing is scored, learned or counted as training. Every game's last episode is cut off at the end, so that what a
    reward remembers of it does not reach into the first episode of training. Reset the games afterwards.

    Burda et al. (2018) do so to begin the moments of observations: 50 rollouts of 128 games.
    """
    rollouts = math.ceil(steps / (length * task.num_envs))
    for turn, rollout in enumerate(itertools.islice(random_rollouts(task, length, seed=seed), rollouts)):
        if turn == rollouts - 1:
            rollout.truncated[-1] = ~rollout.terminated[-1]
        reward.observe(rollout)
    return rollouts * length * task.num_envs
