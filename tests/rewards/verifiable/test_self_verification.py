"""The policy as its own judge: a table that says Yes, or No, or nothing."""

import math

import pytest
import table_model
import torch

from guerdon.rewards.verifiable.self_verification import QUESTION, SelfVerification, approval_probability, verdict


@pytest.fixture
def model():
    made = table_model.TableModel(seed=1)
    made.put("\n", "Y", 0.6)
    made.logits.data[ord("\n"), ord("N")] = math.log(0.2)
    for word in ("Yes", "No"):
        for before, after in zip(word, word[1:] + chr(table_model.END), strict=True):
            made.put(before, after, 0.999)
    made.logits.data[ord("\n")] -= made.logits.data[ord("\n")].logsumexp(0)
    return made


def test_probability_of_approval(model):
    made = table_model.completions(["1+1="], ["2"], model=model)
    approval = float(SelfVerification(by="probability").score(made, policy=model).detach())
    yes, no = 0.6 * 0.999**2, 0.2 * 0.999  # Y-e-s and N-o behind the last line
    assert approval == pytest.approx(yes / (yes + no), rel=1e-4)
    assert SelfVerification().score(made, policy=model).tolist() == [1.0]
    assert SelfVerification(yes="No", no="Yes").score(made, policy=model).tolist() == [0.0]


def test_a_written_verdict(model):
    made = table_model.completions(["1+1="], ["2"], model=model)
    reward = SelfVerification(by="written", max_tokens=5)
    assert reward.score(made, policy=model).tolist() == [1.0]
    model.put("\n", "N", 0.9)
    assert reward.score(made, policy=model).tolist() == [0.0]
    model.put("\n", "x", 0.9)
    model.put("x", chr(table_model.END), 0.9)
    assert reward.score(made, policy=model).isnan().tolist() == [True]


def test_what_is_asked():
    assert SelfVerification()._asked("1+1=", "2") == f"1+1=2\n\n{QUESTION}\n"
    asked = SelfVerification(question="Sure?")._asked([{"role": "user", "content": "1+1"}], "2")
    assert [m["role"] for m in asked] == ["user", "assistant", "user"]
    assert [m["content"] for m in asked] == ["1+1", "2", "Sure?"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("Yes.", 1), ("no", 0), ("No... wait, yes!", 1), ("Yesterday", math.nan), ("", math.nan), ("I know", math.nan)],
)
def test_verdict(text, value):
    assert verdict(text) == pytest.approx(value, nan_ok=True)


def test_approval_is_a_share():
    yes, no = torch.tensor([0.6, 0.01]).log(), torch.tensor([0.2, 0.01]).log()
    assert approval_probability(yes, no).tolist() == pytest.approx([0.75, 0.5])


def test_what_does_not_fit_is_not_scored(model):
    made = table_model.completions(["1+1=", "1+1="], ["2", "2" * 400], model=model)
    model.max_length = 300
    for by in ("probability", "likelier", "written"):
        assert SelfVerification(by=by).score(made, policy=model).isnan().tolist() == [False, True]
    model.max_length = 20
    assert SelfVerification().score(made, policy=model).isnan().all()
    with pytest.raises(ValueError, match="not by 'guess'"):
        SelfVerification(by="guess")
