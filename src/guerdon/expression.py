"""Rewards and judges written as text: ``0.1 * Extrinsic() + 0.4 * ONI(model="retrieval")``.

An expression is read with `ast` and never evaluated. It may hold names of the catalogue or ``module:Name`` of your own,
called with literals, rewards or keywords; ``+``, ``*``, parentheses; and in a reward the encoders of reward models, as
in ``BradleyTerry(encoder=Embeddings())``. ``repr(reward)`` is such an expression. Of a module of your own only a class
that has what this kind of thing is called by is made: a reward's ``score``, a judge's ``judge``, a text task's
``rows``, the ``__call__`` of a credit, filter, loss or sampler.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from guerdon import catalogue
from guerdon.models.reward_folder import ENCODERS
from guerdon.parts.reward_scorer import RewardScorer
from guerdon.types import Judge, LanguageModel, Product, Reward, Stream, Sum, as_reward

_OWN_NAME = re.compile(
    r"""(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?<![\w.])(?!(?:None|True|False)\b)[^\W\d][\w.]*:[^\W\d]\w*"""
)
"""A quoted text, or ``package.module:Name`` outside of one."""


_METHODS = {
    "reward": "score", "judge": "judge", "text task": "rows",
    "credit": "__call__", "filter": "__call__", "loss": "__call__", "sampler": "__call__",
}  # fmt: skip
"""What a class of one's own must have to be called; things of any other kind come from the table alone."""


class ExpressionError(ValueError):
    """An expression that cannot be read; the message points at the place and names what would have worked."""


def parse_reward(text: str) -> Reward:
    """The reward that `text` describes. Raises ExpressionError, with the place and the near matches, if it is none."""
    made = _Reader(text, "reward", {**catalogue.rewards(), "Stream": Stream, **ENCODERS}).read()
    try:
        return as_reward(made)
    except TypeError as error:
        raise ExpressionError(f"{text!r} is not a reward but {made!r}") from error


def parse_judge(text: str) -> Judge:
    """The judge that `text` describes, as in ``RecordedJudge(invert=True)``. Raises ExpressionError if it is none."""
    made = _Reader(text, "judge", catalogue.judges()).read()
    if not callable(getattr(made, "judge", None)):
        raise ExpressionError(f"{text!r} is not a judge but {made!r}")
    return made


def parse_scorer(
    text: str, *, model: LanguageModel | None = None, reference: LanguageModel | None = None
) -> Callable[..., Any]:
    """What scores written rows: a reward expression, or ``module:function`` without parentheses.

    Args:
        text: such as ``0.9 * ExactMatch() + 0.1 * my.module:Short()`` or ``my.module:function``; what a function
            takes is told in `guerdon.parts.scorer`.
        model: for rewards that need a language model.
        reference: for rewards that need a frozen one beside it; by default `model`.

    Raises:
        ExpressionError: it cannot be read.
        ValueError: the reward does not score texts, or needs a model.
    """
    module_name, colon, name = text.strip().partition(":")
    if not colon or not all(part.isidentifier() for part in [*module_name.split("."), name]):
        return RewardScorer(parse_reward(text), model=model, reference=reference)
    try:
        function = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise ExpressionError(f"cannot import {module_name}: {error}; is its folder on PYTHONPATH?") from error
    if not callable(function) or isinstance(function, type):
        raise ExpressionError(f"{text} is no function; a reward of your own is written with parentheses: {text}()")
    return function


def parse(text: str, kind: str, names: Mapping[str, type | str]) -> Any:
    """What `text` describes over a table of names; `kind` is what errors call it."""
    return _Reader(text, kind, names).read()


