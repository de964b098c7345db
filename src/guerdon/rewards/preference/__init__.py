"""Which of two is better?"""

from guerdon.rewards.preference.bradley_terry import BradleyTerry

__all__ = ["BradleyTerry"]
