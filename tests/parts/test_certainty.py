"""Certainty: closed forms, bounds, the one form of them all, and reading it off completions."""

import math

import pytest
import samples
import table_model
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.models.tiny_model import tiny_model
from guerdon.parts.answers import majority
from guerdon.parts.certainty import (
    cross_entropy,
    entropy,
    margin,
    mean_over_tokens,
    own_scores,
    self_certainty,
    unified,
)

LOGITS = st.lists(st.floats(-8, 8), min_size=2, max_size=7).map(torch.tensor)


def test_uniform():
    logits = torch.full((3, 5), 2.0)
    assert entropy(logits).tolist() == pytest.approx([math.log(5)] * 3)
    assert self_certainty(logits).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert margin(logits).tolist() == pytest.approx([0.0] * 3)


def test_two_tokens_by_hand():
    logits = torch.tensor([0.8, 0.2]).log()
    assert float(entropy(logits)) == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert float(self_certainty(logits)) == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2 - math.log(2))
    assert float(margin(logits)) == pytest.approx(0.6)


@given(LOGITS, st.floats(-5, 5))
def test_bounds_and_shifts(logits, shift):
    size = len(logits)
    assert -1e-5 <= float(entropy(logits)) <= math.log(size) + 1e-5
    assert float(self_certainty(logits)) >= -1e-5
    assert 0 <= float(margin(logits)) <= 1
    for of in (entropy, self_certainty, margin):
        torch.testing.assert_close(of(logits + shift), of(logits), rtol=1e-4, atol=1e-4)


def test_a_token_ruled_out():
    logits = torch.tensor([0.0, 0.0, -torch.inf])
    assert float(entropy(logits)) == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="not ruled out"):
        self_certainty(logits)
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="NaN or"):
            entropy(torch.tensor([0.0, bad]))
    with pytest.raises(ValueError, match="two tokens"):
        margin(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="at least one"):
        entropy(torch.zeros(3, 0))


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(2, 6))
def test_every_reward_has_the_one_form(seed, length, size):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, length, size, generator=g, dtype=torch.float64)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, 1:] = False
    log_p = logits.log_softmax(-1)
    written = torch.randint(size, (2, length), generator=g)
    one_hot = torch.nn.functional.one_hot(written, size).double()
    chosen = log_p.gather(-1, written[..., None])[..., 0]

    def same(form, direct):
        torch.testing.assert_close(form.double(), direct.double(), rtol=1e-4, atol=1e-5)

    uniform = torch.full_like(log_p, 1 / size)
    form = unified(cross_entropy(uniform, log_p), mask, sign=1, psi=lambda x: x - math.log(size))
    same(form, mean_over_tokens(self_certainty(logits), mask))
    form = unified(cross_entropy(log_p.exp(), log_p), mask, sign=-1)
    same(form, -mean_over_tokens(entropy(logits), mask))
    form = unified(cross_entropy(one_hot, log_p), mask, sign=-1)
    same(form, mean_over_tokens(chosen, mask))
    whole = torch.where(mask, cross_entropy(one_hot, log_p), 0.0).sum(1, keepdim=True)
    form = unified(whole, torch.ones(2, 1, dtype=torch.bool), sign=-1, psi=torch.exp)
    same(form, torch.where(mask, chosen, 0.0).sum(1).exp())
    assert (form <= mean_over_tokens(chosen, mask).exp() + 1e-9).all()  # a product is at most the geometric mean


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6))
def test_majority_has_the_one_form_too(answers):
    vote = majority(answers)
    table = torch.eye(3)
    winner = table["abc".index(vote.answer)].expand(len(answers), 1, 3)
    own = table[["abc".index(a) for a in answers]][:, None].log()
    form = unified(cross_entropy(winner, own), torch.ones(len(answers), 1, dtype=torch.bool), sign=-1, psi=torch.exp)
    assert form.tolist() == [float(w) for w in vote.won]


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        cross_entropy(torch.ones(3), torch.ones(4))
    with pytest.raises(ValueError, match="must both be"):
        mean_over_tokens(torch.ones(3, 2), torch.ones(2, 3))


def test_own_scores_stand_where_the_tokens_stand():
    model, made = samples.language_model(), samples.solutions()
    scores = own_scores(made, model, also=("entropy", "margin"))
    torch.testing.assert_close(scores.log_prob, model.log_probs(made))
    assert (scores.mask == made.mask).all()
    assert scores.self_certainty is None
    table = model.logits[ord("=")]
    assert float(scores.entropy[0, 0].detach()) == pytest.approx(
        float(entropy(table).detach()), rel=1e-5
    )  # prompt 0 ends with "="
    assert float(scores.margin[0, 0].detach()) == pytest.approx(float(margin(table).detach()), rel=1e-5)
    assert (scores.entropy[~made.mask] == 0).all()


def test_own_scores_without_prompt_tokens_and_around_a_tools_words():
    model = samples.language_model()
    made = table_model.completions(["ab", "c"], ["xyz", "x"], model=model)
    expected = own_scores(made, model).log_prob
    made.prompt_ids = made.prompt_mask = None
    torch.testing.assert_close(own_scores(made, model).log_prob, expected)
    made.mask[0, 1] = False  # "y" came from a tool: read, not scored
    holed = own_scores(made, model).log_prob
    assert holed[0, 1] == 0
    torch.testing.assert_close(holed[0, 2:], expected[0, 2:])


def test_nothing_generated_is_not_scored():
    model = samples.language_model()
    made = table_model.completions(["ab", "c"], ["xyz", "x"], model=model)
    made.mask[0] = False
    scores = own_scores(made, model, also=("entropy",))
    assert mean_over_tokens(scores.entropy, scores.mask).isnan().tolist() == [True, False]
    made.mask[:] = False
    assert own_scores(made, model, also=("entropy",)).entropy.tolist() == torch.zeros(2, 4).tolist()


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(1, 30))
def test_how_each_fails(q, a, fillers):
    """An answer of probability a behind fillers of probability q each: what one more filler does."""

    def scores(length):
        log_prob = torch.tensor([[math.log(q)] * length + [math.log(a)]], dtype=torch.float64)
        mean = mean_over_tokens(log_prob, torch.ones_like(log_prob, dtype=torch.bool))
        return float(log_prob.sum().exp()), float(mean)

    (product, mean), (longer_product, longer_mean) = scores(fillers), scores(fillers + 1)
    assert longer_product < product  # probability: shorter is better, always
    if abs(q - a) > 1e-6:
        assert (longer_mean > mean) == (q > a)  # the mean: likely fillers pay


def test_a_model_computes_the_same():
    """`LanguageModel.score` has its own code for these, piece by piece: it agrees with the functions over logits."""
    model = tiny_model(seed=0, spread=0.5)
    made = model.generate(["1+1=", "two"], n=2, max_tokens=6, seed=0)
    found = own_scores(made, model, also=("entropy", "self_certainty", "margin"))
    for row in range(len(made.text)):
        prompt = made.prompt_ids[row][made.prompt_mask[row]].tolist()
        own = made.ids[row][made.mask[row]].tolist()
        logits = model.module(input_ids=torch.tensor([prompt + own])).logits[0, len(prompt) - 1 : -1]
        for name, formula in (("entropy", entropy), ("self_certainty", self_certainty), ("margin", margin)):
            values = getattr(found, name)[row][made.mask[row]]
            torch.testing.assert_close(values, formula(logits), rtol=1e-3, atol=1e-4)
