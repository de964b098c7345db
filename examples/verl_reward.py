"""A reward of guerdon for verl, in a file of its own.

    python -m verl.trainer.main_ppo ... \
        reward.custom_reward_function.path=examples/verl_reward.py \
        reward.custom_reward_function.name=compute_score

Without a file, by its dotted name and an expression:

    reward.custom_reward_function.path=pkg://guerdon.adapters.verl \
    '+reward.custom_reward_function.reward_kwargs.reward="MathVerify()"'
"""

from guerdon.adapters.verl import score_function
from guerdon.rewards.verifiable import ExactMatch, MathVerify

# an answer that reads the same is right; one that only means the same is worth a little less
compute_score = score_function(0.2 * ExactMatch() + 0.8 * MathVerify(), unscored=0.0)
