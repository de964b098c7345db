"""Token-level GAE, returns and whitening: closed forms, tool tokens, and bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.token_returns import token_gae, token_returns, whiten


def tokens(seed: int, rows: int = 5, length: int = 9):
    """Rewards, values and masks with holes and, at times, an empty row."""
    g = torch.Generator().manual_seed(seed)
    reward, value = torch.randn(2, rows, length, generator=g, dtype=torch.float64)
    return reward, value, torch.rand(rows, length, generator=g) < 0.6


@given(st.integers(0, 10_000), st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_gae_is_the_sum_of_td_errors_over_the_tokens_of_the_mask(seed, gamma, lam):
    reward, value, mask = tokens(seed)
    found = token_gae(reward, value, mask, gamma=gamma, lam=lam)
    for n in range(len(mask)):
        places = mask[n].nonzero()[:, 0].tolist()
        values = [value[n, p].item() for p in places] + [0.0]
        delta = [reward[n, p].item() + gamma * values[i + 1] - values[i] for i, p in enumerate(places)]
        for i, p in enumerate(places):
            expected = sum((gamma * lam) ** k * d for k, d in enumerate(delta[i:]))
            assert found.advantage[n, p].item() == pytest.approx(expected, abs=1e-9)
            assert found.target[n, p].item() == pytest.approx(expected + values[i], abs=1e-9)
    assert not found.advantage[~mask].any()
    assert not found.target[~mask].any()


def test_lambda_one_without_values_is_reward_to_go_and_lambda_zero_the_td_error():
    reward, mask = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3, dtype=torch.bool)
    assert token_gae(reward, torch.zeros(1, 3), mask, lam=1.0).advantage.tolist() == [[6.0, 5.0, 3.0]]
    value = torch.tensor([[1.0, 2.0, 4.0]])
    assert token_gae(reward, value, mask, gamma=0.5, lam=0.0).advantage.tolist() == [[1.0, 2.0, -1.0]]


def test_a_tool_s_tokens_cost_no_discount_and_earn_nothing():
    reward = torch.tensor([[1.0, 100.0, 100.0, 4.0, 100.0]])
    mask = torch.tensor([[True, False, False, True, False]])
    assert token_returns(reward, mask, gamma=0.5).tolist() == [[3.0, 0.0, 0.0, 4.0, 0.0]]


@given(st.integers(0, 10_000))
def test_whitened_tokens_have_mean_zero_and_sample_variance_one(seed):
    value, _, mask = tokens(seed)
    mask[0, :2] = True
    found = whiten(3 * value + 7, mask, eps=0.0)
    assert found[mask].mean().item() == pytest.approx(0, abs=1e-9)
    assert found[mask].var().item() == pytest.approx(1)
    assert not found[~mask].any()


def test_whitening_nothing_one_token_or_equal_tokens_gives_zero():
    value = torch.tensor([[5.0, 5.0, 7.0]])
    assert not whiten(value, torch.zeros(1, 3, dtype=torch.bool)).any()
    assert not whiten(value, torch.tensor([[False, False, True]])).any()
    assert not whiten(value, torch.tensor([[True, True, False]])).any()


def test_what_stands_outside_the_mask_does_not_matter():
    reward, value, mask = tokens(0)
    rubbish = torch.where(mask, 0.0, torch.nan)
    found, clean = token_gae(reward + rubbish, value + rubbish, mask), token_gae(reward, value, mask)
    torch.testing.assert_close(found.advantage, clean.advantage)
    torch.testing.assert_close(found.target, clean.target)
    torch.testing.assert_close(whiten(value + rubbish, mask), whiten(value, mask))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"shape \[N, L\], got \[\[2, 3\], \[2, 4\]"):
        token_gae(torch.zeros(2, 3), torch.zeros(2, 4), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"shape \[N, L\]"):
        whiten(torch.zeros(3), torch.ones(3))
