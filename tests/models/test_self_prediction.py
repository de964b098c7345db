"""Beliefs and what they foresee, step by step against the same networks called by hand."""

import pytest
import samples
import torch
from torch import nn

from guerdon.models.self_prediction import SelfPrediction, angle, unroll


def world(num_envs=4, **options):
    sizes = {"features": 5, "hidden": (8,), "belief": 6, "horizon": 3}
    return SelfPrediction(
        samples.spec(num_envs), **{**sizes, **options}, generator=torch.Generator().manual_seed(0), reader="world"
    )


def features(net, rollout):
    return net.net(net.given({"obs": rollout.obs["obs"].flatten(0, 1)})).view(*rollout.obs.shape, -1)


@pytest.mark.parametrize("angle_of", [0.0, 90.0, 180.0])
def test_the_loss_is_two_minus_two_cosines(angle_of):
    turn = torch.deg2rad(torch.tensor(angle_of))
    one, other = torch.tensor([3.0, 0.0]), 0.1 * torch.stack([turn.cos(), turn.sin()])
    torch.testing.assert_close(angle(one, other), 2 - 2 * turn.cos(), atol=1e-6, rtol=0)
    torch.testing.assert_close(angle(one, 50 * other), angle(one, other), atol=1e-6, rtol=0)


def test_features_without_length_are_no_division_by_zero():
    zero = torch.zeros(4, requires_grad=True)
    loss = angle(zero, torch.ones(4))
    loss.backward()
    assert loss == 1.0
    assert zero.grad.isfinite().all()


def test_unrolling_starts_anew_where_a_sequence_does():
    torch.manual_seed(0)
    gru, x, state = nn.GRU(3, 4), torch.randn(6, 2, 3), torch.randn(2, 4)
    starts = torch.zeros(6, 2, dtype=torch.bool)
    starts[3, 0] = starts[0, 1] = starts[5, 1] = True
    made = unroll(gru, x, state, starts)
    for column in range(2):
        h = state[column]
        for t in range(6):
            h = torch.zeros(4) if starts[t, column] else h
            h = gru(x[t, column][None, None], h[None, None])[1][0, 0]
            torch.testing.assert_close(made[t, column], h)


def test_beliefs_know_the_last_action_and_this_observation():
    net, rollout = world(), samples.rollout()
    starts = net.starts(rollout)
    belief, code = net.beliefs(rollout, starts, net.carried)
    phi, one_hot = features(net, rollout), torch.eye(4)[rollout.action]
    torch.testing.assert_close(code, one_hot)
    for column, begins in ((0, 4), (1, 5), (2, None)):  # obs[4] and obs[5] begin the second episodes
        h, last = torch.zeros(6), torch.zeros(4)
        for t in range(8):
            if t == begins:
                h, last = torch.zeros(6), torch.zeros(4)
            h = net.closed(torch.cat([last, phi[t, column]])[None, None], h[None, None])[1][0, 0]
            torch.testing.assert_close(belief[t, column], h)
            last = one_hot[t, column]


def test_what_is_foreseen_uses_no_observation_after_its_start():
    net, rollout = world(), samples.rollout()
    starts = net.starts(rollout)
    belief, code = net.beliefs(rollout, starts, net.carried)
    target = nn.functional.normalize(net.target(net.given({"obs": rollout.obs["obs"][:, 2]})), dim=-1)
    for i, f in enumerate(net.foresee(rollout, starts, net.carried), start=1):
        assert f.after.shape[0] == f.mask.shape[0] == 9 - i
        for t in range(9 - i):
            b = belief[t, 2]
            for j in range(i):
                before, b = b, net.open.cell(code[t + j, 2][None], b[None])[0]
            torch.testing.assert_close(f.before[t, 2], before)
            torch.testing.assert_close(f.after[t, 2], b)
            torch.testing.assert_close(f.target[t, 2], target[t + i])
            torch.testing.assert_close(f.context[t, 2], torch.cat([before, code[t + i - 1, 2]]))
        assert not f.target.requires_grad


def test_beliefs_run_on_from_rollout_to_rollout():
    whole = samples.rollout(steps=12)
    expected, _ = world(standardise=False).beliefs(whole, world().starts(whole), world().carried)
    net, found = world(standardise=False), []
    for a, b in ((0, 3), (3, 4), (4, 9), (9, 12)):
        steps = {k: v[a:b] for k, v in samples.fields(whole) if k in ("action", "extrinsic", "terminated", "truncated")}
        part = samples.replace(
            whole, obs=whole.obs[a : b + 1], valid=whole.valid[a:b], caption=None, caption_count=None,
            log_prob=None, **steps,
        )  # fmt: skip
        found.append(net.beliefs(part, net.starts(part), net.carried)[0])
        net.carry(part)
    torch.testing.assert_close(torch.cat(found), expected)


def test_where_a_rollout_began_is_kept_for_training_on_it():
    net, one, two = world(), samples.rollout(seed=1), samples.rollout(seed=2)
    net.carry(one)
    carried = net.carried.clone()
    net.carry(two)
    assert torch.equal(net.origin, carried)
    assert not torch.equal(net.carried, carried)


def test_learners_are_all_but_the_slow_copy():
    net = world()
    slow = {id(p) for p in net.target.parameters()}
    learners = {id(p) for p in net.learners()}
    assert learners == {id(p) for p in net.parameters()} - slow
