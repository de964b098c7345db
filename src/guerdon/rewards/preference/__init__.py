"""Which of two is better?"""

from guerdon.rewards.preference.bradley_terry import BradleyTerry
from guerdon.rewards.preference.regret import RegretPreference
from guerdon.rewards.preference.vpl import VPL

__all__ = ["VPL", "BradleyTerry", "RegretPreference"]
