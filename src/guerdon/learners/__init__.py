"""How does a policy improve? PPO for control, TextLearner for language models, and the runs around them."""

from guerdon.learners.descent import Descent
from guerdon.learners.dpo import DPO
from guerdon.learners.ppo import PPO
from guerdon.learners.samplers import GroupSampler
from guerdon.learners.stored_groups import StoredGroups
from guerdon.learners.subpo import SubPO
from guerdon.learners.text import TextLearner

__all__ = ["DPO", "PPO", "Descent", "GroupSampler", "StoredGroups", "SubPO", "TextLearner"]
