"""VPL: users told apart from few pairs, new users without learning, any encoder, controls, bad input."""

import math

import pytest
import samples
import torch
from gymnasium import spaces
from tensordict import TensorDict

from guerdon.models.latent_reward import second_better
from guerdon.models.reward_encoder import Embeddings, Features, Observations
from guerdon.parts.diagonal_gaussian import gaussian_kl
from guerdon.rewards.preference import VPL
from guerdon.rewards.preference.vpl import cosine_cycles
from guerdon.types import FIRST, SECOND, TIE, Pairs, Rollout, Spec

SPEC = Spec(observation_space=spaces.Dict({"x": spaces.Box(-9, 9, (2,))}), action_space=spaces.Discrete(2))


def things(x, steps: int = 1) -> Rollout:
    """x [n, 2] as segments in which every step led there."""
    no = torch.zeros(steps, len(x), dtype=torch.bool)
    obs = TensorDict({"x": x.expand(steps + 1, -1, -1)}, (steps + 1, len(x)))
    return Rollout(obs=obs, action=no.long(), extrinsic=no.float(), terminated=no, truncated=no, valid=~no)


def asked(users: int, n: int, seed: int = 0, noisy: bool = True) -> Pairs:
    """Users of two kinds, in turn, who want 3 k x_1 + x_2, k = -1 or 1."""
    g = torch.Generator().manual_seed(seed)
    k = (2.0 * (torch.arange(users) % 2) - 1).repeat_interleave(n)
    a, b = torch.randn(2, users * n, 2, generator=g)
    lead = 3 * k * (b - a)[:, 0] + (b - a)[:, 1]
    chance = lead.sigmoid() if noisy else (lead > 0).float()
    label = (torch.rand(len(lead), generator=g) < chance).long()
    names = [f"user {i}" for i in range(users) for _ in range(n)]
    return Pairs(first=things(a), second=things(b), label=label, columns={"user": names})


def built(seed: int = 0, spec: Spec = SPEC, **options) -> VPL:
    kept = {
        "encoder": Features(["x"]),
        "latent": 2,
        "hidden": (32, 32),
        "batch_size": 32,
        "iterations": 300,
        "comparisons": 50,
    }
    made = VPL(**kept | options)
    made.build(spec, generator=torch.Generator().manual_seed(seed))
    return made


@pytest.fixture(scope="module")
def taught() -> VPL:
    made = built()
    made.update(asked(500, 16))
    return made


def right(made: VPL, pairs: Pairs) -> float:
    """Accuracy for the users of `pairs`, each scored for after 8 further pairs."""
    users = made.posterior(pairs).names
    z = made.posterior(asked(len(users), 8, seed=5)).mu
    with torch.no_grad():
        lead = made.score_as(pairs.second, z)[:, 0] - made.score_as(pairs.first, z)[:, 0]
    n = len(pairs.label) // len(users)
    own = torch.stack([lead[i, i * n : (i + 1) * n] for i in range(len(users))])
    return float(((own > 0) == pairs.label.view(-1, n)).float().mean())


def test_new_users_are_served_without_learning(taught):
    assert right(taught, asked(100, 20, seed=3, noisy=False)) > 0.9


def test_a_user_who_was_asked_is_scored_for_until_somebody_else_is(taught):
    pairs = asked(2, 8, seed=7)
    x = things(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    for user, sign in ((0, -1), (1, 1)):
        found = taught.adapt(pairs.rows(slice(8 * user, 8 * user + 8)))
        assert found.names == [f"user {user}"]
        torch.testing.assert_close(taught.mu[None], found.mu)
        score = taught.score(x)[0].detach()
        assert sign * float(score[0] - score[1]) > 1
        torch.testing.assert_close(score, taught.score_as(x, found.mu)[0, 0])
    assert taught.adapt(None).mu.tolist() == [[0.0, 0.0]]
    assert not taught.log_var.any()
    assert taught.adapt(pairs.rows(slice(0))).mu.tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="one user at a time, got 2"):
        taught.adapt(pairs)


