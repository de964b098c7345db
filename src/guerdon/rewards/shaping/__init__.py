"""How do I blend and bend rewards? Wrappers; nothing is clipped, scaled or normalised unless one of them says so."""

from guerdon.rewards.shaping.anneal import Anneal
from guerdon.rewards.shaping.clip import Clip
from guerdon.rewards.shaping.clip_delta import ClipDelta
from guerdon.rewards.shaping.confidence_gate import ConfidenceGate
from guerdon.rewards.shaping.count_gate import CountGate
from guerdon.rewards.shaping.extrinsic import Extrinsic
from guerdon.rewards.shaping.length import ShortPenalty
from guerdon.rewards.shaping.normalise import Normalise
from guerdon.rewards.shaping.prioritise import Prioritise
from guerdon.rewards.shaping.reference_kl import ReferenceKL
from guerdon.rewards.shaping.repetition import RepetitionPenalty
from guerdon.rewards.shaping.reward_fusion import RewardFusion

__all__ = [
    "Anneal",
    "Clip",
    "ClipDelta",
    "ConfidenceGate",
    "CountGate",
    "Extrinsic",
    "Normalise",
    "Prioritise",
    "ReferenceKL",
    "RepetitionPenalty",
    "RewardFusion",
    "ShortPenalty",
]
