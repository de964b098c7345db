"""From rewards and values to advantages and value targets: GAE and V-trace over time-major rollouts.

Both skip invalid steps (the reset step of NEXT_STEP autoreset): what stands after an invalid step is carried across
it. At a terminated step the future is worth 0; at a truncated one it is worth the value of the last observation.
With ``episodic=False`` the return runs on across ends, as RND's non-episodic stream does: the future of an ended
episode is the next one's start.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Advantages(NamedTuple):
    """[T, B] each; both 0 at invalid steps."""

    advantage: Tensor
    target: Tensor  # what the value function should have said


def _check(reward: Tensor, value: Tensor, *flags: Tensor) -> None:
    t, b = reward.shape
    if tuple(value.shape) != (t + 1, b) or any(tuple(f.shape) != (t, b) for f in flags):
        shapes = [list(f.shape) for f in flags]
        raise ValueError(
            f"reward [{t}, {b}] needs value [{t + 1}, {b}] and flags [{t}, {b}]; got {list(value.shape)} and {shapes}"
        )


def gae(
    reward: Tensor,
    value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    *,
    gamma: float,
    lam: float,
    episodic: bool = True,
) -> Advantages:
    """Generalised advantage estimation (Schulman et al., 2016).

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}; target = A + V.

    Args:
        reward: [T, B].
        value: [T+1, B]; value[T] stands for the observation after the last step.
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        valid: [T, B] bool.
        gamma: discount.
        lam: trace decay; 1 gives Monte-Carlo returns, 0 the TD error.
        episodic: whether returns end with the episode.

    Raises:
        ValueError: shapes disagree.
    """
    _check(reward, value, terminated, truncated, valid)
    delta_next, keep = _futures(terminated, truncated, episodic)
    advantage = torch.zeros_like(value[:-1])
    next_value, next_advantage = value[-1], torch.zeros_like(value[-1])
    for t in reversed(range(len(reward))):
        future = torch.where(delta_next[t], value[t + 1], next_value) * keep.value[t]
        a = reward[t] + gamma * future - value[t] + gamma * lam * keep.trace[t] * next_advantage
        advantage[t] = torch.where(valid[t], a, 0.0)
        next_value = torch.where(valid[t], value[t], next_value)
        next_advantage = torch.where(valid[t], a, next_advantage)
    return Advantages(advantage, torch.where(valid, advantage + value[:-1], 0.0))


def vtrace(
    reward: Tensor,
    value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    log_ratio: Tensor,
    *,
    gamma: float,
    rho_max: float = 1.0,
    c_max: float = 1.0,
    episodic: bool = True,
) -> Advantages:
    """V-trace (Espeholt et al., 2018) for samples of an older policy.

    delta_t = rho_t (r_t + gamma V_{t+1} - V_t); v_t = V_t + delta_t + gamma c_t (v_{t+1} - V_{t+1});
    A_t = rho_t (r_t + gamma v_{t+1} - V_t), with rho and c the ratio exp(`log_ratio`) cut at `rho_max` and `c_max`.
    The rollout's end bootstraps from value[T] (ONI's release substitutes (V_T - r_T) / gamma, which only hides that
    it holds no value there). Shapes and errors as in `gae`; `log_ratio` is [T, B], new minus old log-probability.
    """
    _check(reward, value, terminated, truncated, valid, log_ratio)
    ratio = log_ratio.exp()
    rho, c = ratio.clamp(max=rho_max), ratio.clamp(max=c_max)
    own_next, keep = _futures(terminated, truncated, episodic)
    advantage, target = torch.zeros_like(value[:-1]), torch.zeros_like(value[:-1])
    next_value, next_excess = value[-1], torch.zeros_like(value[-1])  # V_{t+1} and v_{t+1} - V_{t+1}
    for t in reversed(range(len(reward))):
        future = torch.where(own_next[t], value[t + 1], next_value) * keep.value[t]
        excess_next = keep.trace[t] * next_excess
        td = rho[t] * (reward[t] + gamma * future - value[t])
        excess = td + gamma * c[t] * excess_next
        advantage[t] = torch.where(valid[t], td + gamma * rho[t] * excess_next, 0.0)
        target[t] = torch.where(valid[t], value[t] + excess, 0.0)
        next_value = torch.where(valid[t], value[t], next_value)
        next_excess = torch.where(valid[t], excess, next_excess)
    return Advantages(advantage, target)


class _Keep(NamedTuple):
    value: Tensor
    trace: Tensor


def _futures(terminated: Tensor, truncated: Tensor, episodic: bool) -> tuple[Tensor, _Keep]:
    """Where the future is the step's own last observation, and what of value and trace survives each step."""
    if not episodic:
        ones = torch.ones_like(terminated, dtype=torch.float32)
        return torch.zeros_like(terminated), _Keep(ones, ones)
    return truncated & ~terminated, _Keep((~terminated).float(), (~(terminated | truncated)).float())
