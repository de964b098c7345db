"""Gardens: a walled plot of 40 x 40 m whose goal lies behind two narrow doors, and nothing pays on the way there.

Three walls with a door each make four gardens. A walker of radius 0.25 m starts in the first one and strides half a
metre into one of eight directions. It knows where it is, feels the distance to walls on 32 rays, and sees landmarks
(three in each garden) and the goal when they are near and nothing stands between. Reaching the goal pays 1 and ends
the episode; else it is truncated after 600 steps. Undirected search does not get through the first door.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from guerdon.tasks.array_task import ArrayTask

SIZE, RADIUS, STRIDE, SIGHT, REACH = 40.0, 0.25, 0.5, 6.0, 1.0
"""Metres: side of the plot, radius of the walker, a step, how far rays and eyes go, how near the goal is reached."""

GOAL = np.array([36.0, 4.0])
HEADINGS = np.arange(8) * np.pi / 4
"""Direction of each action, radians from the x axis."""
RAYS = np.arange(32) * np.pi / 16
"""Direction of each ray, likewise."""

_DOOR, _WALL = 1.6, 0.2  # metres: width of a door, half the thickness of a wall
_SHOWN, _DESCRIPTOR = 4, 8  # landmarks shown at once, nearest first; entries of a descriptor


class Gardens(ArrayTask):
    """`num_envs` walkers in gardens of one layout.

    Observation, in metres: "position" [2]; "cell" [2], the same rounded down, for counts of visits; "ranges" [32] from
    the walker's centre to the next wall, at most 6; "goal" [3], whether it is seen and where it is from here; "bump"
    [1], whether the last step ran into something and so led nowhere; and of the four nearest landmarks in view
    "descriptor" [4, 8] (a unit vector, with noise), "offset" [4, 2] from here (with noise) and "confidence" [4], 0
    where there is no such landmark. ``finished`` tells ``bumps`` and ``cells``, the square metres that the episode set
    foot on.

    Args:
        num_envs: walkers side by side.
        steps: moves until an episode is truncated.
        layout: seed of where doors and landmarks are, and what landmarks look like.
        slip: standard deviation of a step's error along each axis, metres.
        blur: that of a landmark's place as it is seen, metres.
        haze: that of each entry of a descriptor.

    Raises:
        ValueError: a standard deviation below 0, and what `ArrayTask` raises.
    """

    headings, rays, sight, stride, radius = HEADINGS, RAYS, SIGHT, STRIDE, RADIUS

    def __init__(
        self,
        *,
        num_envs: int,
        steps: int = 600,
        layout: int = 0,
        slip: float = 0.03,
        blur: float = 0.1,
        haze: float = 0.05,
    ) -> None:
        if min(slip, blur, haze) < 0:
            raise ValueError(f"Gardens: slip, blur and haze are standard deviations, got {slip}, {blur}, {haze}")
        shown: dict[str, spaces.Space] = {
            "position": spaces.Box(0.0, SIZE, (2,), np.float32),
            "cell": spaces.Box(0.0, SIZE, (2,), np.float32),
            "ranges": spaces.Box(0.0, SIGHT, (len(RAYS),), np.float32),
            "goal": spaces.Box(np.array([0, -SIGHT, -SIGHT], np.float32), np.array([1, SIGHT, SIGHT], np.float32)),
            "bump": spaces.Box(0.0, 1.0, (1,), np.float32),
            "descriptor": spaces.Box(-2.0, 2.0, (_SHOWN, _DESCRIPTOR), np.float32),
            "offset": spaces.Box(-2 * SIGHT, 2 * SIGHT, (_SHOWN, 2), np.float32),
            "confidence": spaces.Box(0.0, 1.0, (_SHOWN,), np.float32),
        }
        super().__init__(
            num_envs=num_envs,
            observation_space=spaces.Dict(shown),
            action_space=spaces.Discrete(len(HEADINGS)),
            steps=steps,
        )
        self.slip, self.blur, self.haze = slip, blur, haze
        self.walls, self.landmarks, self.descriptors = _lay_out(np.random.default_rng(layout))
        self.position = np.zeros((num_envs, 2))
        self.cells = np.zeros((num_envs, int(SIZE) ** 2), bool)  # trodden in this episode
        self._bump = np.zeros(num_envs, bool)
        self._bumps = np.zeros(num_envs, np.int64)
        self._draws = np.zeros((num_envs, steps + 1, 2 + _SHOWN * (2 + _DESCRIPTOR)), np.float32)  # standard normal

    def free(self, position: np.ndarray) -> np.ndarray:
        """[...] bool: whether a walker can stand at `position` [..., 2]."""
        x, y = position[..., 0, None], position[..., 1, None]
        west, south, east, north = (self.walls + RADIUS * np.array([-1.0, -1.0, 1.0, 1.0])).T
        hit = ((x > west) & (x < east) & (y > south) & (y < north)).any(-1)
        return ~hit & (position >= RADIUS).all(-1) & (position <= SIZE - RADIUS).all(-1)

    def _begin(self, games: np.ndarray) -> None:
        for i in games.tolist():
            self.position[i] = self.generators[i].uniform(2.0, 12.0, 2)
            self._draws[i] = self.generators[i].standard_normal(self._draws[i].shape, np.float32)
        self._bumps[games] = 0
        self._bump[games] = self.cells[games] = False
        self._tread(games)

    def _move(self, games: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        slip = self.slip * self._draws[games, self.time[games], :2]
        there = self.position[games] + STRIDE * _unit(HEADINGS[actions]) + slip
        free = self.free(there)  # walls are thicker than a step is long, so that none is jumped
        self.position[games] = np.where(free[:, None], there, self.position[games])
        self._bump[games] = ~free
        self._bumps[games] += ~free
        self._tread(games)
        reached = np.linalg.norm(self.position[games] - GOAL, axis=1) < REACH
        return reached.astype(np.float32), reached

    def _tread(self, games: np.ndarray) -> None:
        x, y = self.position[games].astype(int).T
        self.cells[games, y * int(SIZE) + x] = True

    def _show(self) -> dict[str, np.ndarray]:
        things = np.concatenate([self.landmarks, GOAL[None]])
        away = things - self.position[:, None]  # [B, 13, 2]
        rays = np.broadcast_to(_unit(RAYS), (self.num_envs, len(RAYS), 2))
        clear = self._clear(np.concatenate([rays, away], 1))
        distance = np.linalg.norm(away, axis=-1)
        seen = (clear[:, len(RAYS) :] > 1.0) & (distance < SIGHT)
        goal = np.concatenate([np.ones((self.num_envs, 1)), away[:, -1]], 1) * seen[:, -1:]
        distance = np.where(seen, distance, np.inf)[:, :-1]
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :_SHOWN]
        there = np.isfinite(np.take_along_axis(distance, nearest, 1))
        noise = self._draws[np.arange(self.num_envs), self.time, 2:].reshape(self.num_envs, _SHOWN, -1)
        offset = np.take_along_axis(away, nearest[..., None], 1) + self.blur * noise[..., :2]
        descriptor = self.descriptors[nearest] + self.haze * noise[..., 2:]
        shown = {
            "position": self.position,
            "cell": np.floor(self.position),
            "ranges": np.minimum(clear[:, : len(RAYS)], SIGHT),
            "goal": goal,
            "bump": self._bump[:, None],
            "descriptor": np.clip(descriptor, -2.0, 2.0) * there[..., None],
            "offset": np.clip(offset, -2 * SIGHT, 2 * SIGHT) * there[..., None],
            "confidence": there,
        }
        return {key: value.astype(np.float32) for key, value in shown.items()}

    def _told(self, game: int) -> dict[str, Any]:
        return {"bumps": self._bumps[game], "cells": self.cells[game].sum()}

    def picture(self, game: int = 0) -> np.ndarray:
        """The gardens from above, north up, 8 pixels a metre; trodden ground is light."""
        centre = (np.arange(int(SIZE) * 8) + 0.5) / 8
        place = np.stack(np.meshgrid(centre, centre[::-1]), -1)
        image = np.full((*place.shape[:2], 3), (198, 216, 176), np.uint8)
        trodden = self.cells[game].reshape(int(SIZE), int(SIZE))
        image[trodden[place[..., 1].astype(int), place[..., 0].astype(int)]] = (236, 232, 206)
        for west, south, east, north in self.walls:
            image[((place > (west, south)) & (place < (east, north))).all(-1)] = (72, 84, 62)
        things = [(GOAL, REACH, (222, 160, 22)), *((spot, 0.5, (92, 74, 160)) for spot in self.landmarks)]
        for spot, radius, colour in [*things, (self.position[game], 2 * RADIUS, (200, 44, 44))]:
            image[np.linalg.norm(place - spot, axis=-1) < radius] = colour
        return image

    def _clear(self, towards: np.ndarray) -> np.ndarray:
        """[B, n]: how many times `towards` [B, n, 2] one can go from each walker before a wall is met."""
        step = np.where(np.abs(towards) < 1e-9, 1e-9, towards)
        here = self.position[:, None]
        fence = np.where(step > 0, SIZE - here, -here) / step
        nearest = np.minimum(fence[..., 0], fence[..., 1])
        (x, y), (dx, dy) = (np.moveaxis(v, -1, 0) for v in (here, step))
        for west, south, east, north in self.walls:  # slabs, a wall at a time: faster than one more axis
            a, b, c, d = (west - x) / dx, (east - x) / dx, (south - y) / dy, (north - y) / dy
            enter = np.maximum(np.minimum(a, b), np.minimum(c, d))
            leave = np.minimum(np.maximum(a, b), np.maximum(c, d))
            nearest = np.where((enter < leave) & (leave > 0), np.minimum(nearest, enter), nearest)
        return np.maximum(nearest, 0.0)


def _unit(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _lay_out(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walls [6, 4] as west, south, east, north; landmarks [12, 2], three a garden; their descriptors [12, 8]."""
    first, second, third = rng.uniform(24, 36), rng.uniform(4, 16), rng.uniform(30, 37)  # middles of the doors
    half = _DOOR / 2
    walls = np.array(
        [
            (14 - _WALL, 0, 14 + _WALL, first - half), (14 - _WALL, first + half, 14 + _WALL, SIZE),
            (27 - _WALL, 0, 27 + _WALL, second - half), (27 - _WALL, second + half, 27 + _WALL, SIZE),
            (27 + _WALL, 22 - _WALL, third - half, 22 + _WALL), (third + half, 22 - _WALL, SIZE, 22 + _WALL),
        ]
    )  # fmt: skip
    gardens = [(0, 0, 14, 40), (14, 0, 27, 40), (27, 0, 40, 22), (27, 22, 40, 40)]
    landmarks = np.array([rng.uniform((w + 1.5, s + 1.5), (e - 1.5, n - 1.5)) for w, s, e, n in gardens * 3])
    descriptors = rng.standard_normal((len(landmarks), _DESCRIPTOR))
    return walls, landmarks, descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
