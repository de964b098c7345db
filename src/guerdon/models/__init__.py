"""What computes? Policy networks, encoders and language models."""

from guerdon.models.language_model import CausalLM
from guerdon.models.policy import ActorCritic
from guerdon.models.remote_model import RemoteLM
from guerdon.models.tiny_model import tiny_model

__all__ = ["ActorCritic", "CausalLM", "RemoteLM", "tiny_model"]
