"""Integration, checked by differentiation: hard to find, easy to check."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from guerdon.parts.answers import extract_answer
from guerdon.types import About, Completions, Reward

if TYPE_CHECKING:
    import sympy

FUNCTIONS = {
    "sqrt": "sqrt", "exp": "exp", "log": "log", "ln": "log", "abs": "Abs", "sin": "sin", "cos": "cos", "tan": "tan",
    "asin": "asin", "acos": "acos", "atan": "atan", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "asinh",
}  # fmt: skip
"""What an answer may call -> its name in sympy."""

_POINTS = np.array([-3.7, -2.3, -1.1, -0.71, -0.37, -0.13, 0.11, 0.29, 0.53, 0.83, 1.3, 1.9, 2.7, 3.9, 5.3])
_LARGEST = 64  # exponent of a number; more would take for ever to write out
_LONGEST = 500  # characters


class Integration(Reward):
    """Pays 1 for an antiderivative of the integrand, and 0 for anything else.

        r = 1[d/dx F(x) = f(x)]

    F, the answer, and f, a column, are formulas such as ``x**2/2 + sin(2*x) + C`` or ``2x e^x``: + - * / ^, numbers,
    pi, e, the variable, a constant C, and the usual functions of a bracket or of ``|x|``. sympy differentiates F; then
    both sides are compared as numbers at up to 15 points, at least 3 where both are finite and real, to a relative
    1e-8: so two functions that differ only elsewhere would pass. [N] float32, 0 or 1; LaTeX and unreadable answers
    are 0.

    The generation-verification asymmetry of "How Far Can Unsupervised RLVR Scale LLM Training?", 2026.

    Args:
        integrand: column with f. One that cannot be read is an error.
        how: where the answer stands, as in `guerdon.parts.answers.extract_answer`.
        variable: its name.
    """

    about: ClassVar[About] = About(
        rewards="a formula whose derivative is the integrand",
        paper="How Far Can Unsupervised RLVR Scale LLM Training? (2026)",
        link="https://arxiv.org/abs/2603.08660",
        scores="Completions",
        example="Integration(integrand='answer')",
    )

    def __init__(
        self, *, integrand: str = "integrand", how: str | Sequence[str] = ("<answer>", "boxed"), variable: str = "x"
    ) -> None:
        super().__init__()
        self.integrand, self.how, self.variable = integrand, how, variable

    def score(self, experience: Completions, **_: object) -> Tensor:
        values = [
            (answer := extract_answer(text, self.how)) is not None
            and is_antiderivative(answer, str(integrand), variable=self.variable)
            for text, integrand in zip(experience.text, experience.column(self.integrand, self.name), strict=True)
        ]
        return torch.tensor(values, device=experience.ids.device).float()


@functools.lru_cache(maxsize=4096)
def is_antiderivative(answer: str, integrand: str, *, variable: str = "x") -> bool:
    """Whether the derivative of `answer` is `integrand`; see `Integration`.

    Raises ValueError for an integrand that cannot be read, or is finite at fewer than 3 of the points.
    """
    import sympy

    wanted = _numbers(read_formula(integrand, variable), variable)
    if np.isfinite(wanted).sum() < 3:
        raise ValueError(f"the integrand {integrand!r} is finite and real at fewer than 3 points of [-3.7, 5.3]")
    try:
        found = _numbers(sympy.diff(read_formula(answer, variable), _symbol(variable)), variable)
    except (ValueError, OverflowError, RecursionError):
        return False
    both = np.isfinite(wanted) & np.isfinite(found)
    return bool(both.sum() >= 3 and np.allclose(found[both], wanted[both], rtol=1e-8, atol=1e-10))


def read_formula(text: str, variable: str = "x") -> sympy.Expr:
    """A formula as sympy's, read from its syntax tree: nothing is evaluated as code. Raises ValueError."""
    plain = text.strip().replace("^", "**").replace("\N{MINUS SIGN}", "-").replace("·", "*")
    if len(plain) > _LONGEST:
        raise ValueError(f"a formula of {len(plain)} characters is more than {_LONGEST}")
    plain = re.sub(r"\|([^|]+)\|", r"(abs(\1))", plain)  # also behind a name, as in ln|x|
    plain = re.sub(r"(?<![\w.])(\d+\.?\d*|\.\d+)(?![eE][-+]?\d)\s*(?=[A-Za-z(])", r"\1*", plain)  # 2x, but 1e3
    plain = re.sub(rf"(\)|\b(?:{re.escape(variable)}|pi|e)\b)\s*(?=[A-Za-z(])", r"\1*", plain)  # (x + 1)(x - 1), x e**x
    try:
        return _formula(ast.parse(plain, mode="eval").body, variable)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no formula") from error


def _formula(node: ast.expr, variable: str) -> Any:
    import sympy

    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return sympy.Rational(str(number))
        case ast.Name(id=name) if name == variable:
            return _symbol(variable)
        case ast.Name(id="pi"):
            return sympy.pi
        case ast.Name(id="e" | "E"):
            return sympy.E
        case ast.Name(id="C" | "c"):
            return sympy.Symbol("C", real=True)
        case ast.UnaryOp(ast.USub(), operand):
            return -_formula(operand, variable)
        case ast.UnaryOp(ast.UAdd(), operand):
            return _formula(operand, variable)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return getattr(sympy, FUNCTIONS[name])(_formula(argument, variable))
        case ast.BinOp(left, operation, right):
            a, b = _formula(left, variable), _formula(right, variable)
            match operation:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
                case ast.Pow() if not (b.is_number and abs(complex(b)) > _LARGEST) and _short(a):
                    return a**b
    raise ValueError(f"{ast.unparse(node)!r} has no place in a formula")


def _short(base: Any) -> bool:
    """Whether a power of this base can be written out: its numbers have no more than 256 bits."""
    import sympy

    return all(abs(int(part)).bit_length() <= 256 for n in base.atoms(sympy.Rational) for part in (n.p, n.q))


def _symbol(variable: str) -> sympy.Symbol:
    import sympy

    return sympy.Symbol(variable, real=True)


def _numbers(formula: Any, variable: str) -> np.ndarray:
    """[15] float64: the formula at the points, NaN where it is not finite and real. Raises ValueError."""
    import sympy

    if formula.free_symbols - {_symbol(variable)}:
        raise ValueError(f"{formula} has other variables than {variable}")
    with np.errstate(all="ignore"):
        try:
            made = sympy.lambdify(_symbol(variable), formula, "numpy")(_POINTS.astype(complex))
        except (TypeError, NameError, AttributeError, ZeroDivisionError) as error:
            raise ValueError(f"{formula} cannot be worked out") from error
        made = np.broadcast_to(np.asarray(made, dtype=complex), _POINTS.shape)
        whole, rest = np.real(made), np.imag(made)
        real = np.abs(rest) <= 1e-9 * np.maximum(1.0, np.abs(whole))
        return np.where(np.isfinite(made) & real, whole, np.nan)
