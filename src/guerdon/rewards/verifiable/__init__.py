"""Is it right? Rewards that check an answer."""

from guerdon.rewards.verifiable.exact_match import ExactMatch
from guerdon.rewards.verifiable.math_verify import MathVerify
from guerdon.rewards.verifiable.token_f1 import TokenF1

__all__ = [
    "ExactMatch",
    "MathVerify",
    "TokenF1",
]
