"""Linear probes of states: what they can read and cannot, controls, bad input."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from guerdon.compare.mrmbench import DIMENSIONS, merged, probe, suite, tuned
from guerdon.models.reward_encoder import RewardEncoder
from guerdon.parts.completions_from_text import completions_from_text

G = torch.Generator().manual_seed(0)
Z = torch.randn(1200, 6, generator=G)
Y = (Z[:, 0] > 0).long()
TRAIN, TEST = (Z[:800], Y[:800]), (Z[800:], Y[800:])


def test_merges_by_hand():
    assert merged(torch.tensor([0, 1, 2, 3]), "harmlessness").tolist() == [0, 1, 1, 1]
    assert merged(torch.tensor([0, 1, 2, 3]), "harmlessness", "hard").tolist() == [0, 1, 2, 2]
    assert merged(torch.arange(5), "verbosity").tolist() == [0, 0, 0, 1, 1]
    assert merged(torch.arange(5), "verbosity", "hard").tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(("labels", "dimension"), [([4], "harmlessness"), ([-1], "verbosity"), ([0], "helpfullness")])
def test_bad_labels_and_names_are_refused(labels, dimension):
    with pytest.raises(ValueError, match=r"labels of|dimensions are"):
        merged(torch.tensor(labels), dimension)


def test_a_probe_reads_what_is_there_and_nothing_else():
    assert probe(TRAIN, TEST).accuracy > 0.97
    blind = Z.clone()
    blind[:, 0] = torch.randn(1200, generator=G)
    assert probe((blind[:800], Y[:800]), (blind[800:], Y[800:])).accuracy == pytest.approx(0.5, abs=0.07)


def test_an_invertible_map_changes_little():
    turn = torch.randn(6, 6, generator=G) + 3 * torch.eye(6)
    plain, turned = probe(TRAIN, TEST), probe((TRAIN[0] @ turn, TRAIN[1]), (TEST[0] @ turn, TEST[1]))
    assert turned.accuracy == pytest.approx(plain.accuracy, abs=0.02)


def test_as_scikit_learn_without_an_offset():
    shifted = Z + 1.0  # where an offset would matter
    size = shifted[:800].double().square().mean(0).sqrt()
    model = LogisticRegression(fit_intercept=False).fit((shifted[:800].double() / size).numpy(), Y[:800].numpy())
    expected = model.score((shifted[800:].double() / size).numpy(), Y[800:].numpy())
    assert probe((shifted[:800], Y[:800]), (shifted[800:], Y[800:])).accuracy == pytest.approx(expected, abs=1e-9)


def test_constant_states_say_the_majority_and_balance_shows_it():
    y = torch.tensor([0] * 90 + [1] * 10)
    for states in (torch.zeros(100, 3), torch.ones(100, 3)):
        found = probe((states, y), (states, y))
        assert (found.accuracy, found.balanced, found.majority) == (0.9, 0.5, 0.9)


def test_selectivity_is_low_where_a_probe_learns_each_input_by_heart():
    kinds = [str(i) for i in range(8)]
    which = torch.arange(1200) % 8
    states = torch.eye(8)[which]
    y = (which % 2).long()
    names = [kinds[i] for i in which.tolist()]
    found = probe((states[:800], y[:800]), (states[800:], y[800:]), inputs=(names[:800], names[800:]))
    assert found.accuracy == 1
    assert found.selectivity == pytest.approx(0, abs=0.01)
    rich = probe(TRAIN, TEST, inputs=([str(i) for i in range(800)], [str(i) for i in range(400)]))
    assert rich.selectivity is not None
    assert rich.selectivity > 0.3


def test_the_score_is_the_mean_over_dimensions():
    found, score = suite(dict.fromkeys(DIMENSIONS, TRAIN), dict.fromkeys(DIMENSIONS, TEST))
    assert score == pytest.approx(found["coherence"].accuracy)
    with pytest.raises(ValueError, match="dimensions"):
        suite({"a": TRAIN}, {"b": TEST})


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ((Z, Y[:5]), TEST, "N labels"),
        ((Z * torch.nan, Y), TEST, "not finite"),
        (TRAIN, (TEST[0], TEST[1] + 1), "no training state has the class 2"),
        ((Z[:0], Y[:0]), TEST, "N labels"),
    ],
)
def test_bad_states_are_refused(train, test, said):
    with pytest.raises(ValueError, match=said):
        probe(train, test)


class Hidden(RewardEncoder):
    """A layer of 16 on the column "x" of two numbers."""

    def build(self, spec=None, **options):
        self.size = 16
        self.layer = torch.nn.Linear(2, 16)

    def forward(self, experience):
        return torch.relu(self.layer(torch.tensor(experience.column("x", "Hidden"))))


def test_a_tuned_encoder_learns_what_was_not_in_it_and_a_probe_does_not():
    corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(30, 1) - 0.5
    y = torch.tensor([0, 1, 1, 0]).repeat(30)
    texts = completions_from_text([{"prompt": "?", "completion": "a", "x": row} for row in corners.tolist()])
    assert probe((corners, y), (corners, y)).accuracy < 0.8
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Hidden()
        encoder.build()
    before = encoder.layer.weight.clone()
    g = torch.Generator().manual_seed(0)
    found = tuned(encoder, (texts, y), (texts, y), generator=g, lr=0.05, weight_decay=0.0, epochs=40)
    assert (found.accuracy, found.balanced, found.majority) == (1, 1, 0.5)
    assert not torch.equal(before, encoder.layer.weight)
    with pytest.raises(ValueError, match="no training state has the class 2"):
        tuned(encoder, (texts, y), (texts, y + 1), generator=g)
    with pytest.raises(ValueError, match="120 train texts have 3 labels"):
        tuned(encoder, (texts, y[:3]), (texts, y), generator=g)
