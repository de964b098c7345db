"""How does a policy improve? PPO, DQN and TopoNav for control, TextLearner for language, and the runs around them."""

from guerdon.learners.descent import Descent
from guerdon.learners.dpo import DPO
from guerdon.learners.dqn import DQN
from guerdon.learners.ppo import PPO
from guerdon.learners.samplers import GroupSampler
from guerdon.learners.stored_groups import StoredGroups
from guerdon.learners.subpo import SubPO
from guerdon.learners.text import TextLearner
from guerdon.learners.toponav import TopoNav

__all__ = ["DPO", "DQN", "PPO", "Descent", "GroupSampler", "StoredGroups", "SubPO", "TextLearner", "TopoNav"]
