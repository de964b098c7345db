import pytest
import torch
from rewards.intrinsic.remembering import built, rollout, scores, spec, stream

from guerdon.rewards.intrinsic import PseudoCount
from guerdon.types import streams


def one(made, num_envs=1):
    return built(made, of=spec(num_envs))


def test_hand_computed_exact_counts_of_life():
    made = one(PseudoCount())
    first = rollout([5, 1, 2, 1, 1])  # the first observation is nobody's step
    torch.testing.assert_close(scores(made, first).flatten(), torch.tensor([1, 1, 1 / 2**0.5, 1 / 3**0.5]))
    again = rollout([1, 5, 1])
    torch.testing.assert_close(scores(made, again).flatten(), torch.tensor([1.0, 1 / 2]))


def test_hand_computed_counts_of_episodes():
    """Steps 0 to 2, an end, the step that only resets, two more steps; the first observation counts."""
    made = one(PseudoCount(episodic=True, power=1.0))
    walk = rollout([5, 1, 5, 1, 5, 5, 1], ends=[(2, 0)], invalid=[(3, 0)])
    torch.testing.assert_close(scores(made, walk).flatten(), torch.tensor([1, 1 / 2, 1 / 2, 0, 1 / 2, 1]))
    onward = rollout([1, 1, 5])  # the episode runs on: 5 twice, 1 once
    torch.testing.assert_close(scores(made, onward).flatten(), torch.tensor([1 / 2, 1 / 3]))


def test_environments_share_counts_of_life_only():
    obs = [[0, 0], [1, 1], [1, 2]]
    torch.testing.assert_close(one(PseudoCount(), 2).score(rollout(obs)), torch.tensor([[1.0, 1.0], [1 / 3**0.5, 1.0]]))
    torch.testing.assert_close(
        one(PseudoCount(episodic=True), 2).score(rollout(obs)), torch.tensor([[1.0, 1.0], [1 / 2**0.5, 1.0]])
    )


@pytest.mark.parametrize("episodic", [False, True])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_equals_a_dictionary_over_a_long_stream(episodic, power):
    made, seen, opened = built(PseudoCount(episodic=episodic, power=power)), [{} for _ in range(4)], False
    for seed in range(6):
        r = stream(places=5, seed=seed)
        paid, shown = scores(made, r), r.obs["obs"][..., 0].int().tolist()
        fresh = [not opened] * 4  # whose first observation is still to come
        for t in range(40):
            before = [dict(table) for table in seen] if episodic else [dict(seen[0])] * 4
            for b in range(4):
                if episodic and t == 0 and fresh[b]:
                    seen[b][shown[0][b]] = 1
                    before[b] = dict(seen[b])
                place, valid = shown[t + 1][b], bool(r.valid[t, b])
                if episodic and not valid:
                    seen[b] = {place: 1}
                    assert paid[t, b] == 0
                    continue
                expected = (before[b].get(place, 0) + 1) ** -power if valid else 0
                assert paid[t, b] == pytest.approx(expected)
                table = seen[b if episodic else 0]
                table[place] = table.get(place, 0) + valid
        opened = True


def test_hashed_counts_are_counts_of_codes():
    made, experience = built(PseudoCount(kind="hashed", bits=3)), stream()
    paid = made.score(experience)
    codes = made.hash.of(experience.obs)
    assert 4 < len(codes.unique()) <= 8
    codes = codes[1:][experience.valid]
    order = experience.valid.nonzero()
    for i in range(0, len(codes), 7):
        earlier = (order[:, 0] < order[i, 0]) & (codes == codes[i])
        assert paid[tuple(order[i])] == pytest.approx((int(earlier.sum()) + 1) ** -0.5)


def test_a_replayed_step_is_paid_by_the_counts_of_now():
    made = one(PseudoCount(), 4)
    scores(made, rollout([[0] * 4, [1] * 4, [2] * 4]))
    replayed = rollout([[0, 0, 0], [1, 2, 3]])  # T = 1: three steps that know nothing of each other
    torch.testing.assert_close(made.score(replayed), torch.tensor([[5**-0.5, 5**-0.5, 1.0]]))


def test_nearest_neighbours_of_life_forget_nothing_at_ends():
    made = built(PseudoCount(kind="knn", k=2, power=0.5))
    for module in (made.net.given,):
        module.moments.clear()
    r = stream(places=2)
    assert made.score(r)[r.valid].allclose(torch.tensor(1000.0)), "nothing is near: 1 / c"
    scores(made, r)
    assert (made.score(r)[r.valid] < 0.71).all(), "two neighbours at no distance: 1 / (2^0.5 + c)"
    torch.testing.assert_close(made.score(r)[r.valid].max(), torch.tensor(1 / (2**0.5 + 1e-3)))


def test_it_composes_as_any_reward_and_says_when_it_is_episodic():
    assert not PseudoCount().episodic
    assert PseudoCount(episodic=True).episodic
    assert [s.name for s in streams(0.1 * PseudoCount(kind="hashed"))] == ["reward"]
    assert repr(PseudoCount(episodic=True, bits=16)) == "PseudoCount(episodic=True, bits=16)"
