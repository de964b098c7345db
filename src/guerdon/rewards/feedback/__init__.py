"""What does a language model say of it?"""

from guerdon.rewards.feedback.ellm import ELLM
from guerdon.rewards.feedback.flr import FLR
from guerdon.rewards.feedback.motif import Motif
from guerdon.rewards.feedback.nous import EntropyReduction
from guerdon.rewards.feedback.oni import ONI

__all__ = ["ELLM", "FLR", "ONI", "EntropyReduction", "Motif"]
