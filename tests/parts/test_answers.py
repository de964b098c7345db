"""Answers: where they stand, when they are the same, who wins a vote."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.answers import (
    answer_classes,
    equality,
    extract_answer,
    find_answer,
    majority,
    normalise_answer,
    rows_of_groups,
    same_by_algebra,
    same_text,
)


@pytest.mark.parametrize(
    ("text", "how", "expected"),
    [
        (r"so \boxed{3}", "boxed", "3"),
        (r"\boxed{1}, no: \boxed{ \frac{1}{2} }.", "boxed", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", "boxed", r"\{1, 2\}"),
        (r"\boxed{\left\{x\right.}", "boxed", r"\left\{x\right."),
        (r"\boxed{7} and then \boxed{8", "boxed", "7"),  # cut off while writing the second
        (r"\fbox {x^{2^{3}}}", "boxed", "x^{2^{3}}"),
        (r"\boxed{}", "boxed", None),
        (r"boxed{3}", "boxed", None),
        ("a\n#### 18\nb", "####", "18"),
        ("#### 1\n#### 2", "####", "2"),
        ("18", "####", None),
        ("####", "####", None),
        ("3 apples and 1,234.5 pears.", "number", "1,234.5"),
        ("it is -7", "number", "-7"),
        ("10-7", "number", "7"),  # a minus between numbers is no sign
        ("= \N{MINUS SIGN}2", "number", "-2"),
        ("the answer is 5.", "number", "5"),
        ("3/4", "number", "3/4"),
        ("1.5e-3 m", "number", "1.5e-3"),
        ("$.5", "number", ".5"),
        ("1,23", "number", "23"),
        ("none", "number", None),
        ("<answer>4</answer>", "<answer>", "4"),
        ("<answer>4</answer> <answer>\n5 </answer>", "<answer>", "5"),
        ("<answer>4</answer> <answer>5", "<answer>", "4"),
        ("<answer>4", "<answer>", None),
        ("4</answer>", "<answer>", None),
        ("<final>4</final>", "<answer>", None),
        ("  yes ", "text", "yes"),
        ("   ", "text", None),
        (r"#### 4", ("boxed", "####"), "4"),
        (r"\boxed{5} #### 4", ("boxed", "####"), "5"),
        ("", ("boxed", "number"), None),
    ],
)
def test_extract(text, how, expected):
    assert extract_answer(text, how) == expected


def test_an_unknown_place_is_refused():
    with pytest.raises(ValueError, match="<answer>"):
        extract_answer("4", "box")


@given(st.text())
def test_extraction_takes_any_text(text):
    for how in ("boxed", "####", "number", "<answer>", "text"):
        found = extract_answer(text, how)
        assert found is None or found == found.strip() != ""


@given(st.text(alphabet="ab{}\\ ", max_size=12).filter(lambda t: t.count("{") == t.count("}") and "\\" not in t))
def test_what_is_boxed_comes_out(inside):
    depth, low = 0, 0
    for c in inside:
        depth += (c == "{") - (c == "}")
        low = min(low, depth)
    if low == 0:
        assert extract_answer(f"x \\boxed{{{inside}}} }} {{", "boxed") == (inside.strip() or None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 1,234.50. ", "1234.5"),
        ("$ 12 $", "12"),
        (r"\(12\)", "12"),
        (r"\text{ Yes }", "yes"),
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        ("-0.0", "0"),
        ("+007", "7"),
        (".50", "0.5"),
        ("3.", "3"),
        ("1,2", "1,2"),  # a pair, no thousand
        ("(1,234)", "(1,234)"),  # may be a pair
        ("a   b", "a b"),
        ("\N{MINUS SIGN}3", "-3"),
        ("", ""),
    ],
)
def test_normalise(text, expected):
    assert normalise_answer(text) == expected


@given(st.text(alphabet="0123456789.,+-$ \\(){}aBtexleftright", max_size=15))
def test_normalising_twice_changes_nothing(text):
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


@given(st.integers(-(10**9), 10**9))
def test_thousands_are_the_same_number(n):
    assert normalise_answer(f"{n:,}") == str(n)
    assert extract_answer(f"so {n:,}.", "number") == f"{n:,}"


def test_same_by_algebra_knows_more_than_text():
    assert not same_text("1/2", "0.5")
    assert same_by_algebra("1/2", "0.5")
    assert same_by_algebra(r"\frac{1}{2}", "$0.5$")
    assert not same_by_algebra("1/2", "0.4")
    assert same_by_algebra("no number", "No  number")
    assert not same_by_algebra("blue", "red")


def test_same_by_algebra_in_a_thread():
    said = []
    thread = threading.Thread(target=lambda: said.append(same_by_algebra("2/3", r"\frac{4}{6}")))
    thread.start()
    thread.join()
    assert said == [True]


def test_classes_are_numbered_as_seen_and_none_is_none():
    assert answer_classes(["3", None, "4", "3.0", None, "4"]) == [0, -1, 1, 0, -1, 1]
    assert answer_classes(["0.5", "1/2", None, "2"], same_by_algebra) == [0, 0, -1, 1]
    assert answer_classes([]) == []


@given(st.lists(st.sampled_from(["1", "1.0", "2", " 2", "x", None])))
def test_the_fast_way_groups_like_the_slow_one(answers):
    assert answer_classes(answers) == answer_classes(answers, lambda a, b: same_text(a, b))


def test_majority():
    assert majority(["3", "4", "4.0", None]) == ("4", [False, True, True, False], 0.5)
    assert majority(["3", "4"]).answer == "3"  # a tie: the first seen
    assert majority([None, None, "5"]) == ("5", [False, False, True], pytest.approx(1 / 3))  # None does not win
    assert majority([None, None]) == (None, [False, False], 0.0)
    assert majority(["3", "4", "4"], weights=[5, 1, 1]) == ("3", [True, False, False], pytest.approx(5 / 7))
    assert majority(["3", "4"], weights=[0, 0]) == ("3", [True, False], 0.0)
    assert majority(["1/2", "7", "0.5"], same=same_by_algebra).won == [True, False, True]


@given(st.lists(st.sampled_from("abc"), min_size=1), st.integers(1, 5))
def test_equal_weights_are_no_weights(answers, weight):
    weighted = majority(answers, weights=[weight] * len(answers))
    assert weighted[:2] == majority(answers)[:2]
    assert weighted.share == pytest.approx(sum(weighted.won) / len(answers))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        majority(["a", "b"], weights=weights)


def test_a_vote_needs_voters():
    with pytest.raises(ValueError, match="voter"):
        majority([])


def test_rows_of_groups():
    assert rows_of_groups(torch.tensor([7, 2, 7, 2, 5]), 5) == [[0, 2], [1, 3], [4]]
    assert rows_of_groups(None, 3) == [[0, 1, 2]]
    assert rows_of_groups(None, 0) == []


@pytest.mark.parametrize("how", ["boxed", "####", "number", "<answer>", "text"])
def test_where_an_answer_stands(how):
    text = r"2 so \boxed{ {4} } and <answer> 5 </answer> #### 6 or 7 " + "\n"
    start, end = find_answer(text, how)
    assert text[start:end] == extract_answer(text, how)
    assert find_answer("", how) is None


def test_equality_by_name():
    assert equality("text")("3", "3.0")
    assert not equality("text")("1/2", "0.5")
    assert equality("algebra")("1/2", "0.5")
    assert equality(str.__eq__) is str.__eq__
    with pytest.raises(ValueError, match='"algebra"'):
        equality("maths")
