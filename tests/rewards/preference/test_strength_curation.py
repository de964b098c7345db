import math

import pytest
import torch
from rewards.preference.linear import completions, fitted, made_pairs

from guerdon.rewards.preference.strength_curation import StrengthCuration
from guerdon.types import FIRST, SECOND, TIE, Pairs, Reward


@pytest.fixture
def noisy():
    """80 pairs of features [2, 6] with a linear truth; the last eight are told wrong, but for one that is a tie."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(80, 2, 6, generator=g)
    truth = torch.where((x[:, 0] - x[:, 1]).sum(1) > 0, FIRST, SECOND)
    label = truth.clone()
    label[72:] = 1 - label[72:]
    label[72] = TIE
    pairs = made_pairs(x, label)
    return pairs, truth


def test_an_ensemble_finds_and_swaps_what_is_told_wrong(noisy):
    pairs, truth = noisy
    made, logs = StrengthCuration(share=7 / 79, members=4)(pairs, fitted)
    assert logs["flipped"] == 7
    assert logs["pairs"] == 79
    assert 0 < logs["contradicted"] < 0.3
    assert logs["spread"] > 0
    mended = made.label[73:] == truth[73:]
    assert mended.float().mean() > 0.8
    assert made.label[72] == TIE
    assert math.isnan(made.columns["strength"][72])
    assert made.columns["margin"] == made.columns["alpha"] == [0.0] * 80


def test_treatments_go_into_the_columns_that_the_loss_reads(noisy):
    pairs, _ = noisy
    soft, logs = StrengthCuration(weak="soften", share=None, alpha=0.2, strong=0.1, members=3)(pairs, fitted)
    mu = torch.tensor(soft.columns["strength"])
    assert logs["softened"] == int((mu < 0).sum()) + 8
    assert torch.tensor(soft.columns["alpha"])[mu < 0].tolist() == pytest.approx([0.2] * int((mu < 0).sum()))
    assert torch.equal(soft.label, pairs.label)
    wide, _ = StrengthCuration(margin=True, members=3)(pairs, fitted)
    swapped = wide.label != pairs.label
    margin = torch.tensor(wide.columns["margin"])
    expected = torch.where(swapped, -torch.tensor(wide.columns["strength"]), torch.tensor(wide.columns["strength"]))
    assert torch.equal(margin, expected.nan_to_num(0.0))
    left, logs = StrengthCuration(weak="drop", members=3)(pairs, fitted)
    assert len(left.label) == 80 - 16
    assert logs["dropped"] == 16
    none, logs = StrengthCuration(weak=None, members=3)(pairs, fitted)
    assert torch.equal(none.label, pairs.label)


def test_members_have_seeds_of_their_own(noisy):
    seen = []

    def fit(pairs, seed):
        seen.append(seed)
        return fitted(pairs, seed)

    StrengthCuration(members=3).strength(noisy[0], fit, seed=5)
    assert seen == [5, 6, 7]


def test_bad_input(noisy):
    with pytest.raises(ValueError, match="'flip', 'soften', 'drop'"):
        StrengthCuration(weak="turn")
    with pytest.raises(ValueError, match="at least one member"):
        StrengthCuration(members=0)
    empty = Pairs(first=completions(torch.zeros(0, 6)), second=completions(torch.zeros(0, 6)), label=torch.zeros(0))
    with pytest.raises(ValueError, match="no pairs"):
        StrengthCuration()(empty, fitted)

    class Broken(Reward):
        def score(self, experience, **needed):
            return torch.full((len(experience.text),), math.nan)

    with pytest.raises(ValueError, match="80 of 80 pairs"):
        StrengthCuration(members=2)(noisy[0], lambda pairs, seed: Broken())
