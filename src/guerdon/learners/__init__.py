"""How does a policy improve? PPO for control, and the runs around it."""

from guerdon.learners.ppo import PPO

__all__ = ["PPO"]
