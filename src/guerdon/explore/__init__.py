"""How do I search without a gradient? Maps of places, and which of them to go to next."""

from guerdon.explore.explorer import Explorer
from guerdon.explore.subgoals import Candidates, candidates, choose, novelty
from guerdon.explore.topological_map import TopologicalMap, Way

__all__ = ["Candidates", "Explorer", "TopologicalMap", "Way", "candidates", "choose", "novelty"]
