import math

import pytest
import samples
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.preference_strength import (
    chosen_lead,
    pair_scores,
    preference_strength,
    strongest,
    treat,
    weakest,
)
from guerdon.types import FIRST, SECOND, TIE, Completions, Pairs, Reward

MU = torch.tensor([0.5, -1.0, 2.0, -0.2, 0.0])


def test_mean_and_population_spread_by_hand():
    scores = torch.tensor([[[3.0, 1.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 4.0]]])  # leads 2, -1 and 0, -4
    mean, spread = preference_strength(scores)
    assert mean.tolist() == [1.0, -2.5]
    assert spread.tolist() == [1.0, 1.5]
    assert torch.equal(preference_strength(scores[..., 0] - scores[..., 1]).mean, mean)


def test_labels_say_who_was_chosen():
    scores = torch.tensor([[[3.0, 1.0]] * 3, [[2.0, 1.0]] * 3])
    mean, spread = preference_strength(scores, torch.tensor([FIRST, SECOND, TIE]))
    assert mean[:2].tolist() == [1.5, -1.5]
    assert math.isnan(mean[2])
    assert math.isnan(spread[2])


@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 99))
@pytest.mark.filterwarnings("ignore:one model")
def test_swapping_labels_changes_the_sign_of_mu_alone(models, n, seed):
    g = torch.Generator().manual_seed(seed)
    scores, label = torch.randn(models, n, 2, generator=g), torch.randint(2, (n,), generator=g)
    plain, swapped = preference_strength(scores, label), preference_strength(scores, 1 - label)
    assert torch.equal(plain.mean, -swapped.mean)
    assert torch.allclose(plain.spread, swapped.spread)


def test_bad_scores_are_refused_and_one_model_has_no_spread():
    with pytest.raises(ValueError, match="M > 0"):
        preference_strength(torch.zeros(0, 3, 2))
    with pytest.raises(ValueError, match="M > 0"):
        preference_strength(torch.zeros(2, 3, 4))
    for scores in (torch.tensor([[[0.0, math.nan], [0.0, 0.0]]]), torch.tensor([[0.0, math.inf]])):
        with pytest.raises(ValueError, match="1 of 2 pairs"):
            preference_strength(scores)
    for label in (torch.zeros(2).long(), torch.tensor([0, 1, 3])):
        with pytest.raises(ValueError, match="3 pairs need as many labels"):
            preference_strength(torch.zeros(2, 3, 2), label)
    with pytest.warns(UserWarning, match="no spread"):
        assert preference_strength(torch.ones(1, 2, 2)).spread.tolist() == [0.0, 0.0]


def test_the_lowest_and_the_highest():
    assert weakest(MU).tolist() == [False, True, False, True, False]
    assert weakest(MU, 0.2).tolist() == [False, True, False, False, False]
    assert strongest(MU, 0.4).tolist() == [True, False, True, False, False]
    assert not weakest(MU, 0.0).any()
    assert weakest(MU, 1.0).all()
    tied = torch.tensor([0.0, math.nan, 0.0, -1.0])
    assert weakest(tied, 0.67).tolist() == [True, False, False, True]  # two of the three that are known
    assert strongest(tied, 1.0).tolist() == [True, False, True, True]
    with pytest.raises(ValueError, match="share"):
        weakest(MU, 1.2)


def test_the_five_treatments_of_the_paper():
    flip = treat(MU, flip=weakest(MU))
    assert flip.sign.tolist() == [1, -1, 1, -1, 1]
    assert flip.alpha.tolist() == flip.margin.tolist() == [0.0] * 5
    assert flip.keep.all()
    soft = treat(MU, soften=weakest(MU) | strongest(MU, 0.2), alpha=0.3)
    assert soft.alpha.tolist() == pytest.approx([0, 0.3, 0.3, 0.3, 0])
    assert soft.sign.tolist() == [1.0] * 5
    assert torch.equal(treat(MU, margin=True).margin, MU)
    assert treat(MU, margin=True, at_least=0.0).margin.tolist() == pytest.approx([0.5, 0, 2, 0, 0])
    assert treat(MU, flip=weakest(MU), margin=True).margin.tolist() == pytest.approx([0.5, 1.0, 2.0, 0.2, 0.0])
    both = treat(MU, soften=weakest(MU), margin=True)
    assert torch.equal(both.margin, MU)
    assert both.alpha.tolist() == pytest.approx([0, 0.1, 0, 0.1, 0])
    assert treat(MU, drop=weakest(MU)).keep.tolist() == [True, False, True, False, True]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9), st.integers(0, 511))
def test_flipping_twice_changes_nothing(values, bits):
    mu = torch.tensor(values)
    mask = torch.tensor([bool(bits >> i & 1) for i in range(len(values))])
    once = treat(mu, flip=mask)
    again = treat(once.sign * mu, flip=mask, margin=True)
    assert torch.equal(once.sign * again.sign, torch.ones_like(mu))
    assert torch.equal(again.margin, mu)


def test_ties_have_no_margin_and_masks_are_checked():
    assert treat(torch.tensor([math.nan, 1.0]), margin=True).margin.tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="flip must be bool"):
        treat(MU, flip=torch.ones(5))
    with pytest.raises(ValueError, match="drop must be bool"):
        treat(MU, drop=torch.ones(4).bool())
    with pytest.raises(ValueError, match="chance that a label is wrong"):
        treat(MU, alpha=0.6)


class ByStep(Reward):
    """1 a step, or 1 a token; NaN where a step is not valid."""

    def score(self, experience, **needed):
        if isinstance(experience, Completions):
            return experience.mask.float()
        return torch.where(experience.valid.bool(), 1.0, math.nan)


def test_scores_of_segments_and_tokens_are_sums():
    first, second = samples.rollout(num_envs=3), samples.rollout(num_envs=3, seed=1)
    first.valid[:5, 0] = False
    pairs = Pairs(first=first, second=second, label=torch.tensor([FIRST, SECOND, TIE]))
    scores = pair_scores([ByStep(), ByStep()], pairs, batch=2)
    assert scores.shape == (2, 3, 2)
    assert scores[0, :, 0].tolist() == first.valid.sum(0).tolist()
    assert scores[1, :, 1].tolist() == second.valid.sum(0).tolist()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    written = Completions(prompt=["?"] * 2, text=["a", "b"], ids=mask.long(), mask=mask)
    pairs = Pairs(first=written, second=written.rows([1, 0]), label=torch.tensor([FIRST, SECOND]))
    assert pair_scores([ByStep()], pairs).tolist() == [[[2.0, 1.0], [1.0, 2.0]]]
    assert chosen_lead(pair_scores([ByStep()], pairs)[0], pairs.label).tolist() == [1.0, 1.0]
