"""Antiderivatives: right ones, wrong ones, and ones that would take for ever."""

import pytest
import table_model
from hypothesis import given
from hypothesis import strategies as st

from guerdon.rewards.verifiable.integration import Integration, is_antiderivative, read_formula


@pytest.mark.parametrize(
    ("answer", "integrand"),
    [
        ("x^2/2", "x"),
        ("x**2/2 + C", "x"),
        ("0.5x^2 - 17", "x"),
        ("ln|x|", "1/x"),
        ("log(x)", "1/x"),
        ("(x - 1) e^x", "x e^x"),
        ("x ln(x) - x", "ln(x)"),
        ("sin(x)^2", "sin(2x)"),
        ("-cos(2*x)/2", "sin(2x)"),  # another form of it, up to a constant
        ("2x^(3/2)/3", "sqrt(x)"),
        ("asin(x)", "1/sqrt(1 - x^2)"),
        ("x|x|/2", "|x|"),
        ("5", "0"),
        ("pi x", "pi"),
    ],
)
def test_right(answer, integrand):
    assert is_antiderivative(answer, integrand)


@pytest.mark.parametrize(
    ("answer", "integrand"),
    [
        ("x^2", "x"),
        ("x", "x"),
        ("-x^2/2", "x"),
        ("x^2/2 + 1e-4 x", "x"),
        ("C x", "1"),
        ("y x", "y"),
        (r"\frac{x^2}{2}", "x"),
        ("", "x"),
        ("__import__('os').system('true')", "x"),
        ("sin", "cos(x)"),
        ("sin(x, x)", "cos(x)"),
        ("sin(x=1)", "cos(x)"),
        ("1/0", "x"),
        ("x^(1/0)", "x"),
        ("9^9^9^9", "0"),
        ("((((x^60)^60)^60)^60)^60", "x"),
        ("((9^60)^60)^60 x", "1"),
        ("exp(exp(exp(exp(exp(x)))))", "x"),
        ("(" * 3000, "x"),
        ("-" * 480 + "x", "1e300"),
    ],
)
def test_wrong(answer, integrand):
    if integrand == "y":
        with pytest.raises(ValueError, match="'y' has no place in a formula"):
            is_antiderivative(answer, integrand)
    else:
        assert not is_antiderivative(answer, integrand)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=4), st.integers(-5, 5))
def test_polynomials(coefficients, constant):
    integrand = " + ".join(f"({c}) x^{i}" for i, c in enumerate(coefficients))
    answer = " + ".join(f"({c}) x^{i + 1}/{i + 1}" for i, c in enumerate(coefficients))
    assert is_antiderivative(f"{answer} + {constant}", integrand)
    assert not is_antiderivative(f"{answer} + x", integrand)


def test_an_integrand_that_cannot_be_read_is_an_error():
    for bad, message in (("x +", "no formula"), ("sqrt(-1 - x^2)", "fewer than 3 points"), ("f(x)", "no place")):
        with pytest.raises(ValueError, match=message):
            is_antiderivative("x", bad)


def test_reading_a_formula():
    assert str(read_formula("2(x+1)(x-1)").expand()) == "2*x**2 - 2"
    assert str(read_formula("2t e^t", "t")) == "2*t*exp(t)"
    assert read_formula("0.1") * 10 == 1  # decimals are exact


def test_the_reward_reads_its_column():
    model = table_model.TableModel()
    texts = ["<answer>t^2/2</answer>", r"\boxed{t^2}", "t^2/2"]
    made = table_model.completions(["?"] * 3, texts, model=model, integrand=["t"] * 3)
    assert Integration(variable="t").score(made).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="has no place"):
        Integration().score(made)