def test_who_contradicts_himself_is_less_well_known(taught):
    one = asked(40, 8, seed=8)
    clear = taught.posterior(one)
    doubled = Pairs(
        first=one.first.columns(torch.arange(320).repeat(2)), second=one.second.columns(torch.arange(320).repeat(2)),
        label=torch.cat([one.label, 1 - one.label]), columns={"user": one.columns["user"] * 2},
    )  # fmt: skip
    unclear = taught.posterior(doubled)
    assert unclear.names == clear.names
    prior = torch.zeros(2), torch.zeros(2)
    said = [gaussian_kl(found.mu, found.log_var, *prior).mean() for found in (unclear, clear)]
    assert said[0] < 0.8 * said[1]
    x = things(torch.randn(100, 2, generator=torch.Generator().manual_seed(1)))
    spread = [taught.score_as(x, found.mu)[:, 0].detach().std(1).mean() for found in (unclear, clear)]
    assert spread[0] < 0.8 * spread[1]  # and fewer differences are made for him


def test_labels_that_are_all_the_same_are_no_trouble(taught):
    pairs = asked(1, 6)
    for label in (FIRST, SECOND, TIE):
        same = Pairs(first=pairs.first, second=pairs.second, label=torch.full((6,), label), columns=pairs.columns)
        found = taught.posterior(same)
        assert found.mu.isfinite().all()
        assert found.log_var.isfinite().all()


def test_an_encoder_that_does_not_see_labels_cannot_tell_users_apart():
    hidden = built(labelled=False)
    hidden.update(asked(500, 16))
    assert right(hidden, asked(100, 20, seed=3, noisy=False)) < 0.68
    pairs = asked(2, 8, seed=7)
    swapped = Pairs(first=pairs.first, second=pairs.second, label=1 - pairs.label, columns=pairs.columns)
    assert torch.equal(hidden.posterior(pairs).mu, hidden.posterior(swapped).mu)
    assert float(hidden.gains(pairs, torch.tensor([[0, 1]]), by="gain")) == pytest.approx(0.0, abs=1e-5)


def test_a_heavy_divergence_makes_z_useless_and_the_model_bradley_terrys():
    lost = built(kl_weight=3.0)
    logs = lost.update(asked(500, 16))
    assert logs["VPL/kl"] < 0.05
    assert right(lost, asked(100, 20, seed=3, noisy=False)) < 0.7
    found = lost.posterior(asked(50, 8))
    x = things(torch.randn(20, 2, generator=torch.Generator().manual_seed(0)))
    for z in found.mu[:5]:
        torch.testing.assert_close(lost.score_as(x, z[None])[0], lost.score(x), atol=0.2, rtol=0.2)


def test_chosen_queries_tell_more_than_the_worst(taught):
    pairs = asked(1, 30, seed=9)
    every = torch.arange(30)[:, None]
    gains = taught.gains(pairs, every)
    best = taught.choose(pairs)
    assert best.tolist() == [int(gains.argmax())]
    apart = (pairs.first.obs["x"][1, :, 0] - pairs.second.obs["x"][1, :, 0]).abs()
    assert float(torch.corrcoef(torch.stack([gains, apart]))[0, 1]) > 0.3  # users differ in x_1: far apart there tells
    three = taught.choose(pairs, 3, sets=50)
    assert len(set(three.tolist())) == 3
    known = asked(1, 8, seed=2)
    assert taught.gains(pairs, every, known=known).mean() < 0.5 * gains.mean()  # little is left to learn
    with pytest.raises(ValueError, match="cannot choose 31 of 30"):
        taught.choose(pairs, 31)


@pytest.mark.parametrize("options", [{"prior": "learned"}, {"sphere": True}])
def test_with_a_learned_prior_or_a_sphere_it_learns(options):
    made = built(iterations=200, **options)
    logs = made.update(asked(500, 16))
    assert logs["VPL/accuracy"] > 0.75
    assert bool(made.net.prior_mu.any()) == (made.prior == "learned")


def test_concatenated_pairs_are_learned_from_too():
    made = built(kind="concatenated", context=3, iterations=200)
    pairs = asked(4, 12, noisy=False)
    logs = made.update(pairs)
    assert logs["VPL/accuracy"] > 0.66  # plain Bradley-Terry: 0.60
    with pytest.raises(ValueError, match="reads 3 pairs"):
        made.posterior(pairs)


@pytest.mark.parametrize("scale", ["max", "std", "spo"])
def test_scaled_rewards_are_not_there_before_and_comparable_after(scale):
    made = built(scale=scale, iterations=40)
    x = things(torch.randn(20, 2, generator=torch.Generator().manual_seed(0)))
    assert made.score(x).isnan().all()
    made.update(asked(100, 16))
    score = made.score(x).detach()
    assert score.isfinite().all()
    if scale == "spo":
        assert ((score >= 0) & (score <= 1)).all()


