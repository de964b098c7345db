"""Automated guided vehicles in a warehouse: continuous positions and actions, lidar, and a goal that alone pays."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from guerdon.tasks.agv_layouts import CELL, LAYOUTS, Layout, look_up
from guerdon.tasks.agv_lidar import clearance, ranges
from guerdon.tasks.array_task import ArrayTask

DT = 0.1
"""Seconds a step."""
RADIUS, GOAL_RADIUS = 0.4, 0.3
"""Metres: of the vehicle, and how near to the goal it must come."""
U_MAX, U_REV, ACC_MAX, W_MAX = 1.5, 0.3, 2.0, 1.5
"""Largest speed forward and backward (m/s), acceleration (m/s^2) and turn rate (rad/s)."""
REACH = 6.0
"""Metres that the lidar sees."""
MOVER_SPEED, MOVER_RADIUS = 0.7, 0.4
"""Of the discs that go back and forth on their tracks, m/s and metres."""


class AGVWarehouse(ArrayTask):
    """The warehouse world of RND-PPO (Random Network Distillation based deep RL for AGV path planning, 2024).

    Geometry, sizes and rewards are reconstructed: the paper's are not public. A vehicle, a disc with heading psi and
    speed u, acts by ``a`` in [-1, 1]^2, acceleration and turn rate (clipped, not squashed):

        u <- clip(u + a_1 ACC_MAX DT, -U_REV, U_MAX),  psi <- psi + a_2 W_MAX DT,
        (x, y) <- (x, y) + u DT (cos psi, sin psi)

    Within 0.3 m of the goal an episode ends and pays 1; touching a shelf, the outer wall or a mover ends it and pays -1
    (also at the goal). Movers go back and forth on their tracks, each from a place drawn at the start.

    Observation, float32, the paper's vector in parts so that a bonus can be given some of them:

    - ``place`` [2]: x and y by the world's size.
    - ``motion`` [5]: sin and cos of psi, u / U_MAX, the goal from the vehicle (ahead, left) by the world's diagonal.
    - ``lidar`` [rays]: ranges by `REACH`, counter-clockwise from ahead.
    - ``movers`` [4], if asked for: velocities (ahead, left) of the two nearest movers by their speed; else 0.

    The first two know nothing of movers: a bonus for ``place`` alone pays for coverage of the map, not for noise.

    ``finished`` tells ``success``, ``collision``, ``distance`` (metres to the goal at the end) and ``cells`` (square
    metres in which any game of this task ever was).

    Args:
        num_envs: vehicles, each in a world of its own.
        layout: "S-static", "C-static", "S-dynamic", "C-dynamic" or a `Layout`.
        reward: "sparse" as above; "dense" adds the metres by which the step came nearer to the goal, "shaped" those by
            which the drive there around the shelves became shorter. (Undiscounted potentials.)
        step_cost: pay -1 / steps in every step, too.
        steps: T_max, moves until truncation.
        rays: R of the lidar.
        random_start: draw start and heading from the layout's zone; else the middle.
        random_goal: likewise the goal.
        mover_velocities: show ``movers``.

    Raises:
        ValueError: start or goal in or too near a shelf, the start within reach of a mover, steps or rays below 1, an
            unknown layout or reward, an action that is not finite.
    """

    def __init__(
        self,
        *,
        num_envs: int,
        layout: str | Layout = "C-static",
        reward: Literal["sparse", "dense", "shaped"] = "sparse",
        step_cost: bool = False,
        steps: int = 300,
        rays: int = 16,
        random_start: bool = True,
        random_goal: bool = False,
        mover_velocities: bool = False,
    ) -> None:
        if isinstance(layout, str):
            if layout not in LAYOUTS:
                raise ValueError(f"AGVWarehouse: no layout is called {layout!r}; there are {', '.join(LAYOUTS)}")
            layout = LAYOUTS[layout]
        layout.check(RADIUS, MOVER_RADIUS)
        if rays < 1:
            raise ValueError(f"AGVWarehouse: rays must be at least 1, got {rays}")
        if reward not in ("sparse", "dense", "shaped"):
            raise ValueError(f"AGVWarehouse: reward is 'sparse', 'dense' or 'shaped', not {reward!r}")
        shown: dict[str, spaces.Space] = {
            "place": spaces.Box(0.0, 1.0, (2,), np.float32),
            "motion": spaces.Box(-1.0, 1.0, (5,), np.float32),
            "lidar": spaces.Box(0.0, 1.0, (rays,), np.float32),
        }
        if mover_velocities:
            shown["movers"] = spaces.Box(-1.0, 1.0, (4,), np.float32)
        super().__init__(
            num_envs=num_envs,
            observation_space=spaces.Dict(shown),
            action_space=spaces.Box(-1.0, 1.0, (2,), np.float32),
            steps=steps,
        )
        self.layout, self.reward, self.step_cost, self.rays = layout, reward, step_cost, rays
        self.random_start, self.random_goal, self.mover_velocities = random_start, random_goal, mover_velocities
        self.boxes, self.paths = layout.boxes, layout.paths
        self.place, self.goal = np.zeros((num_envs, 2)), np.zeros((num_envs, 2))
        self.heading, self.speed = np.zeros(num_envs), np.zeros(num_envs)
        self.phase = np.zeros((num_envs, len(self.paths)))  # where on its way there (0-1) and back (1-2) a mover began
        self.trail = np.zeros((num_envs, steps + 1, 2), np.float32)
        self.hit = np.zeros(num_envs, bool)
        self.visited = np.zeros((int(np.ceil(layout.size[1])), int(np.ceil(layout.size[0]))), bool)
        self._fields: dict[bytes, np.ndarray] = {}
        self._far = np.zeros(num_envs)  # metres to the goal, as `reward` measures them

    def movers(self, games: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places and velocities [n, M, 2] of these games' movers after `time` [n] steps."""
        begin, way = self.paths[:, 0], self.paths[:, 1] - self.paths[:, 0]
        length = np.maximum(np.sqrt((way**2).sum(-1)), 1e-9)
        turn = (self.phase[games] + time[:, None] * DT * MOVER_SPEED / length) % 2
        place = begin + (1 - np.abs(1 - turn))[..., None] * way
        return place, np.where(turn < 1, 1.0, -1.0)[..., None] * way * (MOVER_SPEED / length)[:, None]

    def _begin(self, games: np.ndarray) -> None:
        layout = self.layout
        for i in games.tolist():
            x0, y0, x1, y1 = layout.start
            share = self.generators[i].random(5 + len(self.paths))  # always all of them: the options change no other
            at, turn = (share[:2], share[2]) if self.random_start else (0.5, 0.5)
            self.place[i] = np.array([x0, y0]) + at * np.array([x1 - x0, y1 - y0])
            self.heading[i] = layout.heading[0] + turn * (layout.heading[1] - layout.heading[0])
            x0, y0, x1, y1 = layout.goal
            at = share[3:5] if self.random_goal else 0.5
            self.goal[i] = np.array([x0, y0]) + at * np.array([x1 - x0, y1 - y0])
            self.phase[i] = 2 * share[5:]
        self.speed[games], self.hit[games] = 0.0, False
        self.trail[games, 0] = self.place[games]
        self._far[games] = self._distance(games)
        self._mark(games)

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.speed[games] = speed = np.clip(self.speed[games] + actions[:, 0] * (ACC_MAX * DT), -U_REV, U_MAX)
        self.heading[games] = heading = self.heading[games] + actions[:, 1] * (W_MAX * DT)
        self.place[games] += (speed * DT * np.array([np.cos(heading), np.sin(heading)])).T
        place, time = self.place[games], self.time[games] + 1
        self.trail[games, time] = place
        self._mark(games)

        hit = clearance(place, self.boxes, self.layout.size) < RADIUS
        if len(self.paths):
            apart = self.movers(games, time)[0] - place[:, None]
            hit |= ((apart**2).sum(-1) < (RADIUS + MOVER_RADIUS) ** 2).any(-1)
        self.hit[games] = hit
        there = ~hit & (((self.goal[games] - place) ** 2).sum(-1) < GOAL_RADIUS**2)
        reward = there.astype(float) - hit - self.step_cost / self.steps
        if self.reward != "sparse":
            before, self._far[games] = self._far[games], self._distance(games)
            reward += before - self._far[games]
        return reward, hit | there

    def _show(self) -> dict[str, np.ndarray]:
        every, size = np.arange(self.num_envs), self.layout.size
        discs, velocity = self.movers(every, self.time)
        sin, cos = np.sin(self.heading), np.cos(self.heading)
        body = np.array([[cos, sin], [-sin, cos]]).transpose(2, 0, 1)  # [N, 2, 2]: ahead, left
        motion = np.empty((self.num_envs, 5), np.float32)
        motion[:, 0], motion[:, 1], motion[:, 2] = sin, cos, self.speed / U_MAX
        motion[:, 3:] = np.einsum("nij,nj->ni", body, self.goal - self.place) / np.hypot(*size)
        seen = ranges(self.place, self.heading, self.rays, self.boxes, discs, MOVER_RADIUS, size, REACH)
        shown = {"place": (self.place / size).astype(np.float32), "motion": motion}
        shown["lidar"] = (seen / REACH).astype(np.float32)
        if self.mover_velocities:
            nearest = np.argsort(((discs - self.place[:, None]) ** 2).sum(-1), 1)[:, :2]
            two = np.zeros((self.num_envs, 2, 2))
            two[:, : nearest.shape[1]] = np.take_along_axis(velocity, nearest[..., None], 1) / MOVER_SPEED
            shown["movers"] = np.einsum("nij,nkj->nki", body, two).reshape(-1, 4).clip(-1, 1).astype(np.float32)
        return shown

    def _told(self, game: int) -> dict[str, Any]:
        away = np.sqrt(((self.goal[game] - self.place[game]) ** 2).sum())
        return {"collision": self.hit[game], "distance": away, "cells": self.visited.sum()}

    def _mark(self, games: np.ndarray) -> None:
        x, y = self.place[games].astype(int).T
        self.visited[y, x] = True

    def _distance(self, games: np.ndarray) -> np.ndarray:
        """What "dense" and "shaped" pay the decrease of, in metres [n]."""
        if self.reward != "shaped":
            return np.sqrt(((self.goal[games] - self.place[games]) ** 2).sum(-1))
        away = np.zeros(len(games))
        keys = [goal.tobytes() for goal in np.floor(self.goal[games] / CELL)]
        for key in set(keys):
            mine = np.array([k == key for k in keys])
            if key not in self._fields:
                self._fields[key] = self.layout.driving_distance(self.goal[games[mine.argmax()]], RADIUS)
            away[mine] = look_up(self._fields[key], self.place[games[mine]])
        return away

    def picture(self, game: int = 0) -> np.ndarray:
        """The warehouse from above with the vehicle, its lidar and its trail; 20 pixels a metre."""
        from guerdon.tasks.agv_picture import draw

        return draw(self, game)
