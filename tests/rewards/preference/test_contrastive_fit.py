import pytest
import torch
from rewards.preference.linear import completions
from torch import nn

from guerdon.models.reward_encoder import Features, RewardEncoder
from guerdon.models.seeded import seeded
from guerdon.parts.contrastive import pair_features
from guerdon.parts.preference_strength import chosen_lead, pair_scores
from guerdon.rewards.preference import BradleyTerry
from guerdon.rewards.preference.contrastive_fit import contrastive_fit
from guerdon.types import FIRST, SECOND, TIE, Pairs, Spec


class Net(RewardEncoder):
    """Column "x" through one layer that learns."""

    lr = 0.02

    def build(self, spec, *, device="cpu", generator=None, reader="Net"):
        with seeded(generator):
            self.layer = nn.Linear(4, 8)
        self.size = 8

    def forward(self, experience):
        return torch.tanh(self.layer(torch.tensor(experience.column("x", "Net"))))


def scorer(encoder=None, **kw):
    made = BradleyTerry(encoder=encoder or Net(), batch_size=16, epochs=4, lr=0.02, **kw)
    made.build(Spec(), generator=torch.Generator().manual_seed(1))
    return made


@pytest.fixture
def pairs():
    x = torch.randn(64, 2, 4, generator=torch.Generator().manual_seed(0))
    label = torch.where(x[:, 0, :2].sum(1) > x[:, 1, :2].sum(1), FIRST, SECOND)
    label[0] = TIE
    return Pairs(first=completions(x[:, 0]), second=completions(x[:, 1]), label=label)


@pytest.mark.parametrize("method", ["simcse", "swav"])
@pytest.mark.parametrize("choice", ["pairs", "diff"])
def test_it_learns_the_pairs_and_lowers_its_term(pairs, method, choice):
    reward = scorer()
    first = contrastive_fit(reward, pairs, method=method, choice=choice, prototypes=5)
    last = contrastive_fit(reward, pairs, method=method, choice=choice, prototypes=5)
    assert last["loss"] < first["loss"] < 0.75
    lead = chosen_lead(pair_scores([reward], pairs)[0], pairs.label)[1:]
    assert float((lead > 0).float().mean()) > 0.85


def test_the_term_pulls_differences_apart_from_those_of_other_pairs(pairs):
    def alike(reward):
        """Mean cosine of the features' differences of different pairs, of the same winner."""
        h = [reward.encoder(side) for side in (pairs.first, pairs.second)]
        unit = nn.functional.normalize(pair_features(h[0], h[1])[:64].detach(), dim=1)
        return float(((unit @ unit.T).abs().sum() - 64) / (64 * 63))

    without, with_term = scorer(), scorer()
    contrastive_fit(without, pairs, method="simcse", beta=0.0)
    contrastive_fit(with_term, pairs, method="simcse", beta=1.0)
    assert alike(with_term) < alike(without)


def test_without_term_and_dropout_it_is_the_usual_fit(pairs):
    ours, usual = scorer(), scorer()
    contrastive_fit(ours, pairs, beta=0.0, dropout=0.0, prototypes=3)
    torch.randn(3, 8, generator=usual.trainer.rng)
    for rows in usual.trainer.batches(64, 16, epochs=4):
        for _ in range(4):
            torch.rand(16, 8, generator=usual.trainer.rng)
        usual.step(pairs.rows(rows))
    leads = [chosen_lead(pair_scores([reward], pairs)[0]) for reward in (ours, usual)]
    assert torch.allclose(*leads, atol=1e-4)


def test_ties_alone_and_bad_input(pairs):
    ties = Pairs(first=pairs.first, second=pairs.second, label=torch.full((64,), TIE))
    assert contrastive_fit(scorer(), ties)["contrast"] == 0.0
    with pytest.raises(ValueError, match="encoder that learns"):
        contrastive_fit(scorer(Features(["x"], width=4)), pairs)
    with pytest.raises(ValueError, match="needs pairs"):
        contrastive_fit(scorer(), pairs.rows([]))
    with pytest.raises(ValueError, match="'simcse' or 'swav'"):
        contrastive_fit(scorer(), pairs, method="other")
    with pytest.raises(TypeError, match="Completions"):
        contrastive_fit(scorer(), Pairs(first=["a"], second=["b"], label=torch.tensor([FIRST])))
