"""The claim script of the learner from end to end, at a size that claims nothing."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn

from guerdon.learners.ppo import PPO
from guerdon.rewards.shaping.extrinsic import Extrinsic
from guerdon.tasks import make

CLAIMS = Path(__file__).parents[2] / "claims"


@pytest.fixture(scope="module")
def claim():
    for package in ("minigrid", "stable_baselines3"):
        pytest.importorskip(package)
    sys.path.insert(0, str(CLAIMS))  # where the script finds `_claim`
    spec = importlib.util.spec_from_file_location("claim_ppo", CLAIMS / "ppo.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["claim_ppo"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    yield module
    sys.path.remove(str(CLAIMS))
    del sys.modules["claim_ppo"]


@pytest.fixture(scope="module")
def result(claim, tmp_path_factory):
    out = tmp_path_factory.mktemp("claim")
    returned = claim.main(["--toy", "--seeds", "3", "--workers", "1", "--out", str(out)])
    written = json.loads((out / "ppo.toy.json").read_text())
    assert written == json.loads(json.dumps(returned))
    return written | {"folder": out}


def networks(claim, name):
    """Both sides' networks for one task, as they start."""
    task = claim.TASKS[name]
    learner = PPO(**task.learner, width=task.width, hidden=task.hidden, keys=task.keys)
    games = make(task.id, num_envs=2, captions=False)
    learner.build(games, Extrinsic(), seed=0)
    games.close()
    filtered = {"wrapper_class": claim.FilterObservation, "wrapper_kwargs": {"filter_keys": task.keys}}
    env = claim.make_vec_env(task.id, n_envs=task.envs, seed=0, **(filtered if task.keys else {}))
    model = claim.stable(task, env, 0)
    return learner.policy, model, env


def layers(ours, theirs, shared):
    """Our modules beside theirs."""
    if shared:
        pairs = [(ours.encoder, theirs.features_extractor.encoder), (ours.core, theirs.features_extractor.core)]
    else:
        pi, vf = theirs.mlp_extractor.policy_net, theirs.mlp_extractor.value_net
        pairs = [(ours.encoder.encoders["obs"].layers, pi[:4]), (ours.core, nn.Sequential(*pi[4:]))]
        pairs += [(ours.critic_encoder.encoders["obs"].layers, vf[:4]), (ours.critic_core, nn.Sequential(*vf[4:]))]
    return [*pairs, (ours.actor, theirs.action_net), (ours.critic, theirs.value_net)]


@pytest.mark.parametrize("name", ["CartPole", "MiniGrid"])
def test_both_sides_have_the_same_layers(claim, name):
    ours, model, env = networks(claim, name)
    env.close()

    def shapes(parameters):
        return sorted(tuple(p.shape) for p in parameters)

    assert shapes(ours.parameters()) == shapes(set(model.policy.parameters()))


@pytest.mark.parametrize("name", ["CartPole", "MiniGrid"])
def test_with_the_same_weights_both_sides_see_and_think_the_same(claim, name):
    """Nothing is scaled, moved or left out on the way into either network."""
    ours, model, env = networks(claim, name)
    task, theirs = claim.TASKS[name], model.policy
    for mine, other in layers(ours, theirs, bool(task.keys)):
        mine.load_state_dict(other.state_dict())
    seen = env.reset()
    for _ in range(5):
        seen, *_ = env.step([env.action_space.sample() for _ in range(task.envs)])
    env.close()
    raw = seen if task.keys else {"obs": seen}
    out = ours({k: torch.as_tensor(v) for k, v in raw.items()})
    shown = theirs.obs_to_tensor(seen)[0]
    torch.testing.assert_close(out.logits.log_softmax(-1), theirs.get_distribution(shown).distribution.logits)
    torch.testing.assert_close(out.value, theirs.predict_values(shown))


