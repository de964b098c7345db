"""PPO in Box action spaces: it learns, log-probabilities are of actions as drawn, a bonus of weight 0 is none."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from guerdon import tasks
from guerdon.expression import parse_reward
from guerdon.learners.ppo import PPO
from guerdon.rewards.shaping import Extrinsic
from guerdon.tasks.array_task import ArrayTask


class Aim(ArrayTask):
    """Shows two numbers x, and pays 1 - |a - x|^2 for the action a, clipped to [-1, 1]^2; one step."""

    def __init__(self, *, num_envs: int) -> None:
        box = spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(num_envs=num_envs, observation_space=spaces.Dict({"x": box}), action_space=box, steps=1)
        self.x = np.zeros((num_envs, 2))

    def _begin(self, games):
        for i in games.tolist():
            self.x[i] = self.generators[i].uniform(-0.8, 0.8, 2)

    def _move(self, games, actions):
        return 1 - ((actions - self.x[games]) ** 2).sum(-1), np.ones(len(games), bool)

    def _show(self):
        return {"x": self.x.astype(np.float32)}


def learner(task, reward, seed: int = 0, **options) -> PPO:
    made = PPO(**{"rollout": 32, "epochs": 8, "lr": 3e-3, "entropy": 0.0, **options})
    made.build(task, reward, seed=seed)
    return made


def iterate(ppo: PPO) -> dict[str, float]:
    collected = ppo.collect()
    logs = ppo.learn(collected, ppo.score(collected.rollout))
    ppo.reward.observe(collected.rollout)
    ppo.reward.update(collected.rollout)
    returns = [e["return"] for e in collected.finished]
    return logs | {"return": sum(returns) / max(1, len(returns))}


def test_it_learns_to_aim_and_grows_surer():
    ppo = learner(Aim(num_envs=32), Extrinsic())
    first = iterate(ppo)
    spread = ppo.policy.log_std.exp().mean().item()
    for _ in range(40):
        last = iterate(ppo)
    assert first["return"] < 0.4
    assert last["return"] > 0.85
    assert ppo.policy.log_std.exp().mean().item() < 0.7 * spread
    x = torch.tensor([[0.5, -0.4]])
    out = ppo.policy({"x": x})
    torch.testing.assert_close(ppo.policy.sample(out.logits, None, greedy=True)[0], x, atol=0.2, rtol=0)


def test_log_probabilities_are_of_actions_as_drawn_though_the_task_clips_them():
    ppo = learner(Aim(num_envs=32), Extrinsic())
    rollout = ppo.collect().rollout
    assert rollout.action.abs().max() > 1.5
    out = ppo.policy({"x": rollout.obs["x"][:-1].flatten(0, 1)})
    again = ppo.policy.log_prob(out.logits, rollout.action.flatten(0, 1))
    torch.testing.assert_close(again.detach(), rollout.log_prob.flatten())
    clipped = rollout.action.clamp(-1, 1)
    paid = 1 - (clipped - rollout.obs["x"][:-1]).square().sum(-1)
    torch.testing.assert_close(rollout.extrinsic[rollout.valid], paid[rollout.valid])


@pytest.mark.parametrize("bonus", ["RND(features=4, hidden=(8,))", "Normalise(RND(features=4, hidden=(8,)))"])
def test_a_bonus_of_weight_nothing_changes_nothing(bonus):
    policies = []
    for reward in ("Extrinsic()", f"Extrinsic() + 0.0 * {bonus}"):
        ppo = learner(tasks.make("AGV-C-static", num_envs=4), parse_reward(reward), seed=3)
        for _ in range(3):
            iterate(ppo)
        policies.append(ppo.policy.state_dict())
    for key, value in policies[0].items():
        torch.testing.assert_close(value, policies[1][key], rtol=0, atol=0)
