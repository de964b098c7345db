"""FLR: definition, reductions, where the follow-up stands, what is cut off."""

import math

import pytest
import samples
import table_model
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.models.tiny_model import tiny_model
from guerdon.rewards.feedback.flr import (
    CATEGORIES,
    FLR,
    clean,
    first_position_logits,
    follow_up_score,
    read_follow_ups,
)
from guerdon.types import ContextOverflow

OWN = {"taste": (["y"], ["n"])}


@pytest.fixture
def model():
    return table_model.TableModel(seed=2)


def flr(**options):
    return FLR(**({"categories": ("taste",), "follow_ups": OWN} | options))


def test_one_token_is_a_log_softmax_entry(model):
    model.put(" ", "y", 0.8)  # TableModel renders the user's turn as "user: ..."
    made = table_model.completions(["q"], ["a"], model=model)
    table = model.logits[ord(" ")].log_softmax(-1)
    assert float(flr(reduce="pos_only").score(made, reference=model).detach()) == pytest.approx(math.log(0.8), rel=1e-5)
    expected = float((table[ord("y")] - table[ord("n")]).detach())
    assert float(flr().score(made, reference=model).detach()) == pytest.approx(expected, rel=1e-5)


def test_a_longer_follow_up_is_a_mean(model):
    made = table_model.completions(["q"], ["a"], model=model)
    table = model.logits.log_softmax(-1).detach()
    yes = [table[ord(a), ord(b)] for a, b in zip(" ye", "yes", strict=True)]
    value = flr(follow_ups={"taste": (["yes"], ["n"])}, reduce="pos_only").score(made, reference=model)
    assert float(value.detach()) == pytest.approx(float(sum(yes)) / 3, rel=1e-5)


def test_categories_weigh_the_same(model):
    made = table_model.completions(["q"], ["a"], model=model)
    lists = {"one": (["y"], ["n"]), "two": (["z", "w"], ["v"])}
    both = FLR(categories=("one", "two"), follow_ups=lists)
    table = both.by_category(made, model)
    assert table.shape == (1, 2)
    torch.testing.assert_close(both.score(made, reference=model), table.mean(1))
    torch.testing.assert_close(FLR(categories=("two",), follow_ups=lists).score(made, reference=model), table[:, 1])


def test_the_response_matters_and_equal_ones_score_the_same():
    model = tiny_model(seed=0)
    made = table_model.completions(["q"] * 4, ["yes", "no", "yes", ""], model=table_model.TableModel())
    with torch.no_grad():
        value = FLR(categories=("correctness",)).score(made, reference=model)
    assert value[0] == value[2] != value[1]
    assert value.isfinite().all()
    assert len(set(value.tolist())) == 3


def test_the_definition_through_a_chat_template():
    """Against log-probabilities of the whole rendered dialogue, token by token."""
    model = tiny_model(seed=1)
    made = table_model.completions(["how?"], ["so"], model=table_model.TableModel())
    reward = flr(follow_ups={"taste": (["so so"], ["so"])})  # the response says it too
    text = "<user>how?<eos><assistant>so<eos><user>so so<eos>"
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    log_p = model.module(input_ids=ids).logits[0].log_softmax(-1)
    follow_up = model.tokenizer("so so", add_special_tokens=False)["input_ids"]
    first = ids.shape[1] - 1 - len(follow_up)
    assert ids[0, first:-1].tolist() == follow_up
    expected = log_p[range(first - 1, ids.shape[1] - 2), follow_up].mean()
    found = reward.log_likelihoods([("how?", "so")], ["so so"], model)
    torch.testing.assert_close(found, expected.view(1, 1), rtol=1e-4, atol=1e-5)
    assert float(reward.score(made, reference=model).detach()) != 0


def test_dialogues_of_messages(model):
    asked = [
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "q"},
    ]
    head, tail = flr()._around(asked, "a", "y", model)
    assert (head, tail) == ("system: s\nuser: q\nassistant: a\nuser: ", "\n")
    assert asked[1]["content"] == "hi", "the prompt itself stays as it is"
    assert flr()._around("q", "y", "y", model) == ("user: q\nassistant: y\nuser: ", "\n")  # the last y
    swapped, _ = flr(swapped=True)._around("q", "a", "y", model)
    assert [line.split(":")[0] for line in swapped.splitlines()] == ["user", "assistant", "user", "assistant"]
    assert flr(turn="\nU: ")._around("q", "a", "y", model) == ("qa\nU: ", "")


def test_a_template_that_loses_the_follow_up_is_refused(model):
    model.render = lambda prompt, **_: "hello"
    with pytest.raises(ValueError, match="'y' is not at the end of the chat that table makes"):
        flr()._around("q", "a", "y", model)


