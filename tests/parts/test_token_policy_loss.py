"""The token policy loss: values by hand, gradients, aggregation in pieces, and what may stand outside the mask."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.token_policy_loss import PolicyLoss, aggregate, covariance_drop, log_ratios

MODES = ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
PLAIN = {"clip_high": 0.2, "dual_clip": None}


def batch(seed: int = 0, rows: int = 4, length: int = 6, distance: float = 0.3):
    """log_prob (with gradient), old and reference log-probabilities, advantages per token, and a mask with holes."""
    g = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(rows, length, generator=g, dtype=torch.float64)
    new, reference = old + distance * torch.randn(2, rows, length, generator=g, dtype=torch.float64)
    advantage = torch.randn(rows, length, generator=g, dtype=torch.float64)
    mask = torch.rand(rows, length, generator=g) < 0.7
    mask[0, 0] = True
    return new.detach().requires_grad_(), old, reference, advantage, mask


def gradient(loss: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, at)[0]


def token(ratio: float, advantage: float, **keywords) -> tuple[float, float, dict[str, float]]:
    """Loss, gradient by the log-probability, and metrics of a single token."""
    old = torch.full((1, 1), -1.0, dtype=torch.float64)
    new = (old + math.log(ratio)).requires_grad_()
    loss, seen = PolicyLoss(**keywords)(new, old, torch.full_like(old, advantage), torch.ones(1, 1))
    return loss.item(), gradient(loss, new).item(), seen


@pytest.mark.parametrize(
    ("ratio", "advantage", "keywords", "loss", "slope"),
    [
        (1.1, 2.0, {}, -2.2, -2.2),
        (1.27, 1.0, {}, -1.27, -1.27),  # clip-higher: above 1.2, below 1.28
        (1.5, 1.0, {}, -1.28, 0.0),
        (1.5, 1.0, PLAIN, -1.2, 0.0),
        (0.5, 1.0, {}, -0.5, -0.5),
        (0.5, -1.0, {}, 0.8, 0.0),
        (1.5, -1.0, {}, 1.5, 1.5),
        (12.0, -1.0, {}, 10.0, 0.0),  # dual clip
        (12.0, -1.0, PLAIN, 12.0, 12.0),
        (12.0, -1.0, PLAIN | {"max_ratio": 4.0}, 4.0, 0.0),
        (1.5, 1.0, {"surrogate": "none"}, -1.5, -1.5),
        (1.1, 2.0, {"surrogate": "cispo"}, -1.1 * 2 * (-1 + math.log(1.1)), -2.2),
        (2.0, 1.0, {"surrogate": "cispo"}, -1.28 * (-1 + math.log(2)), -1.28),
        (2.0, -1.0, {"surrogate": "cispo"}, 1.28 * (-1 + math.log(2)), 1.28),
        (0.5, -1.0, {"surrogate": "cispo"}, 0.5 * (-1 + math.log(0.5)), 0.5),
    ],
)
def test_one_token_by_hand(ratio, advantage, keywords, loss, slope):
    found = token(ratio, advantage, **keywords)
    assert found[:2] == pytest.approx((loss, slope))


def test_metrics_say_what_was_clipped():
    *_, seen = token(1.5, 1.0)
    assert (seen["clip_fraction"], seen["clip_high"], seen["clip_low"]) == (1, 1, 0)
    *_, seen = token(0.5, -1.0)
    assert (seen["clip_fraction"], seen["clip_high"], seen["clip_low"]) == (1, 0, 1)
    *_, seen = token(12.0, -1.0)
    assert (seen["clip_fraction"], seen["dual_clip_fraction"]) == (0, 1)
    assert seen["ratio"] == pytest.approx(12)
    assert seen["old_kl"] == pytest.approx(-math.log(12))
    *_, seen = token(1.5, -1.0, surrogate="cispo")
    assert (seen["clip_fraction"], seen["clip_high"]) == (1, 1)


@given(st.integers(0, 10_000), st.sampled_from(MODES), st.sampled_from(["clip", "cispo", "none"]))
def test_on_policy_every_loss_has_the_policy_gradient_and_clips_nothing(seed, mode, surrogate):
    new, _, _, advantage, mask = batch(seed)
    loss, seen = PolicyLoss(surrogate=surrogate, aggregation=mode)(new, None, advantage, mask)
    expected = gradient(-aggregate(advantage * new, mask, mode), new)
    torch.testing.assert_close(gradient(loss, new), expected)
    assert seen["clip_fraction"] == seen["dual_clip_fraction"] == 0
    assert seen["ratio"] == pytest.approx(1)


@given(st.integers(0, 10_000))
def test_gspo_has_the_gradient_of_its_sequence_objective(seed):
    new, old, _, _, mask = batch(seed)
    advantage = torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gspo = PolicyLoss(level="sequence", aggregation="seq-mean-token-mean", **PLAIN)
    loss, _ = gspo(new, old, advantage[:, None].expand_as(mask), mask)
    lengths = mask.sum(1)
    rows = lengths > 0
    s = (((new - old) * mask).sum(1)[rows] / lengths[rows]).exp()
    objective = -torch.min(s * advantage[rows], s.clamp(0.8, 1.2) * advantage[rows]).mean()
    assert loss.item() == pytest.approx(objective.item())
    torch.testing.assert_close(gradient(loss, new), gradient(objective, new))


def test_gspo_of_single_tokens_is_ppo():
    new, old, _, advantage, _ = batch(3, length=1, distance=1.0)
    mask = torch.ones(4, 1, dtype=torch.bool)
    a, b = (PolicyLoss(level=level)(new, old, advantage, mask) for level in ("token", "sequence"))
    assert a[1] == pytest.approx(b[1])
    torch.testing.assert_close(gradient(a[0], new), gradient(b[0], new))


def test_ratios_are_held_within_twenty_and_unknown_levels_named():
    new, mask = torch.tensor([[0.0, -100.0]]), torch.ones(1, 2, dtype=torch.bool)
    assert log_ratios(new, torch.tensor([[-50.0, 0.0]]), mask).tolist() == [[20, -20]]
    with pytest.raises(ValueError, match="'row'"):
        log_ratios(new, new, mask, level="row")


def test_aggregation_by_hand():
    loss = torch.tensor([[1.0, 2.0, 9.0], [4.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    expected = {"token-mean": 7 / 3, "seq-mean-token-mean": 5.5 / 2, "seq-mean-token-sum": 3.5}
    for mode, value in (expected | {"seq-mean-token-sum-norm": 3.5 / 3}).items():
        assert aggregate(loss, mask, mode).item() == pytest.approx(value)
    assert aggregate(loss, mask, "seq-mean-token-sum-norm", horizon=10).item() == pytest.approx(0.35)
    with pytest.raises(ValueError, match="'sum'"):
        aggregate(loss, mask, "sum")


@given(st.integers(0, 10_000))
def test_with_equal_lengths_token_mean_is_the_mean_over_rows(seed):
    new, *_ = batch(seed)
    mask = torch.arange(6).expand(4, 6) < 4
    torch.testing.assert_close(aggregate(new, mask), aggregate(new, mask, "seq-mean-token-mean"))


@given(st.integers(0, 10_000), st.sampled_from(MODES), st.sampled_from(["token", "sequence"]))
def test_pieces_of_a_batch_add_up_to_it(seed, mode, level):
    new, old, reference, advantage, mask = batch(seed)
    policy_loss = PolicyLoss(aggregation=mode, level=level, beta=0.2, horizon=6)
    whole, _ = policy_loss(new, old, advantage, mask, ref_log_prob=reference)
    counts = {"global_tokens": int(mask.sum()), "global_rows": int(mask.any(1).sum())}
    pieces = [
        policy_loss(new[i], old[i], advantage[i], mask[i], ref_log_prob=reference[i], **counts)[0]
        for i in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(sum(pieces), whole)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_without_tokens_costs_zero_and_keeps_its_graph(mode):
    new, old, reference, advantage, mask = batch()
    how = PolicyLoss(aggregation=mode, beta=0.1, cov_share=0.1, level="sequence")
    loss, seen = how(new, old, advantage, torch.zeros_like(mask), ref_log_prob=reference)
    assert loss.item() == 0
    assert not gradient(loss, new).any()
    assert all(value == 0 for value in seen.values())


@given(st.integers(0, 10_000), st.sampled_from(["token", "sequence"]), st.sampled_from(["clip", "cispo"]))
def test_what_stands_outside_the_mask_matters_neither_to_loss_nor_gradient(seed, level, surrogate):
    new, old, reference, advantage, mask = batch(seed)
    how = PolicyLoss(level=level, surrogate=surrogate, beta=0.1, cov_share=0.3, cov_low=-9.0)

    def run(rubbish: float):
        outside = torch.where(mask, 0.0, rubbish)
        g = torch.Generator().manual_seed(1)
        loss, _ = how(
            new + outside, old + outside, advantage + outside, mask, ref_log_prob=reference + outside, generator=g
        )
        return loss, gradient(loss, new)

    (clean, slope), (dirty, dirty_slope) = run(0.0), run(math.nan)
    torch.testing.assert_close(dirty, clean)
    torch.testing.assert_close(dirty_slope, slope)
    assert not slope[~mask].any()


def test_clip_cov_drops_tokens_between_its_bounds_that_are_not_clipped():
    new, old, _, advantage, _ = batch(5, rows=8, length=16)
    mask = torch.ones(8, 16, dtype=torch.bool)
    mask[:, 12:] = False
    clipped = torch.rand(8, 16, generator=torch.Generator().manual_seed(0)) < 0.3
    cov = (advantage - advantage[mask].mean()) * (new - new[mask].mean()).detach()
    open_to_it = mask & ~clipped & (cov > 0.1) & (cov < 2.0)
    assert 20 < int(open_to_it.sum()) < 96 - 20
    how = {"low": 0.1, "high": 2.0}

    def drop(share: float, seed: int = 0) -> torch.Tensor:
        g = torch.Generator().manual_seed(seed)
        return covariance_drop(new, advantage, mask, clipped, share=share, generator=g, **how)

    assert drop(1.0).equal(open_to_it)
    some = drop(0.1)
    assert int(some.sum()) == 9  # of 96 tokens
    assert not (some & ~open_to_it).any()
    assert int(drop(1e-6).sum()) == 1
    assert drop(0.1).equal(some)
    assert not drop(0.1, seed=1).equal(some)

    policy_loss = PolicyLoss(cov_share=1.0, cov_low=-math.inf, cov_high=math.inf, beta=0.5, kl_correct=False)
    loss, seen = policy_loss(new, old, advantage, mask, ref_log_prob=old)
    assert seen["cov_fraction"] == pytest.approx(1 - seen["clip_fraction"])
    only_kl = 0.5 * seen["ref_kl"]  # the dropped tokens lose their loss, not their KL; clipped ones have no gradient
    slope = gradient(loss, new)
    d = (new - old).detach()
    torch.testing.assert_close(slope[mask], (0.5 * (1 - (-d).exp()) / 96)[mask])
    assert loss.item() != pytest.approx(only_kl)


def test_the_kl_term_is_added_with_its_weight_estimate_and_correction():
    new, old, reference, advantage, mask = batch(2)
    without, _ = PolicyLoss()(new, old, advantage, mask)
    d = new - reference
    for kind, value in {"k1": d, "k2": d**2 / 2, "k3": (-d).exp() + d - 1, "k3+": (-d).exp() + d - 1}.items():
        loss, seen = PolicyLoss(beta=0.3, kl=kind, kl_correct=False)(new, old, advantage, mask, ref_log_prob=reference)
        assert (loss - without).item() == pytest.approx(0.3 * value[mask].mean().item())
        assert seen["ref_kl"] == pytest.approx(value[mask].mean().item())
    corrected, _ = PolicyLoss(beta=0.3, kl="k2")(new, old, advantage, mask, ref_log_prob=reference)
    expected = ((new - old).exp() * d**2 / 2)[mask].mean().item()
    assert (corrected - without).item() == pytest.approx(0.3 * expected)
    watched, seen = PolicyLoss()(new, old, advantage, mask, ref_log_prob=reference)
    assert watched.item() == without.item()
    assert seen["ref_kl"] > 0


@pytest.mark.parametrize("kind", ["k1", "k2", "k3", "k1+", "k3+"])
def test_the_corrected_kl_has_the_divergence_s_gradient_on_samples_of_an_older_policy(kind):
    g = torch.Generator().manual_seed(0)
    logits, old, reference = torch.randn(3, 5, generator=g, dtype=torch.float64)
    p, r = logits.requires_grad_().log_softmax(0), reference.log_softmax(0)
    draws = (100 * old.softmax(0)).round().long()  # the older policy's tokens, each as often as expected
    tokens = torch.repeat_interleave(torch.arange(5), draws)[:, None]
    q = (draws / draws.sum()).double().log()
    ones = torch.ones(tokens.shape, dtype=torch.float64)
    total, _ = PolicyLoss(beta=1.0, kl=kind)(p[tokens], q[tokens], 0 * ones, ones, ref_log_prob=r[tokens])
    divergence = (p.exp() * (p - r)).sum()
    if kind != "k2":
        assert total.item() == pytest.approx(divergence.item(), abs=1e-6)
    slopes = [torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (total, divergence)]
    torch.testing.assert_close(*slopes, atol=1e-6, rtol=1e-6)


def test_it_is_a_plain_value():
    assert pickle.loads(pickle.dumps(PolicyLoss(clip_high=0.5))) == PolicyLoss(clip_high=0.5)
    assert (PolicyLoss().clip_low, PolicyLoss().clip_high, PolicyLoss().dual_clip) == (0.2, 0.28, 10.0)
    assert (PolicyLoss().aggregation, PolicyLoss().beta) == ("token-mean", 0.0)


def test_bad_input_is_named():
    new, old, _, advantage, mask = batch()
    for keywords, words in [
        ({"dual_clip": 1.0}, "greater than 1"),
        ({"clip_low": 1.5}, "lie in 0..1"),
        ({"surrogate": "ppo"}, "'ppo'"),
    ]:
        with pytest.raises(ValueError, match=words):
            PolicyLoss(**keywords)
    with pytest.raises(ValueError, match="pass ref_log_prob"):
        PolicyLoss(beta=0.1)(new, old, advantage, mask)
    with pytest.raises(ValueError, match=r"advantage must have shape \[4, 6\]"):
        PolicyLoss()(new, old, advantage[:, 0], mask)
    with pytest.raises(ValueError, match=r"mask \[N, L\]"):
        PolicyLoss()(new[0], old[0], advantage[0], mask[0])
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="old_log_prob is NaN or infinite"):
            PolicyLoss()(new, old.masked_fill(mask, bad), advantage, mask)
