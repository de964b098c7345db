"""A trained policy at play: evaluation, watching."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from guerdon.learners import checkpoint
from guerdon.learners.ppo import PPO
from guerdon.learners.run import Run
from guerdon.types import Reward, Rollout


class Moment(NamedTuple):
    """One step of all games: the rollout (T = 1), what each reward term paid, and the episodes that ended."""

    rollout: Rollout
    terms: dict[str, Tensor]
    finished: list[dict[str, float]]


class Player:
    """The newest policy of a run, playing `envs` fresh games of its task. Use as a context manager.

    Args:
        run: see `open_run`.
        envs: games at once.
        seed: of the games and of the sampling; other than the run's own, so that the games are new.
        greedy: the likeliest action always, instead of drawing.
        workers: processes to step them.
        changed: task options to replace, such as observation_keys.

    Raises:
        CheckpointError: the run has no checkpoint that can be read.
    """

    def __init__(
        self, run: Run, *, envs: int, seed: int = 10_000, greedy: bool = False, workers: int = 0, **changed: Any
    ) -> None:
        state, self.path, self.damaged = checkpoint.load_newest(Path(run.folder) / "checkpoints")
        learner: PPO = run.learner
        seen = {k.split(".")[2]: None for k in state["learner"]["policy"] if k.startswith("encoder.encoders.")}
        learner.keys = tuple(seen)  # the task may show more than the policy saw
        learner.rollout, learner.minibatches = 1, 1
        self.learner = learner
        self.task = run.make_task(num_envs=envs, workers=workers, groups=1, **changed)
        try:
            learner.build(self.task, run.reward, seed=seed, device=run.config.device)
            if self.task.captions is not None:  # ids as in training; the games themselves are fresh
                self.task.captions.load_state_dict(state["learner"]["task"]["captions"])
            learner.policy.load_state_dict(state["learner"]["policy"])
            _load(run.reward, state["learner"]["reward"], run.config.envs, envs)
            learner.collector.start(seed)
        except BaseException:
            self.task.close()
            raise
        if greedy:
            sample = learner.policy.sample
            learner.policy.sample = lambda logits, generator: sample(logits, generator, greedy=True)  # type: ignore[method-assign]

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *exc: object) -> None:
        self.task.close()

    def moments(self) -> Iterator[Moment]:
        """Step after step, without end."""
        while True:
            collected = self.learner.collect()
            scored = self.learner.score(collected.rollout)
            terms = {name: term for s in scored for name, term in s.terms.items()}
            yield Moment(collected.rollout, terms, collected.finished)

    def episodes(self, count: int) -> Iterator[dict[str, float]]:
        """At least `count` finished episodes: equally many of each game, so that short ones are not favoured.

        Beside the task's own figures each has ``term/<name>``: what that term paid over the episode.
        """
        envs = self.task.num_envs
        left = np.full(envs, -(-count // envs))
        paid: dict[str, Tensor] = {}
        for moment in self.moments():
            for name, term in moment.terms.items():
                paid[name] = paid.get(name, torch.zeros(envs)) + term[0].cpu().nan_to_num()
            ended = (moment.rollout.terminated | moment.rollout.truncated)[0].nonzero().flatten().tolist()
            for env, episode in zip(ended, moment.finished, strict=True):
                if left[env] > 0:
                    yield episode | {f"term/{name}": float(total[env]) for name, total in paid.items()}
                left[env] -= 1
                for total in paid.values():
                    total[env] = 0.0
            if (left <= 0).all():
                return


def _load(reward: Reward, state: dict[str, Any], then: int, now: int) -> None:
    """The reward's state. What it keeps of each of the `then` games (running returns) begins anew for `now` ones."""
    own = reward.state_dict()

    def of_games(old: Any, new: Any) -> bool:
        tensors = isinstance(old, Tensor) and isinstance(new, Tensor)
        return tensors and then != now and old.shape[:1] == (then,) and new.shape[:1] == (now,)

    reward.load_state_dict({key: own[key] if of_games(old, own.get(key)) else old for key, old in state.items()})
