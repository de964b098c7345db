"""What does the model itself believe? Rewards made of the likelihood of answers and of confidence."""

from guerdon.rewards.likelihood.certainty import Disparity, SelfCertainty, SequenceProbability, TokenEntropy, TrajectoryEntropy
from guerdon.rewards.likelihood.likelihood import AnswerLikelihood
from guerdon.rewards.likelihood.majority import CoReward, MajorityVote, WeightedVote
from guerdon.rewards.likelihood.semantic import SemanticClusters
from guerdon.rewards.likelihood.verifree import VeriFree

__all__ = ["AnswerLikelihood", "CoReward", "Disparity", "MajorityVote", "SelfCertainty", "SemanticClusters", "SequenceProbability", "TokenEntropy", "TrajectoryEntropy", "VeriFree", "WeightedVote"]
