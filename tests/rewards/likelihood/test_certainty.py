"""Certainty rewards against the table that the model is."""

import math

import pytest
import table_model
import torch

from guerdon.parts.certainty import entropy, margin, self_certainty
from guerdon.rewards.likelihood.certainty import (
    Disparity,
    Probability,
    SelfCertainty,
    TokenEntropy,
    TrajectoryEntropy,
)


@pytest.fixture
def model():
    return table_model.TableModel(seed=3)


def rows(model, *before):
    """The logits behind each of these characters."""
    return model.logits[[ord(c) for c in before]]


def test_means_over_the_generated_tokens(model):
    made = table_model.completions(["q=", "q="], ["ab", ""], model=model)  # each with its end-of-text token
    behind = [rows(model, "=", "a", "b"), rows(model, "=")]
    for reward, expected in (
        (SelfCertainty(), [self_certainty(r).mean() for r in behind]),
        (TokenEntropy(), [-entropy(r).mean() for r in behind]),
    ):
        torch.testing.assert_close(reward.score(made, policy=model), torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_likelihoods_of_what_was_written(model):
    made = table_model.completions(["q="], ["ab"], model=model)
    table = model.logits.log_softmax(-1)
    steps = [
        float(table[ord("="), ord("a")]),
        float(table[ord("a"), ord("b")]),
        float(table[ord("b"), table_model.END]),
    ]
    assert float(TrajectoryEntropy().score(made, policy=model)) == pytest.approx(sum(steps) / 3, rel=1e-5)
    assert float(TrajectoryEntropy(per_token=False).score(made, policy=model)) == pytest.approx(sum(steps), rel=1e-5)
    assert float(Probability().score(made, policy=model)) == pytest.approx(math.exp(sum(steps)), rel=1e-4)


def test_a_uniform_policy(model):
    model.logits.data.zero_()
    made = table_model.completions(["q="], ["ab"], model=model)
    assert float(SelfCertainty().score(made, policy=model)) == pytest.approx(0.0, abs=1e-5)
    assert float(TokenEntropy().score(made, policy=model)) == pytest.approx(-math.log(128), rel=1e-5)


def test_disparity_reads_the_answer_only(model):
    texts = [r"so \boxed{42}", "no answer", r"\boxed{}"]
    made = table_model.completions(["q="] * 3, texts, model=model)
    value = Disparity().score(made, policy=model)
    assert value.tolist() == pytest.approx([float(margin(rows(model, "{", "4")).mean()), 0.0, 0.0], rel=1e-5)
    model.put("{", "4", 0.9)
    model.put("4", "2", 0.9)
    assert float(Disparity().score(made, policy=model)[0]) == pytest.approx(0.9 - 0.1 / 127, rel=1e-4)
    assert float(Disparity(how="text").score(made, policy=model)[1]) > 0
    made = table_model.completions(["q="], ["no answer"], model=model)
    assert Disparity().score(made, policy=model).tolist() == [0.0]


def test_what_does_not_fit_is_not_scored(model):
    made = table_model.completions(["q="] * 2, [r"\boxed{4}", r"so, at length: \boxed{42}"], model=model)
    model.max_length = 12
    assert Disparity().score(made, policy=model).isnan().tolist() == [False, True]


def test_a_gradient_raises_the_reward(model):
    made = table_model.completions(["q="], ["ab"], model=model)
    for reward in (SelfCertainty(), TokenEntropy(), TrajectoryEntropy(), Probability(), Disparity(how="text")):
        before = reward.score(made, policy=model).sum()
        (slope,) = torch.autograd.grad(before, [model.logits])
        assert slope.abs().sum() > 0
        start = model.logits.data.clone()
        model.logits.data += 0.1 * slope / slope.norm()
        assert reward.score(made, policy=model).sum() > before, reward.name
        model.logits.data = start


def test_they_need_a_policy(model):
    made = table_model.completions(["q="], ["ab"], model=model)
    with pytest.raises(ValueError, match="SelfCertainty needs policy"):
        SelfCertainty().evaluate(made)
