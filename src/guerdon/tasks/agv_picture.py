"""An automated guided vehicle's world from above."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from guerdon.tasks import agv
from guerdon.tasks.agv_lidar import ranges

if TYPE_CHECKING:
    from guerdon.tasks.agv import AGVWarehouse

PIXELS = 20
"""A metre."""
_FINER = 3  # drawn so many times larger, then averaged: smooth edges

FLOOR, WALL, SHELF, TRACK = (246, 244, 238), (60, 60, 66), (150, 122, 92), (218, 210, 200)
START, GOAL, MOVER, RAY, TRAIL, VEHICLE = (
    (214, 228, 246), (56, 160, 90), (214, 120, 40), (240, 196, 120), (110, 150, 210), (40, 80, 160),
)  # fmt: skip


def draw(task: AGVWarehouse, game: int) -> np.ndarray:
    """The world of one game, uint8 [H, W, 3], y upwards: tracks, shelves, movers, lidar, trail, goal, vehicle."""
    layout, scale = task.layout, PIXELS * _FINER
    width, height = (round(side * scale) for side in layout.size)
    image = Image.new("RGB", (width, height), FLOOR)
    pen = ImageDraw.Draw(image)

    def at(points: np.ndarray) -> list[tuple[float, float]]:
        return [(float(x) * scale, height - float(y) * scale) for x, y in np.reshape(points, (-1, 2))]

    def box(corners: np.ndarray, colour: tuple[int, int, int]) -> None:
        (x0, y0), (x1, y1) = at(corners)
        pen.rectangle((x0, y1, x1, y0), fill=colour)

    def disc(centre: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
        (x, y), r = at(centre)[0], radius * scale
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def line(points: np.ndarray, colour: tuple[int, int, int], metres: float) -> None:
        pen.line(at(points), fill=colour, width=max(1, round(metres * scale)), joint="curve")

    box(np.array(layout.start), START)
    for path in task.paths:
        line(path, TRACK, 0.1)
    for shelf in task.boxes:
        box(shelf, SHELF)
    place, heading, one = task.place[game], task.heading[game], np.array([game])
    discs = task.movers(one, task.time[one])[0]
    for mover in discs[0]:
        disc(mover, agv.MOVER_RADIUS, MOVER)
    flown = ranges(
        place[None], task.heading[one], task.rays, task.boxes, discs, agv.MOVER_RADIUS, layout.size, agv.REACH
    )
    angles = heading + np.arange(task.rays) * (2 * np.pi / task.rays)
    for angle, length in zip(angles, flown[0], strict=True):
        end = place + length * np.array([np.cos(angle), np.sin(angle)])
        line(np.stack([place, end]), RAY, 0.04)
        if length < agv.REACH:
            disc(end, 0.08, RAY)
    if task.time[game]:
        line(task.trail[game, : task.time[game] + 1], TRAIL, 0.1)
    disc(task.goal[game], agv.GOAL_RADIUS, GOAL)
    disc(place, agv.RADIUS, (200, 50, 40) if task.hit[game] else VEHICLE)
    line(np.stack([place, place + agv.RADIUS * np.array([np.cos(heading), np.sin(heading)])]), (255, 255, 255), 0.12)
    pen.rectangle((0, 0, width - 1, height - 1), outline=WALL, width=_FINER * 2)
    return np.asarray(image.resize((width // _FINER, height // _FINER), Image.Resampling.BOX))
