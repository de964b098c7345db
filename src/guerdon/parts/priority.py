"""Objectives in order of urgency: the first that is triggered acts, and all below it wait.

The rule of TopoNav's hierarchical objectives (Hossain et al., 2024, https://arxiv.org/abs/2402.04061; reconstructed),
and the trigger of its most urgent one, not to run into things.
"""

from __future__ import annotations

import numpy as np


def first_triggered(triggers: np.ndarray) -> np.ndarray:
    """For each of B agents, int [B], the first of L levels whose trigger is on, bool [L, B]; the last is always on.

    Raises:
        ValueError: no levels, or not two dimensions.
    """
    triggers = np.asarray(triggers, bool)
    if triggers.ndim != 2 or not len(triggers):
        raise ValueError(f"triggers must be [levels, agents] with at least one level, got {list(triggers.shape)}")
    return np.where(triggers.any(0), triggers.argmax(0), len(triggers) - 1)


def time_to_collision(
    ranges: np.ndarray, rays: np.ndarray, headings: np.ndarray, *, radius: float, stride: float
) -> np.ndarray:
    """[B, A]: after how many steps into each heading a round body meets the end of a ray; inf where it meets none.

    Args:
        ranges: [B, R], metres from the body's centre to what is there.
        rays: [R], their directions, radians.
        headings: [A], radians.
        radius: of the body, metres.
        stride: metres a step.
    """
    turn = rays - headings[:, None]  # [A, R]
    ahead, aside = ranges[:, None] * np.cos(turn), np.abs(ranges[:, None] * np.sin(turn))
    gap = ahead - np.sqrt(np.maximum(radius**2 - aside**2, 0.0))  # what the body can go before it touches
    met = (aside < radius) & (ahead > 0)
    return np.where(met, np.maximum(gap, 0.0) / stride, np.inf).min(-1)


def in_danger(ranges: np.ndarray, ahead: np.ndarray, *, d_safe: float, tau_safe: float) -> np.ndarray:
    """Where, bool [B], something is nearer than `d_safe` metres, or will be hit within `tau_safe` steps.

    With both 0 nobody ever is; with an infinite `d_safe` everybody always is.

    Args:
        ranges: [B, R].
        ahead: [B], time to collision into the heading that was chosen.
        d_safe: metres from the body's centre.
        tau_safe: steps.
    """
    return (ranges.min(-1) < d_safe) | (ahead < tau_safe)
