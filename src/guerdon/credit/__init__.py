"""Who earned it? What turns rewards into advantages: one small callable a method."""

from guerdon.credit.dynamic_sampling import DynamicSampling
from guerdon.credit.ema_std_filter import EmaStdFilter
from guerdon.credit.gigpo import GiGPO
from guerdon.credit.group import GroupAdvantage
from guerdon.credit.igpo import TurnReturns
from guerdon.credit.jepo import JEPOAdvantage
from guerdon.credit.pf_ppo import PolicyFiltration

__all__ = [
    "DynamicSampling",
    "EmaStdFilter",
    "GiGPO",
    "GroupAdvantage",
    "JEPOAdvantage",
    "PolicyFiltration",
    "TurnReturns",
]
