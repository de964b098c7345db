"""Rewards from unlabelled text: how it goes on, and what was hidden from it."""

import math

import pytest
import table_model
from hypothesis import given
from hypothesis import strategies as st

from guerdon.rewards.verifiable.dual_reconstruction import DualReconstruction
from guerdon.rewards.verifiable.next_segment import NextSegment, goes_on


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("the", True),
        ("the cat", True),
        ("the cat's", True),
        ("the cat'", True),
        ("the  cat's\nhat.", True),
        ("th", False),  # in the middle of a word
        ("the c", False),
        ("The", False),
        ("a cat", False),
        ("the cat's hat. And", False),
        ("", False),
        (" ", False),
    ],
)
def test_goes_on(prediction, right):
    assert goes_on(prediction, " the cat's hat.") is right


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6), st.data())
def test_whole_words_go_on_and_nothing_else_does(words, data):
    number = data.draw(st.integers(1, len(words)))
    assert goes_on(" ".join(words[:number]), " ".join(words))
    assert not goes_on(" ".join(words) + "d", " ".join(words))


def test_next_segment_reads_its_column():
    model = table_model.TableModel()
    made = table_model.completions(
        ["Once upon"] * 3, [r"\boxed{a time}", r"\boxed{the}", "a time"], model=model, continuation=["a time, in"] * 3
    )
    assert NextSegment().score(made).tolist() == [1, 0, 0]


@pytest.fixture
def model():
    made = table_model.TableModel()
    made.put(":", "5", 0.5)
    return made


def dual(**options):
    return DualReconstruction(**({"dual": "{known} made {said}, hidden:"} | options))


def completions(model, *texts, hidden="5"):
    return table_model.completions(["?"] * len(texts), texts, model=model, known=["3"] * len(texts),
                                   hidden=[hidden] * len(texts))  # fmt: skip


def test_likelihood_of_what_was_hidden(model):
    model.put("5", "1", 0.02)
    made = completions(model, r"\boxed{8}", "no answer")
    assert dual().score(made, policy=model).tolist() == pytest.approx([0.5, 0.0], rel=1e-5)
    made = completions(model, r"\boxed{8}", hidden="51")
    assert dual().score(made, policy=model).tolist() == pytest.approx([math.sqrt(0.5 * 0.02)], rel=1e-5)


def test_the_answer_stands_in_the_dual_question(model):
    model.put("8", "5", 0.9)
    model.put("7", "5", 0.1)
    made = completions(model, r"\boxed{8}", r"\boxed{7}")
    assert dual(dual="{known}+?={said}").score(made, policy=model).tolist() == pytest.approx([0.9, 0.1], rel=1e-4)


def test_what_is_written(model):
    made = completions(model, r"\boxed{8}", "no answer")
    model.put("5", chr(table_model.END), 0.9)
    reward = dual(by="written", how=("boxed", "number"), max_tokens=4)
    assert reward.score(made, policy=model).tolist() == [1, 0]
    model.put(":", "6", 0.9)
    model.put("6", chr(table_model.END), 0.9)
    assert reward.score(made, policy=model).tolist() == [0, 0]


def test_a_message_is_answered_by_a_message(model):
    made = completions(model, r"\boxed{8}")
    made.prompt = [[{"role": "user", "content": "?"}]]
    model.put("\n", "5", 0.25)  # TableModel renders a message as "user: ...\n"
    assert dual().score(made, policy=model).tolist() == pytest.approx([0.25], rel=1e-5)


def test_no_room_no_score(model):
    made = completions(model, r"\boxed{8}", "none")
    model.max_length = 10
    assert dual().score(made, policy=model).isnan().tolist() == [True, False]
    assert dual(by="written").score(made, policy=model).isnan().tolist() == [True, False]


def test_bad_options_are_refused(model):
    with pytest.raises(ValueError, match=r"must say \{said\}"):
        DualReconstruction(dual="{known}, hidden:")
    with pytest.raises(ValueError, match="not by 'guess'"):
        dual(by="guess")
    with pytest.raises(ValueError, match="DualReconstruction reads the column 'unknown'"):
        dual(hidden="unknown").score(completions(model, "x"), policy=model)
