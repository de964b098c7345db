"""How do I explore when nothing pays?"""

from guerdon.rewards.intrinsic.drnd import DRND
from guerdon.rewards.intrinsic.rdd import RDD
from guerdon.rewards.intrinsic.rnd import RND

__all__ = [
    "DRND",
    "RDD",
    "RND",
]
