"""Which of two is better?"""

from guerdon.rewards.preference.bradley_terry import BradleyTerry
from guerdon.rewards.preference.consistency_filter import ConsistencyFilter
from guerdon.rewards.preference.contrastive_fit import contrastive_fit
from guerdon.rewards.preference.ensemble import Ensemble
from guerdon.rewards.preference.error_driven_curation import ErrorDrivenCuration
from guerdon.rewards.preference.meta_rm import meta_fit
from guerdon.rewards.preference.regret import RegretPreference
from guerdon.rewards.preference.reward_model import RewardModel
from guerdon.rewards.preference.route import Route
from guerdon.rewards.preference.strength_curation import StrengthCuration
from guerdon.rewards.preference.vpl import VPL

__all__ = [
    "VPL",
    "BradleyTerry",
    "ConsistencyFilter",
    "Ensemble",
    "ErrorDrivenCuration",
    "RegretPreference",
    "RewardModel",
    "Route",
    "StrengthCuration",
    "contrastive_fit",
    "meta_fit",
]
