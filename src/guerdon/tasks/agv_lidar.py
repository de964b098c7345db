"""Distances in a flat world of boxes and discs: what a laser sees, and how near the next obstacle is."""

from __future__ import annotations

import numpy as np

_TINY = 1e-12  # in place of 0 in a ray's direction: its quotients then are huge instead of undefined


def ranges(
    origin: np.ndarray, heading: np.ndarray, rays: int, boxes: np.ndarray, discs: np.ndarray, radius: float,
    size: tuple[float, float], reach: float,
) -> np.ndarray:  # fmt: skip
    """How far each ray of N lasers flies, in metres: [N, rays], at most `reach`.

    Rays begin at `origin` [N, 2] inside the world, at equal angles counter-clockwise from `heading` [N] (ray 0 looks
    ahead), and end at the outer walls of a world of `size`, at `boxes` [K, 4] (x0, y0, x1, y1) or at discs [N, M, 2] of
    `radius`. A ray that begins in an obstacle has range 0.
    """
    angle = heading[:, None] + np.arange(rays) * (2 * np.pi / rays)
    dx, dy = (np.where(np.abs(d) < _TINY, _TINY, d)[..., None] for d in (np.cos(angle), np.sin(angle)))  # [N, R, 1]
    x, y = origin[:, 0, None, None], origin[:, 1, None, None]
    seen = np.minimum((np.where(dx > 0, size[0], 0.0) - x) / dx, (np.where(dy > 0, size[1], 0.0) - y) / dy)[..., 0]
    if len(boxes):
        x0, x1 = (boxes[:, 0] - x) / dx, (boxes[:, 2] - x) / dx  # [N, R, K]: when the ray crosses each side's line
        y0, y1 = (boxes[:, 1] - y) / dy, (boxes[:, 3] - y) / dy
        enter = np.maximum(np.minimum(x0, x1), np.minimum(y0, y1))
        leave = np.minimum(np.maximum(x0, x1), np.maximum(y0, y1))
        hit = (enter <= leave) & (leave >= 0)
        seen = np.minimum(seen, np.where(hit, np.maximum(enter, 0.0), np.inf).min(-1))
    if discs.shape[1]:
        to_x, to_y = discs[:, None, :, 0] - x, discs[:, None, :, 1] - y  # [N, 1, M]
        ahead = to_x * dx + to_y * dy
        square = radius**2 - (to_x**2 + to_y**2 - ahead**2)  # of half the chord
        half = np.sqrt(np.maximum(square, 0.0))
        hit = (square >= 0) & (ahead + half >= 0)
        seen = np.minimum(seen, np.where(hit, np.maximum(ahead - half, 0.0), np.inf).min(-1))
    return np.clip(seen, 0.0, reach)


def clearance(points: np.ndarray, boxes: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Distance in metres of each point [..., 2] from the nearest box or outer wall; 0 in a box, negative outside."""
    x, y = points[..., 0, None], points[..., 1, None]
    walls = np.minimum(np.minimum(x, size[0] - x), np.minimum(y, size[1] - y))[..., 0]
    if not len(boxes):
        return walls
    aside = np.maximum(np.maximum(boxes[:, 0] - x, x - boxes[:, 2]), 0.0)
    above = np.maximum(np.maximum(boxes[:, 1] - y, y - boxes[:, 3]), 0.0)
    return np.minimum(walls, np.sqrt((aside**2 + above**2).min(-1)))
