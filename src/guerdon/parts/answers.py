r"""Final answers of written solutions: find one, bring it into one form, group equal ones, let them vote.

    m = the answer whose class has the largest sum of weights;  share = that sum over the sum of all weights

An answer is a text, or None where a solution gives none. Plain Python: nothing here knows a model.
"""

from __future__ import annotations

import functools
import math
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

Equality = Callable[[str, str], bool]
"""Whether two answers, neither of them None, are the same."""

Same = str | Equality
"""An equality, or the name of one: see `equality`."""

_NUMBER = re.compile(
    r"(?:(?<![\w)\]}.])[-+])?"  # a sign, but not the minus of 10-7
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d+)?(?:/\d+(?![.\d]))?"
)
_TAG = re.compile(r"<[A-Za-z][\w-]*>")
_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")


def extract_answer(text: str, how: str | Sequence[str] = "boxed") -> str | None:
    r"""The final answer of a solution, without white space around it; None if it has none or an empty one.

    Args:
        text: what was written.
        how: where the answer stands; of several, the first that finds one:
            "boxed": inside the last complete ``\boxed{...}`` or ``\fbox{...}``, braces within it matched;
            "####": after the last ####, up to the end of that line;
            "number": the last number, such as -1,234.5 or 3/4 or 1e-3;
            "<answer>" or any other tag: between the last such pair, ``<answer>...</answer>``;
            "text": all of it.

    Raises:
        ValueError: for another `how`.
    """
    found = find_answer(text, how)
    return text[slice(*found)].replace("\N{MINUS SIGN}", "-") if found else None


def find_answer(text: str, how: str | Sequence[str] = "boxed") -> tuple[int, int] | None:
    """Where `extract_answer` finds it: the first character of the answer, and the first one after it."""
    if not isinstance(how, str):
        return next((found for one in how if (found := find_answer(text, one))), None)
    start, end = 0, len(text)
    if how == "boxed":
        start, end = _boxed(text)
    elif how == "####":
        mark = text.rfind(how)
        start = mark + len(how) if mark >= 0 else end
        line = text.find("\n", start)
        end = line if line >= 0 else end
    elif how == "number":
        numbers = list(_NUMBER.finditer(text.replace("\N{MINUS SIGN}", "-")))
        start, end = numbers[-1].span() if numbers else (0, 0)
    elif _TAG.fullmatch(how):
        end = text.rfind(f"</{how[1:]}")
        opening = text.rfind(how, 0, max(end, 0))
        start, end = (opening + len(how), end) if opening >= 0 else (0, 0)
    elif how != "text":
        raise ValueError(f'how must be "boxed", "####", "number", "text" or a tag such as "<answer>", not {how!r}')
    inside = text[start:end]
    kept = inside.strip()
    start += len(inside) - len(inside.lstrip())
    return (start, start + len(kept)) if kept else None


def _boxed(text: str) -> tuple[int, int]:
    """The characters in the last complete box; one that is never closed (a solution cut off) is passed over."""
    for match in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))):
        depth, at = 1, match.end()
        while at < len(text):
            if text[at] == "\\":  # an escaped brace closes nothing
                at += 2
                continue
            depth += (text[at] == "{") - (text[at] == "}")
            if depth == 0:
                return match.end(), at
            at += 1
    return 0, 0


@functools.lru_cache(maxsize=65536)
def normalise_answer(answer: str) -> str:
    r"""One form for what is plainly the same: ``$ 1,234.50. $`` and ``\text{1234.5}`` are both ``1234.5``.

    Drops white space around and doubled inside, dollar signs and ``\( \)`` around, a full stop at the end, ``\text``
    and its like, ``\left`` and ``\right``, thousands separators, zeros that add nothing to a decimal number; turns
    ``\dfrac`` and ``\tfrac`` into ``\frac``, and letters into lower case. Doing it twice changes nothing more. What is
    equal only by algebra (1/2 and 0.5) stays different: see `same_by_algebra`.
    """
    before, now = None, answer
    while now != before:
        before = now
        now = _once(now)
    return now


def _once(text: str) -> str:
    text = " ".join(text.replace("\N{MINUS SIGN}", "-").casefold().split())
    text = _WRAPPED.sub(r"\1", text).replace("\\left", "").replace("\\right", "")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\!", "").replace("\\,", "")
    text = text.removeprefix("\\(").removesuffix("\\)").strip("$ ").removesuffix(".").strip()
    plain = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", text)
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?", text) and _DECIMAL.fullmatch(plain):
        text = plain
    if _DECIMAL.fullmatch(text):
        sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text.removeprefix("+"))
        whole, _, fraction = digits.partition(".")
        whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
        number = f"{whole}.{fraction}" if fraction else whole
        text = number if number == "0" else sign + number
    return text


