"""Our estimators, losses, aggregations and KL against what verl's own functions gave on the same inputs.

The record is made by tests/references/verl_core_algos.py, which says how to make it again. Where verl and we differ,
the difference itself is shown.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from references.verl_core_algos import AGGREGATIONS, CLIPS, KINDS, RECORD, SEEDS, inputs

from guerdon.parts.group_advantages import group_advantages, normalise_then_sum, on_tokens
from guerdon.parts.kl import AdaptiveKL, kl_estimate, kl_in_reward
from guerdon.parts.policy_losses import masked_mean, value_loss
from guerdon.parts.token_policy_loss import PolicyLoss, aggregate
from guerdon.parts.token_returns import token_gae, token_returns, whiten

RECORDED = dict(np.load(RECORD))


@pytest.fixture(params=SEEDS)
def seed(request) -> int:
    return request.param


@pytest.fixture
def given(seed) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in inputs(seed).items()}


def check(seed: int, name: str, found: torch.Tensor | float) -> None:
    found = torch.as_tensor(found).detach()
    torch.testing.assert_close(found, recorded(seed, name), atol=1e-6, rtol=1e-6, check_dtype=False)


def recorded(seed: int, name: str) -> torch.Tensor:
    return torch.from_numpy(RECORDED[f"{seed}/{name}"])


def test_the_record_is_of_this_release_and_small():
    assert str(RECORDED["verl"]) == "0.9.1"
    assert RECORD.stat().st_size < 300_000


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("grpo", {"singleton": "raw"}),
        ("dr_grpo", {"singleton": "raw", "spread": "none"}),
        ("rloo", {"singleton": "raw", "baseline": "leave-one-out", "spread": "none"}),
        ("rloo_vectorized", {"singleton": "zero", "baseline": "leave-one-out", "spread": "none"}),
    ],
)
def test_group_estimators(seed, given, name, how):
    check(seed, name, on_tokens(group_advantages(given["score"], given["group"], **how), given["mask"]))


def test_reinforce_plus_plus_with_group_baseline(seed, given):
    centred = group_advantages(given["score"], given["group"], spread="none", singleton="raw")
    check(seed, "reinforce_plus_plus_baseline", whiten(on_tokens(centred, given["mask"]), given["mask"]))


def test_gdpo(seed, given):
    rewards = torch.stack([given["score"], given["second"]], 1).float()  # verl rounds them to single precision
    how = {"singleton": "raw", "eps": 1e-6, "over_batch": False}
    total = normalise_then_sum(rewards, given["group"], [1.0, 0.5], **how).double()
    check(seed, "gdpo", whiten(on_tokens(total, given["mask"]), given["mask"]))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.9, 0.7)])
def test_gae(seed, given, gamma, lam):
    mask = given["mask"]
    found = token_gae(given["reward"], given["value"], mask, gamma=gamma, lam=lam)
    check(seed, f"gae/{gamma}/{lam}", whiten(found.advantage, mask))
    check(seed, f"gae/{gamma}/{lam}/target", found.target)


def test_reinforce_plus_plus(seed, given):
    returns = token_returns(given["reward"], given["mask"], gamma=0.9)
    check(seed, "reinforce_plus_plus/returns", returns)
    check(seed, "reinforce_plus_plus", whiten(returns, given["mask"]))


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_aggregation(seed, given, how):
    loss, mask = given["advantage"], given["mask"]
    check(seed, f"aggregate/{how}", aggregate(loss, mask, how))
    known = {"global_tokens": 100, "global_rows": 20, "horizon": 11}
    check(seed, f"aggregate/{how}/global", aggregate(loss, mask, how, **known))


def policy_loss(seed: int, given: dict[str, torch.Tensor], policy: PolicyLoss):
    """Loss, its gradient, and metrics."""
    new = given["log_prob"].clone().requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    loss, seen = policy(new, given["old_log_prob"], given["advantage"], given["mask"], generator=generator)
    return loss, torch.autograd.grad(loss, new)[0], seen


def check_loss(seed: int, name: str, found) -> None:
    loss, gradient, seen = found
    check(seed, name, loss)
    check(seed, f"{name}/gradient", gradient)
    assert seen["old_kl"] == pytest.approx(recorded(seed, f"{name}/ppo_kl").item(), abs=1e-6)


@pytest.mark.parametrize("clip", CLIPS)
def test_clipped_losses(seed, given, clip):
    c = CLIPS[clip]
    policy = PolicyLoss(clip_low=c["clip_ratio_low"], clip_high=c["clip_ratio_high"], dual_clip=c["clip_ratio_c"])
    found = policy_loss(seed, given, policy)
    check_loss(seed, f"vanilla/{clip}", found)
    check(seed, f"vanilla/{clip}/pg_clipfrac", found[2]["clip_fraction"])
    check(seed, f"vanilla/{clip}/pg_clipfrac_lower", found[2]["dual_clip_fraction"])
    assert found[2]["clip_fraction"] > 0
    assert clip == "dapo" or found[2]["dual_clip_fraction"] > 0


def test_gspo(seed, given):
    policy = PolicyLoss(
        level="sequence", clip_low=0.1, clip_high=0.15, dual_clip=None, aggregation="seq-mean-token-mean"
    )
    found = policy_loss(seed, given, policy)
    check_loss(seed, "gspo", found)
    assert 0 < found[2]["clip_fraction"] == pytest.approx(recorded(seed, "gspo/pg_clipfrac").item(), abs=1e-6)


def test_cispo_is_verl_s_without_its_lower_bound(seed, given):
    found = policy_loss(seed, given, PolicyLoss(surrogate="cispo", clip_high=0.28))
    check_loss(seed, "cispo/1.0", found)
    check(seed, "cispo/1.0/pg_clipfrac", found[2]["clip_fraction"])
    ratio = (given["log_prob"] - given["old_log_prob"]).exp()
    raised = given["mask"] & (ratio < 0.8)  # verl holds these ratios at 0.8; the card and TRL leave them
    differs = found[1] - recorded(seed, "cispo/0.2/gradient")
    expected = (0.8 - ratio) * given["advantage"] / given["mask"].sum()
    torch.testing.assert_close(differs, torch.where(raised, expected, 0.0), atol=1e-9, rtol=1e-6)
    assert raised.any()


def test_clip_cov_draws_the_same_tokens(seed, given):
    policy = PolicyLoss(clip_high=0.2, dual_clip=None, cov_share=0.1, cov_low=0.2, cov_high=3.0)
    found = policy_loss(seed, given, policy)
    check_loss(seed, "clip_cov", found)
    assert 0 < found[2]["cov_fraction"] == pytest.approx(recorded(seed, "clip_cov/pg_clipfrac").item(), abs=1e-6)


def test_value_loss(seed, given):
    value = given["value"].clone().requires_grad_()
    loss = masked_mean(value_loss(value, given["reward"], given["old_value"], 0.5), given["mask"])
    check(seed, "value_loss", loss)
    check(seed, "value_loss/gradient", torch.autograd.grad(loss, value)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_kl_estimates(seed, given, kind):
    new = given["log_prob"].clone().requires_grad_()
    kl = kl_estimate(new, given["ref_log_prob"], kind, clamp=10.0)  # verl's clamp, which is off by default here
    check(seed, f"kl/{kind}", kl)
    check(seed, f"kl/{kind}/gradient", torch.autograd.grad(kl.sum(), new)[0])


def test_the_clamp_of_k3_takes_gradients_away():
    far = torch.tensor([-4.0], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    assert torch.autograd.grad(kl_estimate(far, zero, "k3", clamp=10.0).sum(), far)[0].item() == 0
    assert torch.autograd.grad(kl_estimate(far, zero, "k3").sum(), far)[0].item() == pytest.approx(1 - np.exp(4))


def test_kl_in_reward(seed, given):
    mask = given["mask"]
    found = kl_in_reward(given["reward"], given["log_prob"], given["ref_log_prob"], mask, beta=0.1)
    check(seed, "kl_in_reward", torch.where(mask, found, recorded(seed, "kl_in_reward")))
    assert not found[~mask].any()


def test_adaptive_kl(seed):
    kl = AdaptiveKL(beta=0.2, target=6.0, horizon=1000)
    for current in (6.6, 60.0, 0.0):
        kl.update(current, 100)
    check(seed, "adaptive_kl", torch.tensor(kl.beta, dtype=torch.float64))
