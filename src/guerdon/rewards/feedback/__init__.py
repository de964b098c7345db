"""What does a language model say of it?"""

from guerdon.rewards.feedback.oni import ONI

__all__ = ["ONI"]
