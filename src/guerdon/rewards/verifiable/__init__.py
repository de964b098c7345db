"""Is it right? Rewards that check an answer."""

from guerdon.rewards.verifiable.exact_match import ExactMatch

__all__ = [
    "ExactMatch",
]
