"""RewardFusion: a convex combination with neighbours, and what keeps them out."""

import pytest
import samples
import torch

from guerdon.models.reward_encoder import Features
from guerdon.parts.completions_from_text import completions_from_text
from guerdon.rewards.shaping import Extrinsic, RewardFusion
from guerdon.types import Pairs, Reward


class Column(Reward):
    """Pays what stands in the column "r"."""

    def score(self, experience):
        return torch.tensor(experience.column("r", self.name), dtype=torch.float32)


def points(x, r):
    """Completions with the features x [n, 2] and the rewards r [n]."""
    rows = [{"prompt": "?", "completion": str(i), "x": v, "r": w} for i, (v, w) in enumerate(zip(x, r, strict=True))]
    return completions_from_text(rows)


def fused(corpus=None, **options):
    made = RewardFusion(Column(), encoder=Features(["x"], width=2), **options)
    made.build(samples.spec(), generator=torch.Generator().manual_seed(0))
    if corpus is not None:
        made.update(corpus)
    return made


ANGLES = torch.tensor([0.0, 10.0, 20.0, 90.0]).deg2rad()
X = torch.stack([ANGLES.cos(), ANGLES.sin()], 1).tolist()


def test_by_hand():
    made = fused(points(X[1:], [2.0, 5.0, 100.0]))
    s1, s2 = ANGLES[1].cos(), ANGLES[2].cos()  # 0.985 and 0.940; the third is at a right angle
    expected = (1.0 + s1 * 2 + s2 * 5) / (1 + s1 + s2)
    torch.testing.assert_close(made.score(points(X[:1], [1.0])), expected[None], rtol=1e-4, atol=1e-5)


def test_what_is_not_near_enough_does_not_count():
    made = fused(points(X[1:], [2.0, 5.0, 100.0]), threshold=0.97)
    s1 = ANGLES[1].cos()
    expected = (1.0 + s1 * 2) / (1 + s1)
    torch.testing.assert_close(made.score(points(X[:1], [1.0])), expected[None], rtol=1e-4, atol=1e-5)
    assert made.score(points([[-1.0, 0.0]], [7.0])).item() == 7


def test_without_a_corpus_or_neighbours_it_is_the_reward():
    query = points(X, [1.0, 2, 3, 4])
    assert fused().score(query).tolist() == [1, 2, 3, 4]
    assert fused(points(X, [9.0] * 4), k=0).score(query).tolist() == [1, 2, 3, 4]


def test_only_k_neighbours_and_a_duplicate_leaves_it():
    assert fused(points(X, [5.0, 0, 0, 0]), k=1).score(points(X[:1], [5.0])).item() == pytest.approx(5)


def test_it_is_a_convex_combination():
    g = torch.Generator().manual_seed(0)
    corpus_r = torch.randn(200, generator=g)
    made = fused(points(torch.randn(200, 2, generator=g).tolist(), corpus_r.tolist()), threshold=-1.0)
    r = torch.randn(50, generator=g)
    value = made.score(points(torch.randn(50, 2, generator=g).tolist(), r.tolist()))
    assert (value <= torch.maximum(r, corpus_r.max()) + 1e-5).all()
    assert (value >= torch.minimum(r, corpus_r.min()) - 1e-5).all()


def test_nan_stays_nan_and_enters_no_corpus():
    made = fused(points(X, [torch.nan, 2.0, torch.nan, torch.nan]))
    assert len(made.memory) == 1
    assert made.score(points(X[:2], [torch.nan, 2.0])).isnan().tolist() == [True, False]


def test_the_oldest_make_way_with_their_rewards():
    made = fused(points(X[:2], [50.0, 60.0]), capacity=2)
    made.update(points(X[2:3], [5.0]))
    made.update(points(X[1:2], [2.0]))
    expected = fused(points(X[1:3], [2.0, 5.0])).score(points(X[:1], [1.0]))
    torch.testing.assert_close(made.score(points(X[:1], [1.0])), expected)


def test_both_sides_of_pairs_are_taken():
    made = fused()
    pair = Pairs(first=points(X[:1], [1.0]), second=points(X[1:2], [2.0]), label=torch.tensor([0]))
    assert made.update(pair) == {"corpus": 2.0}


def test_texts_are_near_by_instruction_and_response():
    made = RewardFusion(Column(), encoder="bag-of-words", threshold=0.8)
    made.build(samples.spec())

    def texts(*rows):
        return completions_from_text([{"prompt": p, "completion": c, "r": r} for p, c, r in rows])

    made.update(texts(("name a colour", "red is a colour", 4.0)))
    same, other_prompt = made.score(
        texts(("name a colour", "red is a colour", 0.0), ("count to ten", "red is a colour", 0.0))
    )
    assert same == pytest.approx(2)
    assert other_prompt == 0


def test_rollouts_need_an_encoder_of_theirs():
    made = RewardFusion(Extrinsic(), encoder="bag-of-words")
    made.build(samples.spec())
    with pytest.raises(TypeError, match=r"RewardFusion.*RewardEncoder"):
        made.update(samples.rollout())


def test_bad_options_are_refused():
    for options in ({"k": -1}, {"threshold": 1.5}):
        with pytest.raises(ValueError, match="RewardFusion"):
            RewardFusion(Column(), **options)
