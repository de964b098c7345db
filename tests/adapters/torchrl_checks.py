"""TorchRL's own environments, collector, replay buffer and loss modules, paid by rewards of ours.

Its pins collide with ours: test_torchrl.py runs this file in an environment that has it.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from adapters.control_rewards import Move, Novelty, Walk
from adapters.test_gymnasium import LENGTHS, alone
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose, GymEnv, GymWrapper, ParallelEnv, RewardSum, SerialEnv, StepCounter, TransformedEnv
from torchrl.envs.utils import RandomPolicy, check_env_specs
from torchrl.objectives import LossModule

from guerdon.adapters.torchrl import PaidTransform, RewardLoss
from guerdon.rewards.intrinsic import RND
from guerdon.rewards.shaping import Extrinsic, Normalise


def walks(kind: type = SerialEnv, **options):
    return kind(len(LENGTHS), [functools.partial(walk, length, **options) for length in LENGTHS])


def walk(length: int, **options):
    return GymWrapper(Walk(length, **options))


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("kind", [SerialEnv, ParallelEnv])
def test_every_step_of_a_batch_is_paid_for_what_it_led_to(box: bool, kind: type):
    base = walks(kind, box=box)
    env = TransformedEnv(base, PaidTransform(Move() + Novelty() + 0.5 * Extrinsic(), rollout=1000))
    env.set_seed(0)
    data = env.rollout(30, break_when_any_done=False)
    scale = float(env.transform.live.reward.state_dict()["rewards.0.scale"])
    paid, extrinsic = data["next", "intrinsic_reward"], data["next", "reward"]
    assert paid.shape == (3, 30, 1)
    action = data["action"] if box else data["action"].float().argmax(-1, keepdim=True)
    move = scale * (data["next", "observation"] - data["observation"]).abs().sum(-1) + 0.1 * action[..., 0]
    expected = move + 0.5 * extrinsic[..., 0]
    for i in range(3):
        seen: dict = {}
        for t in range(30):
            place = tuple(data["next", "observation"][i, t].round().int().tolist())
            seen[place] = seen.get(place, 0) + 1
            expected[i, t] += 1 / seen[place]
            if data["next", "done"][i, t]:
                seen = {}
    torch.testing.assert_close(paid[..., 0], expected, rtol=1e-4, atol=1e-5)
    assert data["next", "done"].sum() > 6
    base.close()


def test_one_environment_is_paid_as_by_hand():
    env = TransformedEnv(walk(4), PaidTransform(Extrinsic() + Move() + Novelty(), rollout=1000))
    data = env.rollout(25, break_when_any_done=False)
    scale = float(env.transform.live.reward.state_dict()["rewards.1.scale"])
    first = data["observation"][0]
    seed = next(s for s in range(99) if Walk(4).reset(seed=s)[0][0] == first[0])
    ends = data["next", "done"][:, 0].nonzero()[0].item() + 1  # the first episode: later ones begin elsewhere
    actions = data["action"].long().argmax(-1).tolist()[:ends]
    expected = alone(4, actions, seed, scale, False)
    np.testing.assert_allclose(data["next", "intrinsic_reward"][:ends, 0], [sum(e) for e in expected], atol=1e-5)


@pytest.mark.parametrize("out", ["intrinsic_reward", "reward"])
def test_specs_are_declared(out: str):
    for base in (GymEnv("CartPole-v1"), GymEnv("Pendulum-v1"), walks()):
        transform = PaidTransform(Normalise(Move()), in_keys=["observation"], out_keys=[out])
        env = TransformedEnv(base, Compose(StepCounter(7), transform, RewardSum(in_keys=[out], out_keys=["sum"])))
        check_env_specs(env)
        assert env.full_reward_spec[out].shape == (*base.batch_size, 1)
        data = env.rollout(20, break_when_any_done=False)
        assert data["next", out].dtype == torch.float32
        assert data["next", out].abs().sum() > 0


def test_it_learns_while_a_collector_collects():
    env = TransformedEnv(walks(), PaidTransform(Normalise(RND(hidden=(8,), fraction=1.0)), rollout=10))
    collector = Collector(env, RandomPolicy(env.action_spec), frames_per_batch=30, total_frames=90)
    losses = []
    for data in collector:
        assert data["next", "intrinsic_reward"].shape == (3, 10, 1)
        losses.append(env.transform.logs["RND/loss"])
        normalised, raw = (env.transform.logs[f"stage/Normalise(RND)/{k}/mean"] for k in ("out", "in"))
        assert data["next", "intrinsic_reward"].mean() == pytest.approx(normalised, rel=1e-4)
    assert normalised != pytest.approx(raw)
    assert len(set(losses)) == 3
    assert float(env.transform.live.reward.moments.count) == pytest.approx(90, abs=1e-2)


def test_a_replay_buffer_scores_again_and_a_loss_module_learns():
    env = TransformedEnv(walks(), PaidTransform(Extrinsic() + RND(hidden=(8,), lr=1e-2, fraction=1.0), learn=False))
    data = env.rollout(40, break_when_any_done=False).reshape(-1)
    buffer = ReplayBuffer(storage=LazyTensorStorage(200), batch_size=64)
    buffer.append_transform(env.transform.clone())
    buffer.extend(data)
    sample = buffer.sample(64)
    loss = RewardLoss(env.transform)
    assert isinstance(loss, LossModule)
    known = data["next", "intrinsic_reward"]
    assert all(any(abs(known - x) < 1e-4) for x in sample["next", "intrinsic_reward"]), "nothing was learned yet"
    first = loss(sample)
    assert first["RND/loss"] > 0
    first["loss_reward"].backward()  # as trainers do with all that begins with loss_
    for _ in range(40):
        last = loss(buffer.sample(64))
    assert last["RND/loss"] < 0.9 * first["RND/loss"]
    later = buffer.sample(64)["next", "intrinsic_reward"] - buffer.sample(64)["next", "reward"]
    assert later.mean() < (known - data["next", "reward"]).mean()


def test_state_is_saved_and_restored():
    def make(seed: int) -> TransformedEnv:
        return TransformedEnv(walks(), PaidTransform(Normalise(RND(hidden=(8,))) + Novelty(), rollout=10, seed=seed))

    made, other = make(0), make(1)
    made.rollout(20, break_when_any_done=False)
    other.load_state_dict(made.state_dict())  # before there is a reward: it is made with this state
    third = make(2)
    third.reset()
    third.load_state_dict(made.state_dict())
    names = [k for k, v in made.transform.live.reward.state_dict().items() if isinstance(v, torch.Tensor)]
    for env in (other, third):
        for name in names:
            expected, found = (x.transform.live.reward.state_dict()[name] for x in (made, env))
            torch.testing.assert_close(found, expected)


def test_what_cannot_be_done_says_why():
    with pytest.raises(RuntimeError, match="put it into a TransformedEnv"):
        PaidTransform(Move()).live  # noqa: B018
    with pytest.raises(ValueError, match="learn=False"):
        RewardLoss(PaidTransform(Move()))
    env = TransformedEnv(walks(), PaidTransform(Novelty(), learn=False))
    data = env.rollout(5).reshape(-1)
    with pytest.raises(ValueError, match="Novelty looks at a step in its place"):
        env.transform.clone()(data)
    with pytest.raises(ValueError, match="Novelty looks at a step in its place"):
        RewardLoss(env.transform)(data)
    with pytest.raises(ValueError, match="Move: observation 'obs' is NaN"):
        TransformedEnv(walk(4, broken=True), PaidTransform(Move())).rollout(4)
    once = TransformedEnv(walks(), PaidTransform(reward := Move()))
    once.reset()
    with pytest.raises(ValueError, match="Move was built before"):
        TransformedEnv(walks(), PaidTransform(reward)).reset()
