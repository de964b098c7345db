"""Which observations of a rollout are visits, and of which episode of their environment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from guerdon.types import Rollout


class Visits(NamedTuple):
    """What an episodic memory takes in of the observations of a rollout, [T+1, B] each."""

    there: Tensor  # bool: obs[t] is a visit; False on padding, and on obs[0] if an earlier rollout ended with it
    episode: Tensor  # int64: 0 for the episode that runs on from the last rollout, then 1, 2, ...
    ordinal: Tensor  # int64: visits of that episode in this rollout before this one


class RunningEpisodes(nn.Module):
    """Where episodes begin, from rollout to rollout, for memories that last an episode.

    An episode's first observation is a visit as any other, though nothing is paid for it. Autoreset is NEXT_STEP: the
    invalid step after an end shows the first observation of the next episode. Other invalid steps are padding.

    Args:
        num_envs: B.
        reader: whose memory it is, for errors.
    """

    ended: Tensor  # [B] bool: what comes next is the first of an episode

    def __init__(self, num_envs: int, reader: str) -> None:
        super().__init__()
        self.reader = reader
        self.register_buffer("ended", torch.ones(num_envs, dtype=torch.bool))

    def visits(self, rollout: Rollout) -> Visits:
        """Raises ValueError for another number of environments than this was made for."""
        steps, columns = rollout.shape
        if columns != len(self.ended):
            raise ValueError(
                f"{self.reader} remembers the episodes of {len(self.ended)} environments, and got {columns} columns: "
                "it scores rollouts as they were collected, no replayed steps (store its scores with them instead)"
            )
        valid, ended = rollout.valid.bool(), (rollout.terminated | rollout.truncated).bool()
        before = torch.cat([self.ended[None], ended[: steps - 1]])[:steps]  # the step before ended an episode
        first = (before[:1] & valid[:1])[:steps]  # a first observation that no earlier rollout showed
        none = first.new_zeros(1 - len(first), columns)  # an empty rollout shows nothing
        there = torch.cat([first, none, valid | before])
        begins = torch.cat([first, none, torch.cat([before[:1] & ~first, before[1:]])])
        episode = begins.long().cumsum(0)
        earlier = there.long().cumsum(0) - there.long()
        start = torch.where(begins, earlier, 0).cummax(0).values
        return Visits(there, episode, earlier - start)

    def advance(self, rollout: Rollout) -> None:
        """Once per rollout, after `visits`."""
        if len(rollout.valid):
            self.ended.copy_((rollout.terminated | rollout.truncated)[-1])


def restart(reward: nn.Module) -> None:
    """All that a reward remembers of episodes under way is over: a run goes on with other games."""
    for module in reward.modules():
        if isinstance(module, RunningEpisodes):
            module.ended.fill_(True)
