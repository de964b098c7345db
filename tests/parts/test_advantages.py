"""GAE and V-trace against step-by-step references written from their definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.advantages import gae, vtrace


def random_rollout(seed: int, t: int = 12, b: int = 5):
    """Rewards, values and flags that obey NEXT_STEP: the step after an end is invalid and ends nothing."""
    g = torch.Generator().manual_seed(seed)
    reward, value = torch.randn(t, b, generator=g), torch.randn(t + 1, b, generator=g)
    ends = torch.rand(t, b, generator=g) < 0.25
    valid = torch.ones(t, b, dtype=torch.bool)
    for i in range(1, t):
        valid[i] = ~(ends[i - 1] & valid[i - 1])
    ends &= valid
    truncated = ends & (torch.rand(t, b, generator=g) < 0.5)
    return reward, value, ends & ~truncated, truncated, valid


def episodes(terminated, truncated, valid, column):
    """The runs of valid steps of one game, each with how it ended."""
    run = []
    for t in range(len(valid)):
        if valid[t, column]:
            run.append(t)
            if terminated[t, column] or truncated[t, column]:
                yield run
                run = []
    if run:
        yield run


@given(st.integers(0, 10_000), st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_gae_is_the_discounted_sum_of_td_errors_within_each_episode(seed, gamma, lam):
    reward, value, terminated, truncated, valid = random_rollout(seed)
    found = gae(reward, value, terminated, truncated, valid, gamma=gamma, lam=lam)
    for b in range(reward.shape[1]):
        for run in episodes(terminated, truncated, valid, b):
            delta = [float(reward[t, b] + gamma * value[t + 1, b] * (not terminated[t, b]) - value[t, b]) for t in run]
            for i, t in enumerate(run):
                expected = sum((gamma * lam) ** k * d for k, d in enumerate(delta[i:]))
                assert found.advantage[t, b] == pytest.approx(expected, abs=1e-4)
                assert found.target[t, b] == pytest.approx(expected + float(value[t, b]), abs=1e-4)
    assert bool((found.advantage[~valid] == 0).all() and (found.target[~valid] == 0).all())


def test_gae_with_lambda_one_and_no_values_is_reward_to_go_and_lambda_zero_the_td_error():
    reward = torch.tensor([[1.0], [2.0], [3.0]])
    no, yes = torch.zeros(3, 1, dtype=torch.bool), torch.ones(3, 1, dtype=torch.bool)
    to_go = gae(reward, torch.zeros(4, 1), no, no, yes, gamma=1.0, lam=1.0)
    assert to_go.advantage.flatten().tolist() == [6.0, 5.0, 3.0]
    value = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    td = gae(reward, value, no, no, yes, gamma=0.5, lam=0.0)
    assert td.advantage.flatten().tolist() == [1.0, 2.0, 3.0]


def test_a_return_that_is_not_episodic_runs_on_across_the_end():
    reward = torch.tensor([[0.0], [0.0], [5.0]])
    terminated = torch.tensor([[True], [False], [False]])
    valid = torch.tensor([[True], [False], [True]])
    no = torch.zeros(3, 1, dtype=torch.bool)
    ends = gae(reward, torch.zeros(4, 1), terminated, no, valid, gamma=0.5, lam=1.0)
    runs_on = gae(reward, torch.zeros(4, 1), terminated, no, valid, gamma=0.5, lam=1.0, episodic=False)
    assert ends.advantage.flatten().tolist() == [0.0, 0.0, 5.0]
    assert runs_on.advantage.flatten().tolist() == [2.5, 0.0, 5.0]  # one step later, not two


@given(st.integers(0, 10_000))
def test_vtrace_follows_its_recursion(seed):
    reward, value, terminated, truncated, valid = random_rollout(seed)
    log_ratio = torch.randn(reward.shape, generator=torch.Generator().manual_seed(seed)) * 0.5
    gamma = 0.9
    found = vtrace(reward, value, terminated, truncated, valid, log_ratio, gamma=gamma)
    for b in range(reward.shape[1]):
        for run in episodes(terminated, truncated, valid, b):
            t = run[-1]
            v_next = excess = None
            for t in reversed(run):
                rho = c = min(1.0, float(log_ratio[t, b].exp()))
                bootstrap = 0.0 if terminated[t, b] else float(value[t + 1, b])
                if v_next is None:
                    v_next, excess = bootstrap, 0.0
                delta = rho * (float(reward[t, b]) + gamma * bootstrap - float(value[t, b]))
                v = float(value[t, b]) + delta + gamma * c * excess
                advantage = rho * (float(reward[t, b]) + gamma * v_next - float(value[t, b]))
                assert found.target[t, b] == pytest.approx(v, abs=1e-4)
                assert found.advantage[t, b] == pytest.approx(advantage, abs=1e-4)
                v_next, excess = v, v - float(value[t, b])


@given(st.integers(0, 10_000))
def test_vtrace_on_policy_is_gae_with_lambda_one(seed):
    ends = random_rollout(seed)
    on_policy = vtrace(*ends, torch.zeros_like(ends[0]), gamma=0.95)
    reference = gae(*ends, gamma=0.95, lam=1.0)
    torch.testing.assert_close(on_policy.target, reference.target, atol=1e-4, rtol=1e-4)


def test_the_release_s_fake_bootstrap_makes_the_last_advantage_zero():
    reward, value = torch.tensor([[2.0]]), torch.tensor([[3.0], [(3.0 - 2.0) / 0.9]])
    no, yes = torch.zeros(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)
    assert vtrace(reward, value, no, no, yes, torch.zeros(1, 1), gamma=0.9).advantage.item() == pytest.approx(
        0, abs=1e-6
    )


def test_wrong_shapes_are_named():
    no = torch.zeros(3, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"needs value \[4, 2\]"):
        gae(torch.zeros(3, 2), torch.zeros(3, 2), no, no, ~no, gamma=0.9, lam=0.9)
