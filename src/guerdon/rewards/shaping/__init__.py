"""How do I blend and bend rewards? Wrappers; nothing is clipped, scaled or normalised unless one of them says so."""

from guerdon.rewards.shaping.extrinsic import Extrinsic

__all__ = ["Extrinsic"]
