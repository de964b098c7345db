"""Gymnasium's own environments and vectors, wrapped: every step is paid for what it led to, however they reset."""

from __future__ import annotations

import functools
import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from adapters.control_rewards import Move, Walk
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from guerdon.adapters.gymnasium import PaidBy, VectorPaidBy
from guerdon.rewards.intrinsic import RND
from guerdon.rewards.shaping import CountGate, Extrinsic, Normalise

LENGTHS = (2, 3, 5)
EXPRESSION = "0.5 * Extrinsic() + adapters.control_rewards:Move() + adapters.control_rewards:Novelty()"


def alone(length: int, actions: list, seed: int, scale: float, box: bool) -> list[tuple[float, float, float]]:
    """One environment stepped by hand: what each step earns from the task, by moving, and by novelty."""
    env, earned, seen = Walk(length, box=box), [], {}
    before, _ = env.reset(seed=seed)
    for action in actions:
        after, reward, terminated, truncated, _ = env.step(action)
        place = tuple(after.round().astype(int))
        seen[place] = seen.get(place, 0) + 1
        earned.append((reward, scale * np.abs(after - before).sum() + 0.1 * np.sum(action), 1 / seen[place]))
        before = after
        if terminated or truncated:
            before, _ = env.reset()
            seen = {}
    return earned


@pytest.mark.parametrize(
    ("kind", "mode", "dictionary"),
    [(SyncVectorEnv, mode, dictionary) for mode in AutoresetMode for dictionary in (False, True)]
    + [(AsyncVectorEnv, AutoresetMode.NEXT_STEP, False), (AsyncVectorEnv, AutoresetMode.SAME_STEP, False)],
)
def test_vectors_pay_what_each_environment_earns_by_itself(kind: type, mode: AutoresetMode, dictionary: bool):
    box = kind is AsyncVectorEnv
    makes = [functools.partial(Walk, length, box=box, dictionary=dictionary) for length in LENGTHS]
    env = VectorPaidBy(kind(makes, autoreset_mode=mode), EXPRESSION, rollout=1000)
    scale = float(env.live.reward.state_dict()["rewards.1.scale"])
    generator = np.random.default_rng(0)
    env.reset(seed=5)
    did, paid = [[] for _ in LENGTHS], [[] for _ in LENGTHS]
    over = np.zeros(3, bool)
    for _ in range(30):
        actions = generator.uniform(-2, 2, (3, 1)).astype(np.float32) if box else generator.integers(3, size=3)
        _, rewards, terminated, truncated, infos = env.step(actions)
        np.testing.assert_array_equal(rewards, infos["reward/total"])
        for i in range(3):
            if mode is AutoresetMode.NEXT_STEP and over[i]:
                assert rewards[i] == infos["reward/Move"][i] == 0
            else:
                did[i].append(actions[i])
                paid[i].append([infos[f"reward/{name}"][i] for name in ("extrinsic", "Move", "Novelty", "Extrinsic")])
                assert rewards[i] == pytest.approx(0.5 * paid[i][-1][0] + sum(paid[i][-1][1:3]), abs=1e-6)
        over = terminated | truncated
        if mode is AutoresetMode.DISABLED and over.any():
            env.reset(options={"reset_mask": over})
    for i, length in enumerate(LENGTHS):
        expected = alone(length, did[i], 5 + i, scale, box)
        np.testing.assert_allclose(np.array(paid[i])[:, :3], expected, atol=1e-5)
        np.testing.assert_allclose(np.array(paid[i])[:, 3], [0.5 * e[0] for e in expected], atol=1e-6)
    assert any(len(d) > 2 * length for d, length in zip(did, LENGTHS, strict=True)), "episodes ended"
    env.close()


def test_one_environment_is_paid_as_by_hand():
    env = PaidBy(Walk(4), EXPRESSION, rollout=1000)
    scale = float(env.live.reward.state_dict()["rewards.1.scale"])
    generator = np.random.default_rng(0)
    env.reset(seed=3)
    did, paid = [], []
    for _ in range(25):
        action = int(generator.integers(3))
        _, reward, terminated, truncated, info = env.step(action)
        assert isinstance(reward, float)
        did.append(action)
        paid.append([info["reward/extrinsic"], info["reward/Move"], info["reward/Novelty"]])
        assert reward == info["reward/total"] == pytest.approx(0.5 * paid[-1][0] + sum(paid[-1][1:]), abs=1e-6)
        if terminated or truncated:
            env.reset()
    np.testing.assert_allclose(paid, alone(4, did, 3, scale, False), atol=1e-5)