def test_a_segment_is_worth_its_steps_and_padding_nothing(taught):
    a, b = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    label, users = torch.zeros(5).long(), {"user": ["al"] * 5}
    long = Pairs(first=things(a, 3), second=things(b, 3), label=label, columns=users)
    short = Pairs(first=things(a), second=things(b), label=label, columns=users)
    torch.testing.assert_close(taught.posterior(long).mu, taught.posterior(short).mu)
    padded = samples.replace(long.first)
    padded.obs["x"][2:] = 1e9
    padded.valid[1:] = False
    torch.testing.assert_close(
        taught.posterior(Pairs(first=padded, second=long.second, label=label, columns=users)).mu,
        taught.posterior(long).mu,
    )


def test_pairs_without_weight_teach_nothing():
    """Half of each user's pairs are answered the other way round, once without weight and once with it."""
    pairs = asked(200, 16)
    weight = torch.tensor([1.0, 0.0]).repeat(1600)
    doubtful = torch.where(weight == 0, 1 - pairs.label, pairs.label)
    learned = []
    for w in (weight, None):
        made = built(iterations=120, labelled=False, user="user")
        logs = made.update(
            Pairs(first=pairs.first, second=pairs.second, label=doubtful, weight=w, columns=pairs.columns)
        )
        learned.append(logs["VPL/accuracy"])
    assert learned[0] > learned[1] + 0.04


def test_texts_and_observations_go_through_the_same_code():
    label = torch.tensor([FIRST, SECOND, TIE, FIRST, SECOND, FIRST])
    users = {"user": ["al", "al", "al", "bo", "bo", "bo"]}
    texts = [samples.solutions(6, seed=s) for s in (1, 2)]
    made = built(spec=samples.spec(), encoder=Embeddings(), iterations=3)
    logs = made.update(Pairs(first=texts[0], second=texts[1], label=label, columns=users))
    assert math.isfinite(logs["VPL/loss"])
    assert made.score(texts[0]).shape == (6,)
    rollouts = [samples.rollout(num_envs=6, seed=s) for s in (1, 2)]
    made = built(spec=samples.spec(), encoder=Observations(), iterations=3)
    before = [p.clone() for p in made.encoder.parameters()]
    made.update(Pairs(first=rollouts[0], second=rollouts[1], label=label, columns=users))
    assert any(not torch.equal(p, q) for p, q in zip(before, made.encoder.parameters(), strict=True))
    assert made.score(rollouts[0]).shape == (8, 6)


def test_the_weight_of_the_divergence_rises_along_half_a_cosine():
    assert cosine_cycles(0.0, 4) == 0
    assert cosine_cycles(0.125, 4) == pytest.approx(0.5)
    assert cosine_cycles(0.2499999, 4) == pytest.approx(1.0, abs=1e-6)
    assert cosine_cycles(0.25, 4) == 0
    assert cosine_cycles(0.7, 0) == 1
    assert second_better(torch.tensor([FIRST, SECOND, TIE])).tolist() == [0.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("columns", "message"),
    [(None, "column 'user' of pairs, which have none"), ({"usr": [0] * 8}, "which have 'usr'"),
     ({"user": [None] * 8}, "pair 0 has no user"), ({"user": list(range(8))}, "no user has 2 pairs")],
)  # fmt: skip
def test_pairs_of_nobody_or_of_too_many_are_refused(columns, message):
    pairs = asked(1, 8)
    pairs.columns = columns
    with pytest.raises(ValueError, match=message):
        built().update(pairs)


def test_what_cannot_be_read_is_refused():
    made, pairs = built(), asked(2, 8)
    broken = things(torch.full((16, 2), torch.nan))
    with pytest.raises(ValueError, match=r"VPL.*NaN"):
        made.update(Pairs(first=broken, second=pairs.second, label=pairs.label, columns=pairs.columns))
    with pytest.raises(ValueError, match="VPL: 16 labels compare 15 and 16"):
        made.update(
            Pairs(first=things(torch.zeros(15, 2)), second=pairs.second, label=pairs.label, columns=pairs.columns)
        )
    with pytest.raises(ValueError, match="FIRST"):
        Pairs(first=pairs.first, second=pairs.second, label=torch.full((16,), 3))
    for options in ({"kind": "sets"}, {"prior": "flow"}, {"scale": "min"}, {"latent": 0}, {"kl_weight": -1.0}):
        with pytest.raises(ValueError, match="VPL"):
            VPL(**options)
