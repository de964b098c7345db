"""Who earned it? What turns rewards into advantages: one small callable a method."""

from guerdon.credit.gigpo import GiGPO
from guerdon.credit.group import GroupAdvantage

__all__ = ["GiGPO", "GroupAdvantage"]
