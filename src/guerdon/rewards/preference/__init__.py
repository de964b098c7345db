"""Which of two is better?"""

from guerdon.rewards.preference.bradley_terry import BradleyTerry
from guerdon.rewards.preference.ensemble import Ensemble
from guerdon.rewards.preference.regret import RegretPreference
from guerdon.rewards.preference.reward_model import RewardModel
from guerdon.rewards.preference.route import Route
from guerdon.rewards.preference.vpl import VPL

__all__ = ["VPL", "BradleyTerry", "Ensemble", "RegretPreference", "RewardModel", "Route"]
