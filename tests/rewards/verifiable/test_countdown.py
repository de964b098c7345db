"""Countdown: exact, and never evaluated as code."""

from fractions import Fraction

import pytest
import table_model
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.rewards.verifiable.countdown import Countdown, solves, work_out


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("(3 + 4) * 2", True),
        ("(3 + 4) * 2 = 14", True),
        ("2*4 + 3*2", False),  # 2 twice
        ("14", False),
        ("7 * 2", False),
        ("3 \N{MULTIPLICATION SIGN} 4 + 2", True),
        ("3*4+2.0", False),
        ("3 + 4 * 2", False),  # 11
        ("-(-3*4) + 2", True),
        ("3*4 + +2", False),
        ("", False),
        ("(3 + 4", False),
        ("3 ** 4", False),
        ("3 // 4", False),
        ("True + 13", False),
        ("__import__('os').getcwd()", False),
        ("(lambda: 14)()", False),
        ("03 + 4", False),
        ("(" * 400 + "3" + ")" * 400, False),
        ("1" * 2000, False),
    ],
)
def test_what_solves(answer, right):
    assert solves(answer, [2, 3, 4], 14) is right


def test_division_is_exact():
    assert work_out("1 / 3 * 3")[0] == 1
    assert solves("8 / (3 - 8 / 3)", [8, 3, 8, 3], 24)  # in floating point 23.999999999999989
    assert not solves("8 / (3 - 3)", [8, 3, 3], 1)
    assert work_out("7 ÷ 2")[0] == Fraction(7, 2)


def test_use_all_or_some():
    assert not solves("2 * 4", [2, 3, 4], 8)
    assert solves("2 * 4", [2, 3, 4], 8, use_all=False)
    assert not solves("2 * 2 * 2", [2, 3, 4], 8, use_all=False)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5), st.data())
def test_what_is_built_solves(numbers, data):
    expression, value = str(numbers[0]), Fraction(numbers[0])
    for n in numbers[1:]:
        sign = data.draw(st.sampled_from("+-*/"))
        expression = f"({expression}) {sign} {n}"
        value = {"+": value + n, "-": value - n, "*": value * n, "/": value / n}[sign]
    assert solves(expression, numbers, value)
    assert not solves(expression, numbers, value + 1)
    assert not solves(expression, [*numbers, 1], value)


def test_the_reward_reads_columns():
    model = table_model.TableModel()
    texts = ["<answer>(3+4)*2</answer>", r"\boxed{3+4+2}", "14", "<answer>6/4</answer>"]
    made = table_model.completions(
        ["?"] * 4, texts, model=model, numbers=[[2, 3, 4], "2 3 4", (2, 3, 4), [4, 6]], target=[14, "14", 14, 1.5]
    )
    assert Countdown().score(made).tolist() == [1, 0, 0, 1]
    assert Countdown().score(made).dtype == torch.float32
    made.columns["numbers"][1] = "none"
    with pytest.raises(ValueError, match="Countdown was given a row without numbers"):
        Countdown().score(made)