class _Reader:
    """Reads one expression over a table of names."""

    def __init__(self, text: str, kind: str, names: Mapping[str, type | str]) -> None:
        self.text = re.sub(r"\s", " ", text.strip())  # one line, so that a place is a column
        self.kind, self.names = kind, names

    def read(self) -> Any:
        if not self.text:
            raise ExpressionError(f"an empty expression is no {self.kind}")
        try:
            tree = ast.parse(_as_identifiers(self.text), mode="eval")
        except SyntaxError as error:
            column = max((error.offset or 1) - 1, 0)
            raise ExpressionError(self._point(f"cannot read this {self.kind}: {error.msg}", column, 1)) from None
        except (ValueError, RecursionError, MemoryError) as error:  # a null byte; thousands of brackets or signs
            raise ExpressionError(f"cannot read this {self.kind}: {error or 'it is nested too deep'}") from None
        return self.visit(tree.body)

    def visit(self, node: ast.expr) -> Any:
        """The value of one node: a number, a string, ..., or what a call makes."""
        match node:
            case ast.Call():
                return self.call(node)
            case ast.BinOp(op=ast.Add() | ast.Mult()):
                return self.combine(node, self.visit(node.left), self.visit(node.right))
            case ast.BinOp(op=ast.Sub()):
                raise self.error(node, "there is no minus between rewards: write a + -1 * b")
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                value = self.visit(node.operand)
                if not _is_number(value) and not isinstance(value, Reward):
                    raise self.error(node, f"a sign needs a number or a reward, not {value!r}")
                if isinstance(node.op, ast.UAdd):
                    return value
                return Product(-1, value) if isinstance(value, Reward) else -value
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                return value
            case ast.List():
                return [self.visit(x) for x in node.elts]
            case ast.Tuple():
                return tuple(self.visit(x) for x in node.elts)
            case ast.Dict() if None not in node.keys:
                return {self.visit(k): self.visit(v) for k, v in zip(node.keys, node.values, strict=True) if k}
            case ast.Name():
                name = self.written(node)
                if name in self.names or ":" in name:
                    raise self.error(node, f"write {name}() with parentheses")
                raise self.error(node, f"{name} is neither a literal nor a call; is it a text to quote?")
        raise self.error(node, "only names, literals, keywords, +, * and parentheses can stand here")

    def combine(self, node: ast.BinOp, left: Any, right: Any) -> Any:
        """Numbers with numbers, rewards with rewards, and a number times a reward."""
        adds = isinstance(node.op, ast.Add)
        if _is_number(left) and _is_number(right):
            return left + right if adds else left * right
        for side, value in ((node.left, left), (node.right, right)):
            if self.kind != "reward" or not (callable(getattr(value, "score", None)) or _is_number(value)):
                raise self.error(side, f"+ and * join rewards and numbers, not {value!r}")
            if adds and _is_number(value):
                raise self.error(side, "a number cannot be added to a reward, only multiplied with it")
        return Sum(left, right) if adds else Product(left, right)

    def call(self, node: ast.Call) -> Any:
        """What ``Name(...)`` makes, its arguments checked against the signature first."""
        cls, written = self.resolve(node.func)
        accepted = inspect.signature(cls).parameters
        keyword_only = [p for p in accepted.values() if p.kind is p.KEYWORD_ONLY]
        positional = [p for p in accepted.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)]
        kinds = {p.kind for p in accepted.values()}
        args: list[Any] = []
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                raise self.error(arg, "* cannot spread arguments here")
            if len(args) == len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
                listed = ", ".join(p.name for p in keyword_only) or "nothing"
                raise self.error(arg, f"{written} takes {len(positional)} arguments without a name; by name: {listed}")
            args.append(self.visit(arg))
        given: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.error(keyword.value, "** cannot spread arguments here")
            if keyword.arg not in accepted and inspect.Parameter.VAR_KEYWORD not in kinds:
                near = _did_you_mean(keyword.arg, accepted)
                listed = f"; it knows {', '.join(accepted)}" if accepted else "; it takes no keywords"
                raise self.error(keyword, f"{written} has no keyword {keyword.arg!r}{near}{listed}")
            given[keyword.arg] = self.visit(keyword.value)
        missing = [
            p.name for p in [*positional[len(args) :], *keyword_only] if p.default is p.empty and p.name not in given
        ]
        if missing:
            raise self.error(node, f"{written} needs {', '.join(missing)}")
        try:
            return cls(*args, **given)
        except (TypeError, ValueError) as error:
            raise self.error(node, f"{written}: {error}") from error

    def resolve(self, func: ast.expr) -> tuple[Any, str]:
        """The class that a call names, and its name as written."""
        if not isinstance(func, ast.Name):
            raise self.error(func, "only a name of the catalogue, or module:Name, can be called")
        written = self.written(func)
        module_name, colon, name = written.rpartition(":")
        if not colon:
            found = self.names.get(name)
            if isinstance(found, str):
                raise self.error(func, f"{name} is not installed: {found}")
            if found:
                return found, name
            hint = _did_you_mean(name, self.names) or f": there are {', '.join(sorted(self.names))}"
            raise self.error(func, f"no {self.kind} is called {name}{hint}")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise self.error(func, f"cannot import {module_name}: {error}; is its folder on PYTHONPATH?") from error
        made = getattr(module, name, None)
        if not self.fits(made):
            known = [key for key, value in vars(module).items() if self.fits(value)]
            raise self.error(func, f"{module_name} has no {self.kind} {name}{_did_you_mean(name, known)}")
        return made, written

    def fits(self, cls: Any) -> bool:
        """Whether this is a class of rewards (judges): nothing else of a module is ever called."""
        method = _METHODS.get(self.kind, "")
        if not isinstance(cls, type) or (method == "__call__" and issubclass(cls, Reward)):
            return False
        return any(method in vars(kind) for kind in cls.__mro__ if kind is not object) and callable(
            getattr(cls, method)
        )

    def written(self, node: ast.Name) -> str:
        """The name as it stands in the text, before `_as_identifiers`."""
        return self.text.encode()[node.col_offset : node.end_col_offset].decode()

    def error(self, node: ast.expr | ast.keyword, message: str) -> ExpressionError:
        start, end = (len(self.text.encode()[:i].decode()) for i in (node.col_offset, node.end_col_offset))
        return ExpressionError(self._point(message, start, max(end - start, 1)))

    def _point(self, message: str, column: int, width: int) -> str:
        return f"{message}\n  {self.text}\n  {' ' * column}{'^' * width}"


def _as_identifiers(text: str) -> str:
    """`text` with each ``package.module:Name`` made one identifier of the same length, which `ast` can read."""
    return _OWN_NAME.sub(lambda m: m[0] if m["quoted"] else re.sub("[.:]", "_", m[0]), text)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    folded = {k.lower(): k for k in known}
    found = [folded[k] for k in difflib.get_close_matches(name.lower(), list(folded), n=3, cutoff=0.6)]
    return f": did you mean {' or '.join(found)}?" if found else ""
