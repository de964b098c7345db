"""What computes? Policy networks, encoders and language models."""

from guerdon.models.policy import ActorCritic

__all__ = ["ActorCritic"]
