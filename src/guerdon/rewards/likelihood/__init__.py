"""What does the model itself believe? Rewards made of the likelihood of answers and of confidence."""

from guerdon.rewards.likelihood.certainty import Disparity, Probability, SelfCertainty, TokenEntropy, TrajectoryEntropy
from guerdon.rewards.likelihood.crew import CRew
from guerdon.rewards.likelihood.information_gain import InformationGain
from guerdon.rewards.likelihood.likelihood import AnswerLikelihood
from guerdon.rewards.likelihood.majority import CoReward, MajorityVote, WeightedVote
from guerdon.rewards.likelihood.nover import NOVER
from guerdon.rewards.likelihood.rlpr import RLPR
from guerdon.rewards.likelihood.semantic import SemanticClusters
from guerdon.rewards.likelihood.verifree import VeriFree

__all__ = [
    "NOVER",
    "RLPR",
    "AnswerLikelihood",
    "CRew",
    "CoReward",
    "Disparity",
    "InformationGain",
    "MajorityVote",
    "Probability",
    "SelfCertainty",
    "SemanticClusters",
    "TokenEntropy",
    "TrajectoryEntropy",
    "VeriFree",
    "WeightedVote",
]