def test_it_learns_at_the_end_of_every_rollout():
    env = VectorPaidBy(gym.make_vec("CartPole-v1", num_envs=2), Normalise(Move()) + 0.0 * RND(hidden=(8,)), rollout=5)
    env.reset(seed=0)
    before = {k: v.clone() for k, v in env.live.reward.state_dict().items() if isinstance(v, torch.Tensor)}
    for step in range(5):
        assert env.logs == {}, step
        env.step(np.zeros(2, int))
    assert env.logs["stage/Normalise(Move)/in/mean"] > 0
    assert env.logs["RND/loss"] > 0
    assert env.live.steps == 0
    after = env.live.reward.state_dict()
    changed = [k for k, v in before.items() if not torch.equal(v, after[k])]
    assert any("moments" in k for k in changed)
    assert any("scale" in k for k in changed)


def test_a_spec_makes_the_wrapper_again():
    gym.register("AdaptersWalk-v0", "adapters.control_rewards:Walk")
    try:
        env = PaidBy(gym.make("AdaptersWalk-v0"), 0.5 * Extrinsic() + Move(), rollout=7)
        again = gym.make(EnvSpec.from_json(env.spec.to_json()))
        assert isinstance(again, PaidBy)
        assert again.live.rollout == 7
        again.reset(seed=1)
        env.reset(seed=1)
        assert again.step(2)[1] == env.step(2)[1]
        assert "control_rewards:Move()" in json.loads(env.spec.to_json())["additional_wrappers"][-1]["kwargs"]["reward"]
    finally:
        del gym.registry["AdaptersWalk-v0"]


def test_captions_come_out_of_infos():
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        env = VectorPaidBy(
            SyncVectorEnv([functools.partial(Walk, 3, caption=True)] * 2, autoreset_mode=mode),
            CountGate(Extrinsic(), power=1.0),
        )
        env.reset(seed=[0, 0])
        for _ in range(7):
            env.step(np.ones(2, int))
        counts = [1, 2, 3, 4, 1, 2, 3, 4] + [1, 2] * (mode is AutoresetMode.SAME_STEP)
        assert env.live.window().caption_count[:, 0].tolist() == counts
        assert env.live.captions.texts(range(1, 2))[0].startswith("at ")
    with pytest.raises(ValueError, match="reads a caption"):
        PaidBy(Walk(), CountGate(Extrinsic())).reset()


def test_captions_of_a_task_of_ours():
    from guerdon.tasks import make
    from guerdon.tasks.gymnasium_game import TaskVectorEnv

    task = make("TextCorridor", num_envs=3)
    env = VectorPaidBy(TaskVectorEnv(task), CountGate(Extrinsic()) + RND(hidden=(8,)), rollout=8)
    env.reset(seed=0)
    for _ in range(9):
        env.step(np.zeros(3, int))
    assert env.live.captions is task.captions
    assert env.logs["term/RND/mean"] > 0


def test_what_cannot_be_done_says_why():
    with pytest.raises(ValueError, match=r"pays .* already: wrap once, with the sum"):
        PaidBy(gym.wrappers.ClipAction(PaidBy(Walk(box=True), "Extrinsic()")), "RND()")
    vector = VectorPaidBy(SyncVectorEnv([Walk] * 2), "Extrinsic()")
    with pytest.raises(ValueError, match="wrap once, with the sum"):
        VectorPaidBy(vector, "RND()")
    inside = VectorPaidBy(SyncVectorEnv([lambda: PaidBy(Walk(), "Extrinsic()")]), "RND()")
    inside.reset()
    with pytest.raises(ValueError, match="wrap once, with the sum"):
        inside.step(np.zeros(1, int))
    reward = RND()
    PaidBy(Walk(), reward)
    with pytest.raises(ValueError, match="RND was built before"):
        PaidBy(Walk(), reward)
    silent = SyncVectorEnv([Walk])
    silent.autoreset_mode, silent.metadata = None, {}
    with pytest.raises(ValueError, match="does not say how it resets"):
        VectorPaidBy(silent, "Extrinsic()")
    env = PaidBy(Walk(), "Extrinsic()")
    with pytest.raises(RuntimeError, match="reset before the first step"):
        env.env.reset(), env.step(1)
    with pytest.raises(TypeError, match="flatten it first"):
        PaidBy(gym.wrappers.TransformObservation(Walk(), lambda o: o, spaces.Graph(spaces.Discrete(2), None)), "RND()")
    with pytest.raises(ValueError, match="did you mean"):
        PaidBy(Walk(), "Extrinsik()")


@pytest.mark.parametrize(
    ("broken", "message"),
    [(lambda o: o * np.nan, "NaN or infinite"), (lambda o: o / 0.0, "NaN or infinite"), (lambda o: o[:1], "shape")],
)
def test_broken_observations_are_refused(broken, message: str):
    env = Walk()
    wrapped = PaidBy(
        gym.wrappers.TransformObservation(env, lambda o: broken(o) if o[1] > 1 else o, None), "Extrinsic()"
    )
    wrapped.reset(seed=0)
    wrapped.step(1)
    with pytest.raises(ValueError, match=f"Extrinsic: observation 'obs' .*{message}"), np.errstate(all="ignore"):
        wrapped.step(1)