def test_the_beginning_is_cut_never_the_follow_up():
    model = tiny_model(seed=0)
    long = table_model.completions(["q" * 50 + "end"], ["a"], model=table_model.TableModel())
    short = flr(turn="\n", follow_ups={"taste": (["yes", "y"], ["n"])}, max_length=8)
    with torch.no_grad():
        found = short.log_likelihoods([("q" * 50 + "end", "a")], ["yes", "y"], model)
        ids = model.tokenizer("enda\n", add_special_tokens=False)["input_ids"]
        kept = model.score([ids[-5:]], [model.tokenizer("y", add_special_tokens=False)["input_ids"]])  # 8 - 3
    torch.testing.assert_close(found[0, 1], kept.log_prob[0, 0])
    assert short.score(long, reference=model).isfinite().all()
    with pytest.raises(ContextOverflow, match="FLR: a follow-up alone has 3 tokens of 3 that fit"):
        flr(follow_ups={"taste": (["yes"], ["n"])}, max_length=3).score(long, reference=model)


LISTS = st.lists(st.floats(-20, 0), min_size=1, max_size=5).map(torch.tensor)


@given(LISTS, LISTS)
def test_reductions(positive, negative):
    for how in ("difference", "log_sum_exp"):
        there = follow_up_score(positive, negative, how)
        torch.testing.assert_close(there, -follow_up_score(negative, positive, how))
    difference = follow_up_score(positive, negative)
    margin = follow_up_score(positive, negative, "margin")
    torch.testing.assert_close(margin, torch.sigmoid(difference))
    torch.testing.assert_close(margin + follow_up_score(negative, positive, "margin"), torch.tensor(1.0))
    only = follow_up_score(positive, negative, "pos_only") + follow_up_score(positive, negative, "neg_only")
    torch.testing.assert_close(only, difference)
    assert follow_up_score(positive, negative, "pos_only") <= 0


def test_what_bayes_says():
    """A scorer that knows the user: log-odds are monotone in P(good), and what the two ends are."""
    good, bad = 0.8, 0.3
    values = []
    for p in (0.0, 0.25, 0.5, 1.0):
        happy = torch.tensor([p * good + (1 - p) * bad])
        values.append(float(follow_up_score(happy.log(), (1 - happy).log())))
    assert values == sorted(values)
    assert values[-1] == pytest.approx(math.log(0.8 / 0.2), rel=1e-5)
    assert values[0] == pytest.approx(math.log(0.3 / 0.7), rel=1e-5)


def test_bad_lists_are_refused(model):
    made = table_model.completions(["q"], ["a"], model=model)
    for lists, message in (
        ({"taste": ([], ["n"])}, "at least one positive"),
        ({"taste": (["y"], ["  "])}, "no empty one"),
        ({"taste": (["y"], ["y "])}, "'y' is among the positive and the negative"),
        ({"smell": (["y"], ["n"])}, "no follow-ups for 'taste': there are smell"),
    ):
        with pytest.raises(ValueError, match=message):
            flr(follow_ups=lists).score(made, reference=model)
    with pytest.raises(ValueError, match="at least one category"):
        FLR(categories=()).score(made, reference=model)
    with pytest.raises(ValueError, match="not by 'sum'"):
        FLR(reduce="sum")
    with pytest.raises(ValueError, match="finite"):
        follow_up_score(torch.tensor([torch.nan]), torch.tensor([0.0]))
    with pytest.raises(ValueError, match="missing"):
        follow_up_score(torch.zeros(0), torch.tensor([0.0]))


def test_lists_are_cleaned():
    assert clean((["It\u2019s  fine", "It's fine"], ["no"]), "x") == (["It's fine"], ["no"])


def test_the_packaged_follow_ups():
    seen = []
    for category in CATEGORIES:
        positive, negative = clean(read_follow_ups(category), category)
        assert len(positive) == len(negative) == 10
        seen += [*positive, *negative]
    assert len(set(seen)) == 120
    assert all(f.isascii() and len(f) < 60 for f in seen)


def test_the_script_of_the_authors_is_no_likelihood():
    logits, follow_up = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])
    raw = first_position_logits(logits, follow_up)
    assert raw == (logits[5, 1] + logits[5, 3]) / 2
    assert first_position_logits(logits + 1, follow_up) == pytest.approx(float(raw) + 1)
    likelihood = logits.log_softmax(-1)[[4, 5], follow_up].mean()
    torch.testing.assert_close((logits + 1).log_softmax(-1)[[4, 5], follow_up].mean(), likelihood)
    with pytest.raises(ValueError, match="0 tokens"):
        first_position_logits(logits, follow_up[:0])


def test_adding_a_constant_to_all_logits_changes_nothing(model):
    made = samples.solutions()
    before = flr().score(made, reference=model)
    model.logits.data += 3.0
    torch.testing.assert_close(flr().score(made, reference=model), before)