def same_text(first: str, second: str) -> bool:
    """Whether two answers are equal once normalised."""
    return normalise_answer(first) == normalise_answer(second)


def same_by_algebra(first: str, second: str) -> bool:
    """Whether two answers are equal once normalised, or as mathematics, by math-verify (guerdon[text]): 1/2 and 0.5.

    Raises ImportError without math-verify.
    """
    return same_text(first, second) or _verified(first, second)


def equality(same: Same) -> Equality:
    """What a keyword `same` means: "text" is `same_text`, "algebra" is `same_by_algebra`, a function is itself."""
    known: dict[str, Equality] = {"text": same_text, "algebra": same_by_algebra}
    if callable(same):
        return same
    if same not in known:
        raise ValueError(f'same must be "text", "algebra" or a function of two answers, not {same!r}')
    return known[same]


@functools.lru_cache(maxsize=65536)
def _verified(first: str, second: str) -> bool:
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise ImportError("same_by_algebra needs math-verify: pip install guerdon[text]") from error

    seconds = 5 if threading.current_thread() is threading.main_thread() else None  # its time limit is a signal

    def read(answer: str) -> list:
        return parse(f"${answer.strip('$ ')}$", parsing_timeout=seconds)  # type: ignore[arg-type]

    return bool(verify(read(first), read(second), timeout_seconds=seconds))


def answer_classes(answers: Sequence[str | None], same: Equality = same_text) -> list[int]:
    """The class of each answer, numbered from 0 in the order in which classes are first seen; -1 for None.

    An answer joins the first class whose first member it equals.
    """
    if same is same_text:  # one look-up an answer instead of one comparison a class
        numbers: dict[str, int] = {}
        return [-1 if a is None else numbers.setdefault(normalise_answer(a), len(numbers)) for a in answers]
    firsts: list[str] = []
    known: dict[str, int] = {}
    for answer in answers:
        if answer is None or answer in known:
            continue
        at = next((i for i, first in enumerate(firsts) if same(first, answer)), len(firsts))
        if at == len(firsts):
            firsts.append(answer)
        known[answer] = at
    return [-1 if a is None else known[a] for a in answers]


class Vote(NamedTuple):
    """How a vote over answers ended."""

    answer: str | None  # the winner as it was first written; None if nobody gave an answer
    won: list[bool]  # which of the answers are the winner's
    share: float  # of all weight, that of voters without an answer included, in [0, 1]


def majority(
    answers: Sequence[str | None], *, weights: Iterable[float] | None = None, same: Equality = same_text
) -> Vote:
    """Votes over the answers to one question; of equal classes the one seen first wins, and None never does.

    Voters without an answer count in `share` only. Where nobody has one, nobody wins: `answer` None, share 0.

    Args:
        answers: one a voter.
        weights: of each vote, at least 0 and finite; 1 each if None.
        same: when two answers are equal.

    Raises:
        ValueError: for no voters, or weights of another number, negative, or not finite.
    """
    if not answers:
        raise ValueError("a vote needs at least one voter")
    votes = [1.0] * len(answers) if weights is None else [float(w) for w in weights]
    if len(votes) != len(answers) or not all(math.isfinite(v) and v >= 0 for v in votes):
        raise ValueError(f"weights must be {len(answers)} finite numbers of at least 0, got {votes}")
    classes = answer_classes(answers, same)
    totals: dict[int, float] = {}
    for number, weight in zip(classes, votes, strict=True):
        if number >= 0:
            totals[number] = totals.get(number, 0.0) + weight
    if not totals:
        return Vote(None, [False] * len(answers), 0.0)
    winner = max(totals, key=totals.__getitem__)  # the first of equals: classes come in the order of sight
    share = totals[winner] / sum(votes) if sum(votes) else 0.0
    return Vote(answers[classes.index(winner)], [c == winner for c in classes], share)


def rows_of_groups(group: Tensor | None, rows: int) -> list[list[int]]:
    """The rows of each group, in order, groups in the order in which they are first seen; one group if None.

    Args:
        group: [N] integers.
        rows: N.
    """
    found: dict[int, list[int]] = {}
    for row, number in enumerate([0] * rows if group is None else group.tolist()):
        found.setdefault(number, []).append(row)
    return list(found.values())
