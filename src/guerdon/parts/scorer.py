"""A scoring function as somebody wrote it: how it is called with rows, and what its answer says of each row.

A row is a mapping with "prompt" and "completion" (texts or messages) and any further columns. How a function is called
stands in its parameters: one named

    completion    is called once a row, with the columns that it names: ``f(prompt, completion, answer) -> float``
    completions   is called with many rows, as TRL calls one: ``f(prompts, completions, **columns) -> list``
    rows          is called with many rows as they are: ``f(rows) -> list``

A score is a number, a bool, or a mapping with "score" and further numbers, its terms. None and NaN mean "not scored".
Everything else is a fault of the scorer: it is never read as 0.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]

FORMS = ("rows", "completions", "completion")


class Score(NamedTuple):
    """What became of one row: a value, or the reason why there is none."""

    value: float | None
    reason: str | None = None  # "not scored", "not a number", "raised", "timeout", "wrong count", "worker died", ...
    detail: str = ""  # the reason in full
    terms: Mapping[str, float | None] = {}

    @property
    def failed(self) -> bool:
        """Whether something went wrong; a row that the scorer leaves out on purpose is no failure."""
        return self.value is None and self.reason != "not scored"

    def why(self) -> str:
        """The reason in one line."""
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class NotScored(Exception):
    """A call that gave no scores at all, with the reason of `Score`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.detail)


class Scorer:
    """A function that scores rows, called the way its parameters ask for.

    Args:
        function: plain or ``async def``, or an object with a ``__call__`` of either kind; see the module.

    Raises:
        TypeError: no parameter says how it is called.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.parameters = inspect.signature(function).parameters
        self.form = next((form for form in FORMS if form in self.parameters), "")
        if not self.form:
            listed = ", ".join(self.parameters) or "nothing"
            raise TypeError(
                f"{self.name} takes {listed}; a scorer takes completion (one row a call), completions (many, as in "
                "TRL) or rows (many, as mappings)"
            )
        called = getattr(function, "__call__", function)  # noqa: B004
        self.awaits = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
        self.takes_many = self.form != "completion"

    def call(self, rows: Sequence[Row]) -> Any:
        """What the function returns for these rows (one row, unless it takes many); a coroutine if it awaits."""
        if self.form == "rows":
            return self.function(rows=rows)
        if self.form == "completion":
            return self.function(**self._named(rows[0], rows[0]))
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        given = {"prompts": columns.pop("prompt"), "completions": columns.pop("completion"), **columns}
        return self.function(**self._named(given, rows[0]))

    def read(self, answer: Any, count: int) -> list[Score]:
        """The scores in what the function returned for `count` rows. Raises NotScored if they cannot be told apart."""
        if not self.takes_many:
            return [read_score(answer)]
        if hasattr(answer, "tolist"):  # an array or a tensor
            answer = answer.tolist()
        if not isinstance(answer, Iterable) or isinstance(answer, (str, bytes, Mapping)):
            raise NotScored("not a list", f"{self.name} returned {_shown(answer)} for {count} rows")
        scores = list(answer)
        if len(scores) != count:
            raise NotScored("wrong count", f"{self.name} returned {len(scores)} scores for {count} rows")
        return [read_score(score) for score in scores]

    def _named(self, given: Mapping[str, Any], row: Row) -> dict[str, Any]:
        """The arguments among `given` that the function names, or all of them if it takes any."""
        takes = self.parameters.values()
        missing = [
            p.name for p in takes
            if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in given
        ]  # fmt: skip
        if missing:
            raise NotScored(
                "missing column", f"{self.name} needs {', '.join(missing)}, but the row has {', '.join(row)}"
            )
        if any(p.kind is p.VAR_KEYWORD for p in takes):
            return dict(given)
        return {name: given[name] for name in self.parameters if name in given}


def read_score(answer: Any) -> Score:
    """One score as a scorer returned it."""
    if isinstance(answer, Score):
        return answer if answer.value is None else read_score(answer.value)._replace(terms=answer.terms)
    terms: dict[str, float | None] = {}
    if isinstance(answer, Mapping):
        if "score" not in answer:
            return Score(None, "not a number", f"a mapping without 'score': {_shown(answer)}")
        terms = {str(k): v for k, x in answer.items() if k != "score" and (v := read_score(x).value) is not None}
        answer = answer["score"]
    if answer is None:
        return Score(None, "not scored", "", terms)
    if hasattr(answer, "item"):  # of numpy or torch
        with contextlib.suppress(ValueError, RuntimeError, TypeError):  # it holds more than one number
            answer = answer.item()
    if not isinstance(answer, (int, float)):
        return Score(None, "not a number", _shown(answer), terms)
    try:
        value = float(answer)
    except OverflowError:
        value = math.inf
    if math.isnan(value):
        return Score(None, "not scored", "NaN", terms)
    if math.isinf(value):
        return Score(None, "not finite", _shown(answer), terms)
    return Score(value, terms=terms)


def said(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return _cut(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _shown(value: Any) -> str:
    try:
        return _cut(repr(value))
    except Exception:  # somebody else's repr
        return type(value).__name__


def _cut(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
