"""A reward of a latent: scales that do not depend on the user, the sphere, and what queries would tell."""

import math

import pytest
import torch

from guerdon.models.latent_reward import LatentReward, Seen
from guerdon.models.query_gain import Answered, query_gains


def model(seed=0, **options) -> LatentReward:
    torch.manual_seed(seed)
    kept = {"hidden": (16,), "kind": "set", "pairs": 4, "learned_prior": False, "sphere": False, "scale": "none",
            "comparisons": 30}  # fmt: skip
    made = LatentReward(3, 2, **kept | options)
    made.keep(torch.randn(50, 3, generator=rng()), rng())
    return made


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def seen(n=6, seed=1, steps=1):
    return Seen(torch.randn(steps, n, 3, generator=rng(seed)), torch.ones(steps, n, dtype=torch.bool))


def nothing():
    return Answered(seen(0), seen(0), torch.zeros(0))


@torch.no_grad()
def test_self_play_scores_are_chances_whose_mean_over_the_set_is_a_half():
    net, z = model(scale="spo"), torch.randn(4, 2, generator=rng(2))
    scores = net.scores(net.reference, z)
    assert ((scores >= 0) & (scores <= 1)).all()
    torch.testing.assert_close(scores.mean(1), torch.full((4,), 0.5))
    a, b = seen(5, seed=3), seen(5, seed=4)
    first, second = net.values(a, b, z[:1].expand(5, -1))
    again = net.values(b, a, z[:1].expand(5, -1))
    torch.testing.assert_close(second - first, again[0] - again[1])


@torch.no_grad()
def test_self_play_scores_do_not_change_with_the_scale_of_a_sharp_user():
    net, z, x = model(scale="spo"), torch.zeros(1, 2), torch.randn(7, 3, generator=rng(5))
    net.head.last.weight *= 1e6
    sharp = net.scores(x, z)
    net.head.last.weight *= 20
    torch.testing.assert_close(net.scores(x, z), sharp, atol=1e-3, rtol=0)
    assert sharp.std() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("scale", ["max", "std"])
def test_other_scales_bring_every_user_to_one(scale):
    net, z = model(scale=scale), torch.randn(4, 2, generator=rng(2))
    known = net.scores(net.reference, z)
    size = known.abs().amax(1) if scale == "max" else known.std(1)
    torch.testing.assert_close(size, torch.ones(4))
    before = net.scores(x := torch.randn(7, 3, generator=rng(3)), z)
    net.head.last.weight *= 20
    net.head.last.bias *= 20
    torch.testing.assert_close(net.scores(x, z), before, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_segment_is_worth_the_sum_of_its_valid_steps():
    net, z, s = model(), torch.randn(6, 2, generator=rng(2)), seen(steps=3)
    s.valid[2, :3] = False
    s = Seen(torch.where(s.valid[..., None], s.x, 0.0), s.valid)
    total = net.values(s, s, z)[0]
    steps = torch.stack([net.scores(step, z).diagonal() for step in s.x])
    torch.testing.assert_close(total, steps[:2].sum(0) + torch.where(s.valid[2], steps[2], 0.0))


@torch.no_grad()
def test_on_the_sphere_only_the_direction_of_z_counts():
    net, z, x = model(sphere=True), torch.randn(4, 2, generator=rng(2)), torch.randn(7, 3)
    torch.testing.assert_close(net.placed(z).norm(dim=-1), torch.full((4,), 2**0.5))
    torch.testing.assert_close(net.scores(x, 5 * z), net.scores(x, z))
    assert net.scores(x, torch.zeros(1, 2)).isfinite().all()


@torch.no_grad()
def test_nothing_known_is_the_prior():
    net = model(learned_prior=True)
    net.prior_mu += 3
    empty = torch.zeros(2, 4, 3)
    mask = torch.tensor([[False] * 4, [True] * 4])
    mu, _ = net.belief(empty, empty, torch.zeros(2, 4), mask)
    assert mu[0].tolist() == [3.0, 3.0]
    assert mu[1].tolist() != [3.0, 3.0]
    mu, log_var = net.belief(empty[:, :0], empty[:, :0], torch.zeros(2, 0), mask[:, :0])
    assert mu.tolist() == [[3.0, 3.0]] * 2
    assert not log_var.any()


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("by", ["answers", "gain", "posterior"])
def test_gains_are_finite_and_an_encoder_that_hides_answers_gains_nothing(size, by):
    net = model()
    sets = torch.rand(10, 12, generator=rng()).topk(size).indices
    known = Answered(seen(2, 7), seen(2, 8), torch.tensor([0.0, 1.0]))
    for answered in (nothing(), known):
        gains = query_gains(net, answered, seen(12, 2), seen(12, 3), sets, by=by, generator=rng())
        assert gains.shape == (10,)
        assert gains.isfinite().all()
        if by == "answers":
            assert gains.min() > -0.05  # of many pairs it is an estimate
            assert gains.max() < size * math.log(2)
        if by == "gain":
            assert gains.min() > 0
            hidden = query_gains(net, answered, seen(12, 2), seen(12, 3), sets, by=by, labelled=False, generator=rng())
            assert hidden.abs().max() < 1e-5


def test_the_gain_of_one_query_is_the_gain_by_hand():
    from guerdon.parts.diagonal_gaussian import information_gain

    net, a, b = model(), seen(3, 2), seen(3, 3)
    found, told = (
        query_gains(net, nothing(), a, b, torch.tensor([[1]]), by=by, draws=4000, generator=rng())
        for by in ("gain", "answers")
    )
    with torch.no_grad():
        z = torch.randn(4000, 2, generator=rng(5))
        rows = torch.ones(4000, dtype=torch.long)
        first, second = net.values(a.at(rows), b.at(rows), z)
        each = (second - first).sigmoid()
        p = each.mean()
        pair = a.mean[1].expand(2, 1, -1), b.mean[1].expand(2, 1, -1)
        mu, log_var = net.belief(*pair, torch.tensor([[0.0], [1.0]]), torch.ones(2, 1, dtype=torch.bool))
        by_hand = information_gain(mu, log_var, torch.stack([1 - p, p]))
    assert float(found) == pytest.approx(float(by_hand), rel=0.02)

    def entropy(x):
        return -(x * x.log() + (1 - x) * (1 - x).log())

    assert float(told) == pytest.approx(float(entropy(p) - entropy(each).mean()), rel=0.1)
