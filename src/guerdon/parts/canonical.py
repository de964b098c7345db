"""One name for NetHack messages that differ only in numbers, letters and names."""

from __future__ import annotations

import re

_KIND = r"(potion|scroll|ring|wand|amulet|spellbook)"
_PROMPT = r"# |Search for: |What do you want to (?:call|name|write|engrave|burn|scratch)\b[^?]*\? "
_RULES = [
    (re.compile(pattern), to)
    for pattern, to in (
        (r"\d+(?:,\d{3})*", "N"),
        (rf"^({_PROMPT})(?!\[|Elbereth$).+", r"\1_"),  # what is typed; an engraved Elbereth is not just any text
        (r"\[[^\]]*\bor \?\*\]", "[_]"),  # the inventory letters on offer
        (r"(^|  |: )[A-Za-z] - (?=\S)", r"\1_ - "),  # the letter of an item
        (r"\blabeled [A-Z][A-Z0-9 '-]*[A-Z0-9]", "labeled _"),
        (r"\b(called|named) [^\s.!?]+", r"\1 _"),
        (r"\b(?:uncursed|blessed|cursed) ", ""),
        (rf"\b{_KIND}(s?) of [\w'-]+(?: [\w'-]+){{0,2}}(?=\.| \()", r"\1\2 of _"),  # what an identified item is
        (rf"\b(an?|[Tt]he|[Yy]our|N) (?!_ )[\w-]+(?: [\w-]+)? {_KIND}\b(?! of)", r"\1 _ \2"),  # how another one looks
        (r"\ban (?=_)", "a "),
    )
]


def canonical(text: str) -> str:
    """`text` with numbers as "N", and item letters, typed texts, labels and the kinds of magic items as "_".

    For ``CaptionTable(canonicalise=canonical)``: "f - 5 gold pieces." and "g - 16 gold pieces." are two messages to a
    count gate that has not heard of it, so an agent can farm the one after the other. Monsters keep their names, since
    a label depends on them. Never longer than `text`; doing it twice changes nothing.

    ONI itself counts and labels raw messages; this is optional. Grouping of our own.
    """
    for pattern, to in _RULES:
        text = pattern.sub(to, text)
    return text
