"""TopoNav: an agent of two levels that draws a map of places and goes from place to place on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from guerdon.explore import Explorer, TopologicalMap
from guerdon.learners.double_dqn import DoubleDQN, annealed, mlp
from guerdon.learners.places import PlaceChooser, Undertaking
from guerdon.parts.priority import first_triggered, in_danger, time_to_collision
from guerdon.parts.subgoal_reward import subgoal_reward
from guerdon.types import Step, VectorTask

LEVELS = ("safety", "sub-goal", "goal", "frontier")
"""Who acted, by urgency: the safety layer, an option under way, a choice for the known goal, a choice to explore."""


@dataclass
class _Option:
    """What one walker is doing."""

    goal: np.ndarray | None = None  # [2], the low level's sub-goal; None: wander at random
    for_goal: bool = False
    wander: int = 0  # random steps left
    hop_steps: int = 0
    fresh: bool = True  # chosen just now
    ended: bool = False
    told: Undertaking = field(default_factory=Undertaking)


class TopoNav:
    """Explores with a map (`guerdon.explore`): the high level chooses places, the low level goes there.

    The high level is a DQN over options (semi-Markov targets) whose actions are the places in reach, chosen by
    epsilon-greedy on ``Q(s, v) + kappa S(v)``, by S alone before it has learnt anything. The low level is a Double DQN
    on ranges and the direction of the next place of the path, paid by `subgoal_reward`. A hop ends when the place is
    reached, after `t_opt` steps or by a collision (both failures of that way), or when the place is given up; an
    option ends with its last hop, with a failed one, or at the next place if the goal has come to be known. The
    first objective that is triggered acts (`LEVELS`): danger masks the actions that lead into it, whatever the option;
    the option under way goes on; then the goal if it is on the map; then exploration. Without a place in reach the
    walker goes at random for `t_random` steps and scans anew.

    Hossain et al., 2024, https://arxiv.org/abs/2402.04061; the loop is reconstructed. Ours: safety corrects a step and
    does not abort its option, so no option is cut by it; failed options are learnt from like others, since what follows
    them is known.

    The task is one of walkers such as `Gardens`: Discrete actions into ``task.headings``; ``task.rays``, ``sight``,
    ``stride`` and ``radius``; observations "position", "ranges", "goal", "bump", "descriptor", "offset", "confidence".

    Args:
        w_nov: weight of novelty in S. (This and the next seven are the card's, as our choice.)
        w_goal: of nearness to the goal.
        w_cost: of the way's cost.
        kappa: weight of S beside Q, at first and in the end.
        t_opt: steps a hop may take.
        epsilon: chance of a random action or place, at first and in the end.
        eta: reward a metre of progress.
        r_coll: cost of a collision.
        low: values of actions; gamma is 0.9, since a hop takes some ten steps.
        high: values of places.
        epsilon_steps: steps of all games over which epsilon falls.
        kappa_steps: steps of all games over which kappa falls.
        reach: metres within which a place is reached.
        t_random: steps to wander when there is nowhere to go.
        d_safe: metres to a wall, from the walker's centre, below which safety acts; 0 and `tau_safe` 0 is never.
        tau_safe: steps to a collision, likewise.
        margin: metres added to the body's radius for it, so that slipping beside a wall does not touch it.
        updates: of the low level after a step of all games.
        high_every: steps of all games between updates of the high level.
        keep: candidates that the high level looks at, best by S.
        map_persistence: keep each walker's map from episode to episode.
        use_map: False draws sub-goals at random in view, and the goal if it is seen: a hierarchy without a map.
        arbitration: False leaves the safety level out.
        maps: options of `TopologicalMap`.
    """

    def __init__(
        self,
        *,
        w_nov: float = 1.0,
        w_goal: float = 1.0,
        w_cost: float = 0.5,
        kappa: tuple[float, float] = (1.0, 0.1),
        t_opt: int = 60,
        epsilon: tuple[float, float] = (1.0, 0.05),
        eta: float = 0.1,
        r_coll: float = 1.0,
        low: DoubleDQN | None = None,
        high: DoubleDQN | None = None,
        epsilon_steps: int = 5_000,
        kappa_steps: int = 100_000,
        reach: float = 1.0,
        t_random: int = 10,
        d_safe: float = 0.3,
        tau_safe: float = 1.2,
        margin: float = 0.1,
        updates: int = 2,
        high_every: int = 4,
        keep: int = 32,
        novelty: Literal["root", "exponential"] = "root",
        map_persistence: bool = False,
        use_map: bool = True,
        arbitration: bool = True,
        maps: dict[str, Any] | None = None,
    ) -> None:
        self.kappa, self.t_opt, self.epsilon, self.epsilon_steps = kappa, t_opt, epsilon, epsilon_steps
        self.kappa_steps = kappa_steps
        self.pay = {"eta": eta, "r_coll": r_coll}
        self.low = low or DoubleDQN(gamma=0.9)
        high = high or DoubleDQN(start=200, batch=32, capacity=10_000)
        self.places = PlaceChooser(
            learner=high, w_nov=w_nov, w_goal=w_goal, w_cost=w_cost, novelty=novelty, keep=keep
        )  # fmt: skip
        self.reach, self.t_random, self.d_safe, self.tau_safe = reach, t_random, d_safe, tau_safe
        self.updates, self.high_every, self.margin = updates, high_every, margin
        self.map_persistence, self.use_map, self.arbitration, self.maps = map_persistence, use_map, arbitration, maps
        self.steps = 0
        self.explorers: list[Explorer] = []

    def build(self, task: VectorTask, *, seed: int = 0) -> TopoNav:
        """Makes the networks of both levels. Raises TypeError for a task that has no walkers."""
        lacking = [x for x in ("headings", "rays", "sight", "stride", "radius") if not hasattr(task, x)]
        wanted = {"position", "ranges", "goal", "bump", "descriptor", "offset", "confidence"}
        lacking += sorted(wanted - set(task.single_observation_space))
        if lacking or not isinstance(task.single_action_space, spaces.Discrete) or task.groups != 1:
            raise TypeError(f"TopoNav needs a task such as Gardens; this one lacks {', '.join(lacking) or 'headings'}")
        self.task: Any = task
        generator = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        extent = float(np.max(task.single_observation_space["position"].high))  # type: ignore[attr-defined]
        rays, actions = len(self.task.rays), len(self.task.headings)
        self.low.build(lambda: mlp(rays + 3, actions), generator=generator)
        self.places.build(extent, generator=generator, rng=self.rng)
        self._descriptors = task.single_observation_space["descriptor"].shape[-1]  # type: ignore[index]
        return self

    def new_map(self) -> TopologicalMap:
        """An empty map for this task."""
        task, options = self.task, {"descriptor_size": self._descriptors, **(self.maps or {})}
        return TopologicalMap(rays=task.rays, sight=task.sight, **options)

    def play(
        self,
        task: VectorTask,
        *,
        steps: int | None = None,
        episodes: int | None = None,
        learn: bool = True,
        seed: int = 0,
        watch: Callable[[Step, np.ndarray], Any] | None = None,
    ) -> list[dict[str, float]]:
        """Plays `steps` steps of all games, or until every game has ended `episodes` times; what episodes told.

        Without `learn` nothing is learnt but maps, and the best place is taken; the low level keeps the last epsilon.
        `watch` sees every step and who acted, places in `LEVELS` [B]. Maps go on from an earlier call where
        `map_persistence` is on and the number of games is the same.
        """
        if (steps is None) == (episodes is None):
            raise ValueError("play takes either steps or episodes")
        self.task = task
        task.reset(seed=seed)
        now, told = _copied(task.recv(0)), []
        number = task.num_envs
        if not (self.map_persistence and len(self.explorers) == number):
            self.explorers = [Explorer(self.new_map(), reach=self.reach) for _ in range(number)]
        options = [_Option(ended=True) for _ in range(number)]
        began = np.ones(number, bool)
        ended, end = np.zeros(number, int), self.steps + (steps or 0)
        while self.steps < end if episodes is None else ended.min() < episodes:
            epsilon = annealed(self.steps, self.epsilon_steps, *self.epsilon) if learn else self.epsilon[1]
            kappa = annealed(self.steps, self.kappa_steps, *self.kappa)
            for i in range(number):
                if began[i]:
                    self._begin(i, now)
                    options[i] = _Option(ended=True)
                if options[i].ended:
                    last = options[i].told if learn else None
                    options[i] = self._choose(i, now, last, epsilon if learn else 0.0, kappa)
            goals = np.stack([now.obs["position"][i] if o.goal is None else o.goal for i, o in enumerate(options)])
            features = self._low_features(now.obs, goals)
            actions, danger = self._act(now.obs, features, options, epsilon)
            fresh = np.array([o.fresh for o in options])
            for_goal = np.array([o.for_goal for o in options])
            level = first_triggered(np.stack([danger, ~fresh, for_goal, np.ones(number, bool)]))
            task.send(0, actions)
            before, now = now, _copied(task.recv(0))
            if watch is not None:
                watch(now, level)
            self._after(before, now, goals, features, actions, options, learn)
            over, began = np.flatnonzero(now.terminated | now.truncated), ~now.valid
            told += [row for i, row in zip(over, now.finished, strict=True) if episodes is None or ended[i] < episodes]
            ended[over] += 1
            self.steps += number if learn else 0
            if learn:
                for _ in range(self.updates):
                    self.low.update()
                if self.steps // number % self.high_every == 0:
                    self.places.learner.update()
        return told

    def state_dict(self) -> dict[str, Any]:
        """Networks and replays of both levels, steps so far, and the maps."""
        maps = [explorer.places.to_dict() for explorer in self.explorers]
        learners = {"low": self.low.state_dict(), "high": self.places.learner.state_dict()}
        return {**learners, "steps": self.steps, "rng": self.rng.bit_generator.state, "maps": maps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`, after `build`; maps are kept in `play` where `map_persistence` is on."""
        self.low.load_state_dict(state["low"])
        self.places.learner.load_state_dict(state["high"])
        self.steps, self.rng.bit_generator.state = state["steps"], state["rng"]
        self.explorers = [Explorer(self.new_map(), reach=self.reach) for _ in state["maps"]]
        for explorer, told in zip(self.explorers, state["maps"], strict=True):
            explorer.places.load_dict(told)

    def _begin(self, i: int, now: Step) -> None:
        """A new episode of game i."""
        explorer = self.explorers[i]
        if self.use_map:
            if not self.map_persistence:
                explorer.places = self.new_map()
            explorer.begin()
            explorer.settle(now.obs["position"][i], now.obs["ranges"][i])
            self._look(i, now)

    def _look(self, i: int, now: Step) -> None:
        obs, goal = now.obs, now.obs["goal"][i]
        self.explorers[i].look(
            obs["position"][i], obs["ranges"][i], goal=goal[1:] if goal[0] else None, descriptor=obs["descriptor"][i],
            offset=obs["offset"][i], confidence=obs["confidence"][i],
        )  # fmt: skip

    def _choose(self, i: int, now: Step, last: Undertaking | None, epsilon: float, kappa: float) -> _Option:
        """A new option for game i."""
        if not self.use_map:
            return self._in_view(i, now)
        explorer, at = self.explorers[i], now.obs["position"][i]
        choice = self.places.choose(explorer, at, epsilon=epsilon, kappa=kappa, last=last)
        spot = explorer.subgoal()
        if choice is None or spot is None:
            return _Option(wander=self.t_random)
        return _Option(goal=spot.copy(), for_goal=choice.for_goal, told=Undertaking(choice))

    def _in_view(self, i: int, now: Step) -> _Option:
        """The goal if it is seen, else a spot at random on a ray at random."""
        goal, position = now.obs["goal"][i], now.obs["position"][i]
        if goal[0]:
            return _Option(goal=position + goal[1:], for_goal=True)
        ray = int(self.rng.integers(len(self.task.rays)))
        length = self.rng.uniform(0.0, max(now.obs["ranges"][i][ray] - self.task.radius, 0.0))
        turn = self.task.rays[ray]
        return _Option(goal=position + length * np.array([np.cos(turn), np.sin(turn)]))

    def _act(
        self, obs: dict[str, np.ndarray], features: Tensor, options: list[_Option], epsilon: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Actions [B], and where danger changed or could have changed them."""
        task, values = self.task, self.low.values(features)
        wandering = torch.tensor([o.goal is None for o in options])
        values[wandering] = torch.rand(values.shape, generator=self.low.generator)[wandering]
        actions = self.low.explore(values, epsilon).numpy()
        if not self.arbitration:
            return actions, np.zeros(len(actions), bool)
        ahead = time_to_collision(
            obs["ranges"], task.rays, task.headings, radius=task.radius + self.margin, stride=task.stride
        )
        chosen = ahead[np.arange(len(actions)), actions]
        danger = in_danger(obs["ranges"], chosen, d_safe=self.d_safe, tau_safe=self.tau_safe)
        safe = ahead >= max(self.tau_safe, 1e-9)
        safe |= ~safe.any(1, keepdims=True) & (ahead == ahead.max(1, keepdims=True))
        corrected = self.low.explore(values, epsilon, torch.from_numpy(safe)).numpy()
        unsafe = ~safe[np.arange(len(actions)), actions]
        return np.where(danger & unsafe, corrected, actions), danger

    def _after(
        self, before: Step, now: Step, goals: np.ndarray, features: Tensor, actions: np.ndarray,
        options: list[_Option], learn: bool,
    ) -> None:  # fmt: skip
        """What the step led to: on the map, for both levels, and for the options."""
        at, was = now.obs["position"], before.obs["position"]
        distance, moved = np.linalg.norm(at - goals, axis=1), np.linalg.norm(at - was, axis=1)
        earlier = np.linalg.norm(was - goals, axis=1)
        hopping = np.array([o.goal is not None for o in options]) & now.valid
        bump = now.obs["bump"][:, 0] > 0
        reached = hopping & (distance < self.reach)
        new = np.zeros(len(options), bool)
        for i in np.flatnonzero(now.valid).tolist():
            if self.use_map:
                new[i] = self.explorers[i].walk(at[i], float(moved[i]), now.obs["ranges"][i])
                self._look(i, now)
        if learn and hopping.any():
            rows = np.flatnonzero(hopping)
            over = reached | now.terminated
            terms = subgoal_reward(
                *(torch.from_numpy(x[rows].astype(np.float32)) for x in (earlier, distance)),
                reached=torch.from_numpy(reached[rows]), collided=torch.from_numpy(bump[rows]),
                novelty=torch.from_numpy(new[rows].astype(np.float32)), terminal=torch.from_numpy(over[rows]),
                gamma=self.low.gamma, **self.pay,
            )  # fmt: skip
            following = self._low_features(now.obs, goals)
            discount = self.low.gamma * (1.0 - torch.from_numpy(over[rows].astype(np.float32)))
            reward = torch.stack(list(terms.values())).sum(0)
            self.low.store(features[rows], torch.from_numpy(actions[rows]).long(), reward, following[rows], discount)
        for i in np.flatnonzero(now.valid).tolist():
            self._proceed(i, now, options[i], bool(reached[i]), bool(bump[i]), learn)

    def _proceed(self, i: int, now: Step, option: _Option, reached: bool, bump: bool, learn: bool) -> None:
        """Whether game i's option goes on, to which place, and with what it has earned."""
        option.told.earn(float(now.reward[i]), self.places.learner.gamma)
        option.hop_steps += 1
        option.fresh = False
        if now.terminated[i] or now.truncated[i]:
            option.ended = True
            if now.terminated[i]:
                if learn:
                    self.places.learn(option.told)
                option.told = Undertaking()  # learnt from; what is chosen next does not follow it
            return
        at, ranges = now.obs["position"][i], now.obs["ranges"][i]
        explorer = self.explorers[i]
        if option.goal is None:
            option.wander -= 1
            if option.wander <= 0:
                option.ended = True
                explorer.settle(at, ranges)
            return
        failed = not reached and (bump or option.hop_steps >= self.t_opt)
        if not self.use_map:
            option.ended = reached or failed
        elif failed:
            option.ended = True
            explorer.fail(at, ranges)
        elif reached:
            done = not explorer.path or explorer.advance()
            newly = explorer.places.goal_node() is not None and not option.for_goal
            spot = explorer.subgoal()
            option.ended = done or newly or spot is None
            if not option.ended and spot is not None:
                option.goal, option.hop_steps = spot.copy(), 0
        elif explorer.subgoal() is None:
            option.ended = True
            explorer.settle(at, ranges)

    def _low_features(self, obs: dict[str, np.ndarray], goals: np.ndarray) -> Tensor:
        """[B, R + 3]: ranges, the sub-goal's direction, and its distance up to the sight."""
        sight = self.task.sight
        away = goals - obs["position"]
        distance = np.linalg.norm(away, axis=1, keepdims=True)
        near = np.minimum(distance, sight) / sight
        columns = [obs["ranges"] / sight, away / np.maximum(distance, 1e-6), near]
        return torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))


def _copied(step: Step) -> Step:
    arrays = ("reward", "terminated", "truncated", "valid")
    return step._replace(
        obs={key: value.copy() for key, value in step.obs.items()}, **{n: getattr(step, n).copy() for n in arrays}
    )
