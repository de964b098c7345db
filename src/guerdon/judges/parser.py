"""What a language model has answered: its label field and nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from guerdon.types import FIRST, SECOND, TIE, Item

CAPTION = {"FOO": 1.0, "BAR": 0.0}
PAIR = {"1": float(FIRST), "2": float(SECOND), "None": float(TIE)}
LEAST_MASS = 0.01
"""Share of the first token that the labels must hold together; below it the model is about to say something else."""

_THOUGHT_ENDS = re.compile(r"<\s*/\s*think(?:ing)?\s*>", re.I)
_THOUGHT_BEGINS = re.compile(r"<\s*think(?:ing)?\s*>", re.I)
_MARKUP = re.compile(r"[*_`\"'“”]")


def parse(item: Item, reply: str) -> float | None:
    """The label in a reply's ``<label>`` field, or of a pair in its ``<best>`` field; None where it is unparseable.

    The field must begin with the label's word (in any case, with markup, after "label:" or "description") and hold no
    other label. No field, an unclosed one, several that disagree: None. What a model thinks aloud is not read.
    """
    labels, tag = (CAPTION, "label") if isinstance(item, str) else (PAIR, "best")
    said = _THOUGHT_BEGINS.split(_THOUGHT_ENDS.split(reply)[-1])[0]
    fields = re.findall(rf"<\s*{tag}\s*>(.*?)<\s*/\s*{tag}\s*>", said, re.I | re.S)
    answers = {_label(_MARKUP.sub("", field), labels, tag) for field in fields}
    return answers.pop() if len(answers) == 1 else None


def _label(field: str, labels: dict[str, float], tag: str) -> float | None:
    words = "|".join(labels)
    found = {word.upper() for word in re.findall(rf"\b(?:{words})\b", field, re.I | re.A)}
    begins = re.match(rf"\W*(?:(?:{tag}|description)\W+)*(?:{words})\b", field, re.I | re.A)
    return next(v for word, v in labels.items() if word.upper() in found) if begins and len(found) == 1 else None


def label_of_token(item: Item, token: str) -> str | None:
    """The label that an answer beginning with this token is about to give, if it is about to give one."""
    token = _MARKUP.sub("", token).strip()
    for word in CAPTION if isinstance(item, str) else PAIR:
        if token and (word.startswith(token) or re.match(rf"{word}(?!\w)", token, re.I | re.A)):
            return word
    return None


def weigh(item: Item, tokens: Iterable[tuple[str, float]]) -> float | None:
    """Compares the labels by the probability of an answer's first token.

    Args:
        item: what was asked about.
        tokens: possible first tokens with their log-probabilities.

    Returns:
        Of a caption P(FOO) / (P(FOO) + P(BAR)), in 0..1; of a pair the likeliest outcome. None if the labels together
        hold less than `LEAST_MASS`.
    """
    labels = CAPTION if isinstance(item, str) else PAIR
    mass = dict.fromkeys(labels, 0.0)
    for token, log_probability in tokens:
        word = label_of_token(item, token)
        if word is not None:
            mass[word] += math.exp(log_probability)
    total = sum(mass.values())
    if total < LEAST_MASS:
        return None
    return mass["FOO"] / total if isinstance(item, str) else labels[max(mass, key=mass.__getitem__)]
