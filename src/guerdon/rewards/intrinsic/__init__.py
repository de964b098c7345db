"""How do I explore when nothing pays?"""

from guerdon.rewards.intrinsic.disagreement import Disagreement
from guerdon.rewards.intrinsic.drnd import DRND
from guerdon.rewards.intrinsic.icm import ICM
from guerdon.rewards.intrinsic.rdd import RDD
from guerdon.rewards.intrinsic.rnd import RND

__all__ = [
    "DRND",
    "ICM",
    "RDD",
    "RND",
    "Disagreement",
]
