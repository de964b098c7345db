"""A reward of guerdon for OpenRLHF: --reward.remote_url examples/openrlhf_reward.py --data.label_key answer."""

from guerdon.adapters.openrlhf import reward_function

reward_func = reward_function("0.2 * ExactMatch() + 0.8 * MathVerify()", unscored=0.0)
