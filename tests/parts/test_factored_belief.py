"""A factored belief against closed forms, scipy's entropy and enumeration."""

from __future__ import annotations

import itertools

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.factored_belief import attribute_entropy, belief_entropy, check_belief, hard_update, soft_update

F64 = torch.float64


def random_prior(seed: int, sizes=(2, 3, 5)) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    prior = torch.zeros(len(sizes), max(sizes), dtype=F64)
    for row, size in zip(prior, sizes, strict=True):
        row[:size] = torch.rand(size, generator=g, dtype=F64) + 0.05
    return prior / prior.sum(1, keepdim=True)


def only(prior, attribute, values) -> torch.Tensor:
    allowed = torch.ones_like(prior, dtype=torch.bool)
    allowed[attribute] = False
    allowed[attribute, list(values)] = True
    return allowed


def test_entropy_in_bits():
    for size in (2, 3, 16):
        uniform = torch.full((1, size), 1 / size, dtype=F64)
        assert float(belief_entropy(uniform)) == pytest.approx(torch.log2(torch.tensor(float(size))).item())
    prior = random_prior(0)
    expected = [scipy.stats.entropy(row[row > 0].numpy(), base=2) for row in prior]
    assert attribute_entropy(prior).tolist() == pytest.approx(expected)
    weight = torch.tensor([0.0, 2.0, 1.0], dtype=F64)
    assert float(belief_entropy(prior, weight)) == pytest.approx(2 * expected[1] + expected[2])
    assert belief_entropy(prior.expand(4, 3, 5)).shape == (4,)


def test_a_full_answer_removes_the_attributes_entropy():
    prior = random_prior(1)
    after = hard_update(prior, only(prior, 2, [3]), prior)
    assert float(belief_entropy(prior) - belief_entropy(after.belief)) == pytest.approx(
        float(attribute_entropy(prior)[2])
    )
    torch.testing.assert_close(after.belief[:2], prior[:2])
    assert not after.contradicted.any()


@given(st.integers(0, 10_000), st.sampled_from([0.0, 1e-3]))
def test_hard_updates_are_idempotent(seed, floor):
    prior, g = random_prior(seed), torch.Generator().manual_seed(seed)
    allowed = torch.rand(3, 5, generator=g) < 0.6
    allowed[:, :2] |= ~allowed[:, :2].any(1, keepdim=True)
    once = hard_update(prior, allowed, prior, floor=floor)
    check_belief(once.belief)
    twice = hard_update(once.belief, allowed, prior, floor=floor)
    torch.testing.assert_close(twice.belief, once.belief)
    assert not twice.contradicted.any()


@given(st.integers(0, 10_000))
def test_the_order_of_answers_does_not_matter(seed):
    prior, g = random_prior(seed), torch.Generator().manual_seed(seed)
    truth = [int(torch.randint(size, (1,), generator=g)) for size in (2, 3, 5)]
    answers = []
    for _ in range(3):
        allowed = torch.rand(3, 5, generator=g) < 0.5
        for row, value in enumerate(truth):
            allowed[row, value] = True
        answers.append(allowed)
    ends = []
    for order in itertools.permutations(answers):
        belief = prior
        for allowed in order:
            belief = hard_update(belief, allowed, prior).belief
        ends.append(belief)
    for belief in ends[1:]:
        torch.testing.assert_close(belief, ends[0])


@given(st.integers(0, 10_000))
def test_the_expected_gain_is_the_mutual_information(seed):
    """Over truthful answers that say which of two sets the value lies in: the entropy of the answer itself."""
    prior = random_prior(seed)
    p, first = prior[2], [0, 1, 3]
    rest = [2, 4]
    gains = [
        float(belief_entropy(prior) - belief_entropy(hard_update(prior, only(prior, 2, part), prior).belief))
        for part in (first, rest)
    ]
    expected = float(p[first].sum()) * gains[0] + float(p[rest].sum()) * gains[1]
    assert expected == pytest.approx(scipy.stats.entropy([p[first].sum(), p[rest].sum()], base=2))
    assert 0 <= expected <= float(attribute_entropy(prior)[2]) + 1e-9


def test_contradictions_begin_anew_and_are_reported():
    prior = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]], dtype=F64)
    for floor in (0.0, 1e-3):
        told = hard_update(prior, only(prior, 0, [0]), prior, floor=floor)
        assert told.belief[0].tolist() == pytest.approx([1 - 2 * floor, floor, floor])
        assert told.belief[1].tolist() == [0.5, 0.5, 0.0]  # not spoken of: no floor either
        against = hard_update(told.belief, only(prior, 0, [1, 2]), prior, floor=floor)
        assert against.contradicted.tolist() == [True, False]
        assert against.belief[0].tolist() == pytest.approx([floor, 0.6 * (1 - floor), 0.4 * (1 - floor)])
    soft = soft_update(
        told.belief.new_tensor([[1.0, 0, 0], [0.5, 0.5, 0]]), torch.tensor([[0.0, 1, 1], [1, 1, 1]]), prior
    )
    assert soft.contradicted.tolist() == [True, False]
    assert soft.belief[0].tolist() == pytest.approx([0, 0.6, 0.4])


def test_soft_answers_are_bayes_and_may_surprise():
    prior = torch.tensor([[0.9, 0.1]], dtype=F64)
    after = soft_update(prior, torch.tensor([[0.1, 0.9]], dtype=F64), prior)
    assert after.belief.tolist() == [[0.5, 0.5]]
    assert float(belief_entropy(after.belief)) > float(belief_entropy(prior))


def test_bad_input():
    prior = torch.tensor([[0.5, 0.5, 0.0]], dtype=F64)
    for belief in ([[0.5, 0.4]], [[1.1, -0.1]], [[float("nan"), 1.0]], [1.0]):
        with pytest.raises(ValueError, match="belief"):
            check_belief(torch.tensor(belief))
    with pytest.raises(ValueError, match="prior excludes"):
        hard_update(prior, only(prior, 0, [2]), prior)
    with pytest.raises(ValueError, match="under the prior"):
        soft_update(prior, torch.tensor([[0.0, 0.0, 1.0]]), prior)
    with pytest.raises(ValueError, match="at least 0"):
        soft_update(prior, torch.tensor([[-1.0, 0.0, 1.0]]), prior)
    with pytest.raises(ValueError, match="weights"):
        belief_entropy(prior, torch.tensor([-1.0]))
