"""How do I explore when nothing pays?"""

from guerdon.rewards.intrinsic.byol_explore import BYOLExplore
from guerdon.rewards.intrinsic.byol_hindsight import BYOLHindsight
from guerdon.rewards.intrinsic.counts import PseudoCount
from guerdon.rewards.intrinsic.disagreement import Disagreement
from guerdon.rewards.intrinsic.drnd import DRND
from guerdon.rewards.intrinsic.e3b import E3B
from guerdon.rewards.intrinsic.icm import ICM
from guerdon.rewards.intrinsic.ngu import NGU
from guerdon.rewards.intrinsic.rdd import RDD
from guerdon.rewards.intrinsic.re3 import RE3
from guerdon.rewards.intrinsic.revd import REVD
from guerdon.rewards.intrinsic.ride import RIDE
from guerdon.rewards.intrinsic.rise import RISE
from guerdon.rewards.intrinsic.rnd import RND
from guerdon.rewards.intrinsic.submodular import SubmodularReward

__all__ = [
    "DRND",
    "E3B",
    "ICM",
    "NGU",
    "RDD",
    "RE3",
    "REVD",
    "RIDE",
    "RISE",
    "RND",
    "BYOLExplore",
    "BYOLHindsight",
    "Disagreement",
    "PseudoCount",
    "SubmodularReward",
]
