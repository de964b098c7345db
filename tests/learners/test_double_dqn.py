"""Targets by hand, replay, and values that are learnt, also of options."""

import copy

import pytest
import torch
from torch import nn

from guerdon.learners.double_dqn import DoubleDQN, Replay, annealed, double_q_target, mlp


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_target_by_hand():
    online = torch.tensor([[1.0, 2.0], [5.0, 0.0]])
    target = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    reward, discount = torch.tensor([1.0, -1.0]), torch.tensor([0.9, 0.0])
    assert double_q_target(reward, discount, online, target).tolist() == pytest.approx([19.0, -1.0])
    plain = double_q_target(reward, torch.tensor([0.9, 0.5]), target, target)
    assert plain.tolist() == pytest.approx([19.0, 19.0])  # DQN: the maximum of the target network


def test_an_option_of_one_step_is_a_step_and_a_longer_one_is_its_steps():
    """y over tau steps = r_1 + gamma y over the rest, which is the one-step target at tau = 1."""
    gamma, rewards = 0.9, [1.0, 0.5, -2.0]
    last = torch.randn(1, 3, generator=generator())
    y = float(last.max())
    for r in reversed(rewards):
        y = r + gamma * y
    total = sum(gamma**i * r for i, r in enumerate(rewards))
    option = double_q_target(torch.tensor([total]), torch.tensor([gamma**3]), last, last)
    assert float(option) == pytest.approx(y)
    one = double_q_target(torch.tensor([1.0]), torch.tensor([gamma]), last, last)
    assert float(one) == pytest.approx(1.0 + gamma * float(last.max()))


def test_masked_actions_are_not_there():
    online, target = torch.tensor([[9.0, 1.0]] * 2), torch.tensor([[5.0, 7.0]] * 2)
    mask = torch.tensor([[False, True], [False, False]])
    y = double_q_target(torch.zeros(2), torch.ones(2), online, target, mask)
    assert y.tolist() == [7.0, 0.0]  # without any action nothing comes


def test_replay_keeps_the_latest_and_draws_them_all():
    replay = Replay(4, generator())
    for i in range(3):
        replay.store(x=torch.tensor([2 * i, 2 * i + 1]))
    assert replay.size == 4
    assert set(replay.sample(200)["x"].tolist()) == {2, 3, 4, 5}
    saved = replay.state_dict()
    again = Replay(4, generator(9))
    again.load_state_dict(saved)
    assert again.sample(20)["x"].tolist() == replay.sample(20)["x"].tolist()
    for each in (replay, again):
        each.store(x=torch.tensor([6]))
    assert set(again.sample(200)["x"].tolist()) == {3, 4, 5, 6}


def test_misuse_of_the_replay_is_told():
    replay = Replay(4, generator())
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1)
    replay.store(x=torch.zeros(1))
    with pytest.raises(ValueError, match="rows of"):
        replay.store(y=torch.zeros(1))
    with pytest.raises(ValueError, match="rows of"):
        Replay(4, generator()).store(x=torch.zeros(1), y=torch.zeros(2))


def test_exploration():
    learner = DoubleDQN().build(lambda: nn.Linear(1, 3), generator=generator())
    values = torch.tensor([[0.0, 2.0, 1.0]]).expand(3000, 3)
    assert learner.explore(values, 0.0).eq(1).all()
    mask = torch.tensor([[True, False, True]]).expand(3000, 3)
    assert learner.explore(values, 0.0, mask).eq(2).all()
    share = torch.bincount(learner.explore(values, 1.0, mask), minlength=3) / 3000
    assert share.tolist() == pytest.approx([0.5, 0.0, 0.5], abs=0.05)
    mixed = torch.bincount(learner.explore(values, 0.3), minlength=3) / 3000
    assert mixed.tolist() == pytest.approx([0.1, 0.8, 0.1], abs=0.04)


def chain(learner: DoubleDQN, tau: int) -> None:
    """Three states in a row, forward or stay; 1 for leaving the last. A forward move takes `tau` steps."""
    eye = torch.eye(3)
    for _ in range(50):
        for s in range(3):
            end = s == 2
            after = eye[min(s + 1, 2)]
            learner.store(
                eye[[s, s]], torch.tensor([0, 1]), torch.tensor([float(end), 0.0]), torch.stack([after, eye[s]]),
                torch.tensor([0.0 if end else learner.gamma**tau, learner.gamma]),
            )  # fmt: skip


@pytest.mark.parametrize("tau", [1, 3])
def test_it_learns_the_values_of_a_chain(tau):
    learner = DoubleDQN(gamma=0.8, lr=1e-2, batch=64, target_every=20, start=10)
    learner.build(lambda: nn.Linear(3, 2, bias=False), generator=generator())
    assert learner.update() == {}
    chain(learner, tau)
    for _ in range(1500):
        logs = learner.update()
    forward = [0.8 ** (2 * tau), 0.8**tau, 1.0]
    expected = torch.tensor([[v, 0.8 * v] for v in forward])
    assert torch.allclose(learner.values(torch.eye(3)), expected, atol=0.02)
    assert logs["loss"] < 1e-3


def test_a_saved_learner_goes_on_in_the_same_way():
    def made(seed: int) -> DoubleDQN:
        return DoubleDQN(start=10, batch=16).build(lambda: mlp(3, 2, 8), generator=generator(seed))

    first, second = made(0), made(1)
    chain(first, 1)
    for _ in range(5):
        first.update()
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # as written to disk
    for learner in (first, second):
        for _ in range(5):
            learner.update()
    assert torch.equal(first.values(torch.eye(3)), second.values(torch.eye(3)))


def test_weights_come_from_the_generator():
    learner, other = (DoubleDQN().build(lambda: mlp(2, 2), generator=generator(4)) for _ in range(2))
    assert torch.equal(learner.online[0].weight, other.online[0].weight)
    assert torch.equal(learner.online[0].weight, learner.target[0].weight)
    assert not torch.equal(
        learner.online[0].weight, DoubleDQN().build(lambda: mlp(2, 2), generator=generator(5)).online[0].weight
    )


def test_annealing_is_straight():
    assert [annealed(n, 10, 1.0, 0.0) for n in (0, 5, 10, 99)] == [1.0, 0.5, 0.0, 0.0]
