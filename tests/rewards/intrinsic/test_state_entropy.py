"""RE3, RISE and REVD: distances to nearest neighbours in the features of a random network."""

import math

import pytest
import torch
from rewards.intrinsic.remembering import built, rollout, scores, spec, stream

from guerdon.rewards.intrinsic import RE3, REVD, RISE


def on_numbers(made, num_envs=1):
    """The reward in features that are the observations themselves."""
    built(made, of=spec(num_envs))
    net = made.net if isinstance(made, REVD) else made.states.net
    net.of = lambda r: r.obs["obs"].float()
    return made


KNOWN = rollout([9, 0, 1, 3, 7])  # steps lead to 0, 1, 3 and 7
ASKED = rollout([0, 2, 7, -1])  # sorted distances 1 1 2 5; 0 4 6 7; 1 2 4 8


def test_re3_on_known_points():
    made = on_numbers(RE3(features=1, k=3))
    assert (scores(made, KNOWN) == 0).all(), "there was nothing to compare with"
    torch.testing.assert_close(made.score(ASKED).flatten(), torch.tensor([2.0, 6.0, 4.0]).log1p())


def test_re3_takes_the_mean_of_the_logarithms():
    made = on_numbers(RE3(features=1, k=3, average=True))
    scores(made, KNOWN)
    expected = [[1, 1, 2], [0, 4, 6], [1, 2, 4]]
    torch.testing.assert_close(made.score(ASKED).flatten(), torch.tensor(expected).float().log1p().mean(1))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_rise_on_known_points(alpha):
    made = on_numbers(RISE(features=1, k=3, alpha=alpha))
    mean = on_numbers(RISE(features=1, k=2, alpha=alpha, average=True))
    scores(made, KNOWN)
    scores(mean, KNOWN)
    torch.testing.assert_close(made.score(ASKED).flatten(), torch.tensor([2.0, 6.0, 4.0]) ** (1 - alpha))
    expected = torch.tensor([[1.0, 1.0], [0.0, 4.0], [1.0, 2.0]]) ** (1 - alpha)
    torch.testing.assert_close(mean.score(ASKED).flatten(), expected.mean(1))


def test_a_short_memory_pays_for_its_farthest():
    made = on_numbers(RE3(features=1, k=9))
    scores(made, KNOWN)
    torch.testing.assert_close(made.score(ASKED).flatten(), torch.tensor([5.0, 7.0, 8.0]).log1p())


@pytest.mark.parametrize("make", [RE3, RISE])
def test_a_full_memory_forgets_the_oldest(make):
    made, fresh = on_numbers(make(features=1, k=2, capacity=3)), on_numbers(make(features=1, k=2, capacity=3))
    scores(made, rollout([0, 50, 60]), KNOWN)
    scores(fresh, rollout([0, 1, 3, 7]))
    assert torch.equal(made.score(ASKED), fresh.score(ASKED))


@pytest.mark.parametrize("make", [RE3, RISE])
def test_replayed_steps_are_worth_the_same(make):
    made = built(make())
    scores(made, stream())
    r = stream(seed=1)
    steps = rollout([[0, 0], [0, 0]])
    steps.obs["obs"] = torch.stack([r.obs["obs"][5, :2], r.obs["obs"][6, :2]])
    torch.testing.assert_close(made.score(steps)[0], made.score(r)[5, :2] * r.valid[5, :2])


def test_revd_by_hand():
    """Episodes 0, 1, 3 and then 10, 11, 15: the second is compared with the first and with itself so far."""
    made = on_numbers(REVD(features=1, k=2, epsilon=0.5))
    paid = made.score(rollout([0, 1, 3, 10, 11, 15], ends=[(1, 0)], invalid=[(2, 0)])).flatten().tolist()
    one = 1.0 * (8 / (1 + 0.5)) ** 0.5  # at 11: one neighbour inside (10), so the nearest outside (3)
    two = (1 + 4) / 2 * (14 / (5 + 0.5)) ** 0.5  # at 15: second nearest inside is 10, outside 1; L of 1 and 4
    assert paid == pytest.approx([0, 0, 0, one, two], rel=1e-5)


@pytest.mark.parametrize("spread", [True, False])
def test_revd_equals_lists_over_a_long_stream(spread):
    made, now, last, near, started = on_numbers(REVD(features=1, k=3, spread=spread), 4), [], [], [], False
    for seed in range(4):
        r = stream(seed=seed)
        r.obs["obs"] = r.obs["obs"][..., :1]
        paid, shown = scores(made, r), r.obs["obs"][..., 0].double().tolist()
        if not started:
            now, last, near, started = [[x] for x in shown[0]], [[] for _ in range(4)], [[] for _ in range(4)], True
        for t in range(40):
            for b in range(4):
                x, expected = shown[t + 1][b], 0.0
                if not r.valid[t, b]:
                    now[b], last[b], near[b] = [], now[b], []
                inside, outside = (sorted(abs(x - y) for y in held[b]) for held in (now, last))
                near[b] += inside[:1]
                j = min(3, len(inside), len(outside)) - 1
                if r.valid[t, b] and j >= 0:
                    expected = math.sqrt(outside[j] / (inside[j] + 1e-4))
                    expected *= sum(near[b]) / len(near[b]) if spread else 1.0
                assert paid[t, b] == pytest.approx(expected, rel=1e-3, abs=1e-6)
                now[b].append(x)


def test_standing_still_pays_nothing_by_revd():
    made = on_numbers(REVD(features=1, k=2))
    paid = made.score(rollout([0, 5, 9, 2, 2, 2, 2], ends=[(1, 0)], invalid=[(2, 0)])).flatten()
    assert (paid == 0).all()
    bare = on_numbers(REVD(features=1, k=2, spread=False))
    paid = bare.score(rollout([0, 5, 9, 2, 2, 2, 2], ends=[(1, 0)], invalid=[(2, 0)])).flatten()
    assert paid[4:].min() > 100, "without L that is where the most is to be had"
