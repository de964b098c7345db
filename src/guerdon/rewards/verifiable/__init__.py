"""Is it right? Rewards that check an answer."""

from guerdon.rewards.verifiable.abstention import SALU
from guerdon.rewards.verifiable.countdown import Countdown
from guerdon.rewards.verifiable.dual_reconstruction import DualReconstruction
from guerdon.rewards.verifiable.exact_match import ExactMatch
from guerdon.rewards.verifiable.integration import Integration
from guerdon.rewards.verifiable.math_verify import MathVerify
from guerdon.rewards.verifiable.next_segment import NextSegment
from guerdon.rewards.verifiable.self_verification import SelfVerification
from guerdon.rewards.verifiable.token_f1 import TokenF1

__all__ = [
    "SALU",
    "Countdown",
    "DualReconstruction",
    "ExactMatch",
    "Integration",
    "MathVerify",
    "NextSegment",
    "SelfVerification",
    "TokenF1",
]