def test_the_result_has_the_agreed_form(result):
    assert (result["claim"], result["seeds"]) == ("ppo", [3])
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 6
    for check in result["checks"]:
        assert check["low"] <= check["measured"] <= check["high"]


def test_both_sides_took_the_same_steps_and_really_played(result):
    runs = result["seen"]["runs"]
    assert len(runs) == 4
    for name in ("CartPole", "MiniGrid"):
        assert len({run["steps"] for run in runs if run["task"] == name}) == 1
    for run in runs:
        assert 0 < run["episodes"] < run["steps"]
        assert 0 <= run["score"] < 0.75, "nobody learns in five iterations"
        assert len(run["curve"]) == 10


def test_no_worse_is_ours_minus_theirs_seed_by_seed(result):
    score = {(run["task"], run["side"], run["seed"]): run["score"] for run in result["seen"]["runs"]}
    check = next(c for c in result["checks"] if c["name"] == "CartPole: no worse")
    wanted = [score["CartPole", "guerdon", s] - score["CartPole", "Stable-Baselines3", s] for s in (3,)]
    assert check["by_seed"] == pytest.approx(wanted)


def test_finished_runs_are_not_run_again(claim, result, monkeypatch):
    monkeypatch.setattr(claim, "SIDES", dict.fromkeys(claim.SIDES))  # calling one would fail
    again = claim.main(["--toy", "--seeds", "3", "--workers", "1", "--out", str(result["folder"])])
    assert again["checks"] == result["checks"]


def test_the_same_rollout_changes_both_networks_alike(claim):
    """Advantages, losses, clipping and ten steps of the optimiser, of whole rollouts, where order plays no part."""
    task = claim.replace(
        claim.TASKS["CartPole"], learner=claim.TASKS["CartPole"].learner | {"minibatches": 1, "lr": 1e-3}
    )
    size = task.learner["rollout"]
    env = claim.make_vec_env(task.id, n_envs=task.envs, seed=0)
    model = claim.stable(task, env, 0)
    _, callback = model._setup_learn(1024)
    model.collect_rollouts(env, callback, model.rollout_buffer, size)
    games = make(task.id, num_envs=task.envs, captions=False)
    learner = PPO(**task.learner, value_coef=1.0, width=task.width, hidden=task.hidden)
    learner.build(games, Extrinsic(), seed=0)
    for mine, other in layers(learner.policy, model.policy, False):
        mine.load_state_dict(other.state_dict())
    start = [p.clone() for p in learner.policy.parameters()]
    buffer = model.rollout_buffer
    obs = torch.as_tensor(np.concatenate([buffer.observations, model._last_obs[None]]))
    begins = np.concatenate([buffer.episode_starts[1:], model._last_episode_starts[None]]).astype(bool)
    collected = learner.collect()
    values = learner.policy({"obs": obs.flatten(0, 1)}).value.view(size + 1, task.envs, 1).detach()
    rollout = collected.rollout.replace(  # type: ignore[attr-defined]
        obs=TensorDict({"obs": obs}, [size + 1, task.envs]),
        action=torch.as_tensor(buffer.actions[..., 0]).long(),
        extrinsic=torch.as_tensor(buffer.rewards), log_prob=torch.as_tensor(buffer.log_probs),
        terminated=torch.as_tensor(begins), truncated=torch.zeros(size, task.envs, dtype=torch.bool),
        valid=torch.ones(size, task.envs, dtype=torch.bool),
    )  # fmt: skip
    assert begins.sum() > 20
    collected = collected._replace(rollout=rollout, value=values)
    model.train()
    learner.learn(collected, learner.score(rollout))
    games.close()
    env.close()
    moved = max(float((p - q).detach().abs().max()) for p, q in zip(learner.policy.parameters(), start, strict=True))
    assert moved > 5e-3
    for mine, other in layers(learner.policy, model.policy, False):
        for p, q in zip(mine.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, atol=0.05 * moved, rtol=0)
